"""The Models screen: list, card, comparison, promotion and rollback, import; and what other sessions see of it."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from model.exchange import export_version
from model.inference import Predictor
from model.registry import (
    CARD_FILE,
    LOG_FILE,
    MODEL_FILE,
    RELEASED,
    Change,
    Version,
    VersionError,
    activate,
    find_version,
    history,
    journal,
    read_version,
    sha256_of,
    version_in_use,
)
from model.smoke import sample_images, sample_probabilities
from tests.conftest import section_of, write_tiny_version
from utils import imports, session

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Converted networks, for all tests: converting takes as long as TensorFlow takes to start."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def originals(tiny_version: Version, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three versions of two networks: "one", "two" (another network of 64 pixels), "three" (as "one", noisier)."""
    root = tmp_path_factory.mktemp("originals")
    shutil.copytree(tiny_version.folder, root / "one")
    write_tiny_version(root / "two", small_network(), name="two")
    edit(root / "two", input_size=[64, 64])
    shutil.copytree(tiny_version.folder, root / "three")
    with h5py.File(root / "three" / MODEL_FILE, "r+") as file:
        file.attrs["copy"] = "three"
    test = root / "three" / "predictions" / "test.csv"
    table = pandas.read_csv(test, keep_default_na=False)
    noise = np.random.default_rng(1).uniform(0, 1, len(table))
    table.assign(probability=0.2 * table["probability"] + 0.8 * noise).to_csv(test, index=False)
    for month, name in enumerate(("one", "two", "three"), start=3):
        digest = sha256_of(root / name / MODEL_FILE)
        edit(root / name, name=name, created=f"2026-0{month}-01T00:00:00Z", sha256=digest, trained_by="Dr W")
        version = read_version(root / name)
        edit(root / name, samples=sample_probabilities(version, cache=cache))
        Predictor.load(version, cache=cache)
    return root


def small_network() -> Any:
    import keras
    from keras import layers

    keras.utils.set_random_seed(3)
    image = keras.Input((64, 64, 3))
    values = layers.Conv2D(4, 3, activation="relu")(layers.Rescaling(1 / 255)(image))
    values = layers.GlobalAveragePooling2D()(values)
    return keras.Model(image, layers.Dense(1, activation="sigmoid")(values))


def edit(folder: Path, **changes: object) -> None:
    card = json.loads((folder / CARD_FILE).read_text())
    (folder / CARD_FILE).write_text(json.dumps(card | changes))


@pytest.fixture
def home(originals: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation with the three versions, "one" in use."""
    home = tmp_path / "home"
    shutil.copytree(originals, home / "versions")
    (home / "cache").symlink_to(cache)
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(home))
    monkeypatch.delenv("PNEUMOSCOPE_VERSION", raising=False)
    monkeypatch.delenv("PNEUMOSCOPE_DATA", raising=False)
    put("one", home)
    return home


def put(name: str, home: Path) -> None:
    """In use, without the smoke test, which has tests of its own."""
    roots = (RELEASED, home / "versions")
    activate(name, *roots, who="Dr Z", check=lambda version: None)


def in_use(home: Path) -> str:
    return version_in_use(RELEASED, home / "versions").name


def opened(page: str = "pages/models.py", section: str = "") -> AppTest:
    app = AppTest.from_file(str(PROJECT / "app.py"), default_timeout=180).run()
    app.switch_page(page).run()
    return look_at(app, section) if section else app


def look_at(app: AppTest, section: str) -> AppTest:
    section_of(app, "models-section").set_value(section).run()
    assert not app.exception
    return app


def words(app: AppTest) -> str:
    kinds = (app.markdown, app.caption, app.info, app.error, app.success, app.warning)
    return " ".join(block.value for kind in kinds for block in kind).replace("\\", "")


def press(app: AppTest, label: str) -> AppTest:
    next(each for each in app.button if each.label == label).click().run()
    assert not app.exception
    return app


def test_the_list_marks_what_is_in_use_and_where_it_came_from(home: Path) -> None:
    app = opened()
    table = app.dataframe[0].value
    released = find_version(None, RELEASED).name
    assert set(table["Version"]) == {"one", "two", "three", released}
    states = dict(zip(table["Version"], table["State"], strict=True))
    assert states == {"one": "▶ in use", "two": "", "three": "", released: ""}
    origins = dict(zip(table["Version"], table["From"], strict=True))
    assert origins["one"] == "trained here" and origins[released] == "released"
    assert set(table[table["From"] == "trained here"]["Trained by"]) == {"Dr W"}
    assert "Films are read with **one**" in words(app)
    facts = {row.iloc[0]: row.iloc[1] for each in app.table for _, row in each.value.iterrows()}
    assert facts["Trained by"] == "Dr W" and facts["Recipe"] == "fine-tuned VGG16, in miniature"
    assert "its stored scores are synthetic" in words(app)


def test_a_comparison_says_which_is_worse_and_lists_the_films(home: Path) -> None:
    app = opened(section="Compare")
    app.multiselect(key="models-compared").set_value(["one", "three"]).run()
    assert "120 test films" in words(app)
    assert "three is worse than one at telling pneumonia from normal" in words(app)
    matrix = next(each.value for each in app.table if "one right" in each.value.iloc[:, 0].tolist())
    numbers = matrix.iloc[:, 1:].astype(int).to_numpy()
    assert numbers.sum() == 120
    listed = app.dataframe[1].value
    assert len(listed) == numbers[0, 1] + numbers[1, 0] and {"one", "three"} >= set(listed["Right"])
    app.multiselect(key="models-compared").set_value(["one", "two", "three"]).run()
    assert "put these films into the same order" in words(app)  # two networks with the same stored scores
    app.multiselect(key="models-compared").set_value(["one"]).run()
    assert "Choose two versions or more." in words(app)


def test_another_screen_asks_for_a_comparison(home: Path) -> None:
    app = AppTest.from_file(str(PROJECT / "app.py"), default_timeout=180).run()
    app.session_state["models-compare"] = "three"
    app.switch_page("pages/models.py").run()
    assert app.multiselect(key="models-compared").value == ["one", "three"]
    app.session_state["models-compare"] = "nobody"
    app.run()
    assert "There is no version nobody to compare." in words(app)


def test_promoted_in_one_session_and_seen_in_the_other(home: Path) -> None:
    other = opened("pages/diagnose.py")
    assert "Version one" in words(other)
    app = opened(section="Put in use")
    app.selectbox(key="models-promote").set_value("two").run()
    press(app, "Yes, put it in use")
    assert "Say who" in words(app) and in_use(home) == "one"
    app.text_input(key="models-who-promote").set_value("Dr A").run()
    app.text_input(key="models-why-promote").set_value("more films").run()
    press(app, "Yes, put it in use")
    assert in_use(home) == "two"
    assert "In use is now two, for everyone." in words(app)
    threshold = read_version(home / "versions" / "two").card.operating_point("balanced").threshold
    other.run()
    assert "Version two" in words(other)
    assert other.slider(key="threshold").value == pytest.approx(threshold, abs=1e-3)
    app.text_input(key="models-who-rollback").set_value("Dr B").run()
    press(app, "Yes, roll back")
    assert in_use(home) == "one"
    other.run()
    assert "Version one" in words(other)
    look_at(app, "Log")
    log = app.dataframe[1].value
    assert log["What"].tolist() == ["rolled back", "put in use", "put in use"]
    assert log.iloc[1][["From", "To", "Who", "Why"]].tolist() == ["one", "two", "Dr A", "more films"]


def test_a_version_of_other_pixels_reads_films_on_diagnose(home: Path) -> None:
    put("two", home)
    app = opened("pages/diagnose.py")
    press(app, "Try the sample films")
    table = app.dataframe[0].value
    samples = read_version(home / "versions" / "two").card.samples
    assert len(table) == 6
    for name, probability in zip(table["file"], table["probability"], strict=True):
        assert probability == pytest.approx(samples[name], abs=0.01)
    assert "resized to 64 × 64" in " ".join(str(getattr(each, "body", "")) for each in app.get("html"))


def test_what_fails_the_smoke_test_is_refused(home: Path) -> None:
    edit(home / "versions" / "two", samples={"synthetic-normal-1.png": 0.0, "synthetic-normal-2.png": 1.0})
    app = opened(section="Put in use")
    app.selectbox(key="models-promote").set_value("two").run()
    app.text_input(key="models-who-promote").set_value("Dr A").run()
    press(app, "Yes, put it in use")
    assert "failed its smoke test" in words(app) and "Nothing was changed." in words(app)
    assert in_use(home) == "one" and len(history(home / "versions")) == 1


def test_a_version_that_the_setting_names_goes_first(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOSCOPE_VERSION", "two")
    app = opened(section="Put in use")
    assert "Films are read with **two**" in words(app)
    assert "PNEUMOSCOPE_VERSION names two" in words(app)
    assert "Nothing can be put in use here while" in words(app)
    assert "Version two, as PNEUMOSCOPE_VERSION says" in words(app)
    assert not [each for each in app.button if each.label.startswith("Yes")]


def test_a_damaged_version_in_use_can_be_left(home: Path) -> None:
    put("two", home)
    data = (home / "versions" / "two" / MODEL_FILE).read_bytes()
    (home / "versions" / "two" / MODEL_FILE).write_bytes(data[: len(data) // 2])
    app = opened(section="Put in use")
    assert "truncated or damaged" in words(app)
    app.text_input(key="models-who-rollback").set_value("Dr B").run()
    press(app, "Yes, roll back")
    assert in_use(home) == "one" and "In use is now one" in words(app)


def test_a_version_is_deleted_and_the_one_in_use_is_not(home: Path) -> None:
    app = opened()
    app.selectbox(key="models-opened").set_value("three").run()
    app.text_input(key="models-who-delete").set_value("Dr A").run()
    press(app, "Delete this version")
    assert not (home / "versions" / "three").exists()
    assert "Version three was deleted." in words(app)
    assert "three" not in set(app.dataframe[0].value["Version"])


def test_a_single_version_and_no_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(tmp_path / "fresh"))
    monkeypatch.delenv("PNEUMOSCOPE_VERSION", raising=False)
    app = opened(section="Compare")
    assert "Two versions with stored predictions of test films are needed" in words(app)
    assert "There is no other version that was evaluated." in words(look_at(app, "Put in use"))
    assert "No other version was in use before." in words(app)
    assert "Nothing was changed yet" in words(look_at(app, "Log"))


def films(root: Path) -> Path:
    random = np.random.default_rng(5)
    for split, count in (("train", 20), ("test", 8)):
        for number in range(count):
            for folder, name, grey in (
                ("NORMAL", f"IM-{number:04d}-0001.png", 60),
                ("PNEUMONIA", f"person{number}_virus_{number}.png", 150),
            ):
                path = root / split / folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = random.normal(grey, 15, (48, 48)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(path)
    return root


def wait_for_import(app: AppTest) -> AppTest:
    job = imports.latest()
    assert job is not None
    job.wait(180)
    assert not job.running
    return app.run()


def test_a_network_comes_in_is_measured_and_can_go_into_use(home: Path, tmp_path: Path) -> None:
    small_network().save(tmp_path / "Their Model.h5")
    app = opened(section="Import")
    app.segmented_control(key="models-import-how").set_value("On this computer").run()
    app.text_input(key="models-import-path").set_value(str(tmp_path / "Their Model.h5")).run()
    press(app, "Import")
    assert "Say who imports the model" in words(app)
    app.text_input(key="models-import-who").set_value("Dr A").run()
    app.text_input(key="models-import-data").set_value(str(tmp_path / "nowhere")).run()
    press(app, "Import")
    assert "There is no folder" in words(app)
    app.text_input(key="models-import-data").set_value(str(films(tmp_path / "films"))).run()
    press(app, "Import")
    assert "Importing Their Model.h5" in words(app)
    wait_for_import(app)
    assert "Their-Model is imported." in words(app)
    assert "validation films: 0 to 1: AUC" in words(app)
    press(app, "Open its card")
    assert app.selectbox(key="models-opened").value == "Their-Model"
    tried = next(each.value for each in app.table if "Pixels" in each.value.columns)
    assert tried["Pixels"].tolist() == ["0 to 1", "0 to 255", "-1 to 1", "caffe"]
    row = app.dataframe[0].value.set_index("Version").loc["Their-Model"]
    assert row["From"] == "imported" and row["Films"] == "16 test"
    look_at(app, "Put in use")
    assert "Their-Model" in app.selectbox(key="models-promote").options


@pytest.mark.parametrize("kind", ["pointer", "zip", "evil zip"])
def test_an_upload_comes_in_or_has_its_sentence(home: Path, tmp_path: Path, kind: str) -> None:
    files = {"pointer": "a.h5", "zip": "one.zip", "evil zip": "one.zip"}
    path = tmp_path / files[kind]
    if kind == "pointer":
        path.write_text("version https://git-lfs.github.com/spec/v1\n")
    else:
        export_version(read_version(home / "versions" / "one"), path)
    if kind == "evil zip":
        import zipfile

        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("../evil", "x")
    app = opened(section="Import")
    app.file_uploader(key="models-upload-0").set_value(
        (path.name, path.read_bytes(), "application/zip")
    ).run()
    app.text_input(key="models-import-name").set_value("theirs").run()
    app.text_input(key="models-import-who").set_value("Dr A").run()
    press(app, "Import")
    wait_for_import(app)
    expected = {
        "pointer": "Git LFS pointer",
        "zip": "theirs is imported.",
        "evil zip": "leads out of its folder",
    }
    assert expected[kind] in words(app)
    assert (home / "versions" / "theirs").is_dir() == (kind == "zip")
    assert not list((home / "imports").iterdir())


def test_an_import_can_be_stopped_and_one_runs_at_a_time(home: Path, tmp_path: Path) -> None:
    small_network().save(tmp_path / "a.h5")
    start = {"source": tmp_path / "a.h5", "title": "a.h5", "name": "a", "who": "Dr A"}
    job = imports.start(home, **start)  # type: ignore[arg-type]
    with pytest.raises(imports.ImportingRefused, match="Another import is running"):
        imports.start(home, **start)  # type: ignore[arg-type]
    app = opened(section="Import")
    assert "It goes on when you leave this page" in words(app)
    job.stop()
    job.stop()  # twice: at once
    wait_for_import(app)
    assert "was stopped" in words(app)
    assert not (home / "versions" / "a").exists()


def test_a_prediction_that_began_ends_with_the_version_it_began_with(home: Path) -> None:
    """Promotions beside predictions: each probability is that of the version whose predictor was asked for."""
    roots = (RELEASED, home / "versions")
    expected = {name: read_version(home / "versions" / name).card.samples for name in ("one", "two")}
    names = list(expected["one"])
    for number in range(6):
        version, problem = session.current_version()
        assert version is not None, problem
        loading = session.predictor(version)
        before = version.name
        put("two" if before == "one" else "one", home)
        _, images = sample_images(version.card.input_size)
        found = loading.result(timeout=180).predict(images)
        for name, value in zip(names, found, strict=True):
            assert float(value) == pytest.approx(expected[before][name], abs=0.01)
        after, _ = session.current_version()
        assert after is not None and after.name != before, number
    with pytest.raises(VersionError, match="in use already"):
        activate(version_in_use(*roots).name, *roots, who="Dr Z", check=lambda version: None)


def test_a_log_with_a_torn_line_is_read(home: Path) -> None:
    with (home / "versions" / LOG_FILE).open("a") as stream:
        stream.write('{"action":"promote","who":"Dr X","when"')
    app = opened(section="Log")
    assert app.dataframe[1].value["Who"].tolist() == ["Dr Z"]
    change = Change(action="import", who="Dr Y", when=datetime.now(UTC), to="x", sha256="0" * 64)
    journal(home / "versions").append(change)
    assert app.run().dataframe[1].value["Who"].tolist() == ["Dr Y", "Dr Z"]
