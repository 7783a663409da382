from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from model.registry import Predictions, Version, read_version
from model.scoring import Scoring, Unreadable
from tests.conftest import synthetic_predictions
from utils import own_films
from utils.department import current_policy
from utils.own_films import write_set

PAGE = Path(__file__).resolve().parents[2] / "pages" / "own_films.py"


@pytest.fixture
def version(tiny_version: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Version]:
    """A version of this test's own, in use."""
    folder = tmp_path / "home" / "versions" / tiny_version.name
    shutil.copytree(tiny_version.folder, folder)
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PNEUMOSCOPE_VERSION", tiny_version.name)
    monkeypatch.setenv("PNEUMOSCOPE_ENGINE", "keras")
    yield read_version(folder)
    job = own_films.latest_job()
    if job is not None:
        job.cancel()
        job.wait(60)


@pytest.fixture
def home(version: Version, tmp_path: Path) -> Path:
    return tmp_path / "home"


def opened() -> AppTest:
    app = AppTest.from_file(str(PAGE.parents[1] / "app.py"), default_timeout=120).run()
    return app.switch_page("pages/own_films.py").run()


def words(app: AppTest) -> str:
    kinds = (app.markdown, app.caption, app.info, app.error, app.success, app.warning)
    return " ".join(block.value for kind in kinds for block in kind)


def keep(home: Path, version: Version, *, count: int = 300, name: str = "Ward 3", shift: float = 0.0) -> None:
    """A set as a job would have kept it, of synthetic scores."""
    films = synthetic_predictions("site", count=count, seed=9)
    logits = np.log(films.probabilities / (1 - films.probabilities)) + shift
    moved = Predictions(films.files, films.patients, films.labels, films.subgroups, 1 / (1 + np.exp(-logits)))
    scoring = Scoring(moved, {}, (Unreadable("NORMAL/<b>bad</b>.png", "The file is cut short."),), "0" * 64)
    write_set(home, name, scoring, who="Dr A", source="/films", version=version, films=None)


def button(app: AppTest, label: str) -> object:
    return next(each for each in app.button if each.label.startswith(label))


def press(app: AppTest, label: str) -> AppTest:
    return button(app, label).click().run()  # type: ignore[attr-defined]


def labelled_folder(root: Path, *, count: int = 2) -> Path:
    random = np.random.default_rng(0)
    for name in ("NORMAL", "PNEUMONIA"):
        (root / name).mkdir(parents=True)
        for number in range(count):
            target = io.BytesIO()
            Image.fromarray(random.integers(0, 255, (240, 250), dtype=np.uint8)).save(target, format="PNG")
            (root / name / f"{number}.png").write_bytes(target.getvalue())
    (root / "PNEUMONIA" / "letter.png").write_bytes(b"Dear colleague")
    return root


def test_an_empty_installation_says_what_will_be_here(home: Path) -> None:
    app = opened()
    assert not app.exception
    assert "No set has been scored yet" in words(app)
    assert "None is set: sessions start at the version's own threshold" in words(app)
    assert button(app, "Score these films").disabled  # type: ignore[attr-defined]


def test_films_are_counted_before_anything_starts(home: Path, tmp_path: Path) -> None:
    app = opened()
    app.text_input(key="own-folder").set_value(str(labelled_folder(tmp_path / "films"))).run()
    assert not app.exception
    table = app.table[0].value
    assert list(table["Class"]) == ["NORMAL", "PNEUMONIA"]
    assert list(table["Films"]) == ["2", "3"]
    assert table["± 5 points need"].nunique() == 1
    assert "Few films of NORMAL and PNEUMONIA" in words(app)
    assert not button(app, "Score these films").disabled  # type: ignore[attr-defined]
    app.text_input(key="own-folder").set_value(str(tmp_path / "nowhere")).run()
    assert "There is no folder" in app.error[0].value
    assert button(app, "Score these films").disabled  # type: ignore[attr-defined]


def test_an_uploaded_set_can_be_chosen(home: Path) -> None:
    labelled_folder(home / "data" / "ward-3")
    app = opened()
    assert app.selectbox(key="own-set").value == "Another folder"
    app.selectbox(key="own-set").set_value("ward-3 (uploaded)").run()
    assert not app.exception
    assert list(app.table[0].value["Films"]) == ["2", "3"]
    assert not button(app, "Score these films").disabled  # type: ignore[attr-defined]


def test_a_folder_is_scored_and_its_bad_file_listed(home: Path, tmp_path: Path) -> None:
    app = opened()
    app.text_input(key="own-folder").set_value(str(labelled_folder(tmp_path / "films"))).run()
    press(app, "Score these films")
    assert "Give the set a name" in words(app)
    app.text_input(key="own-name").set_value("Ward 3").run()
    press(app, "Score these films")
    assert "Say who" in words(app)
    app.text_input(key="own-who").set_value("Dr A").run()
    press(app, "Score these films")
    job = own_films.latest_job()
    assert job is not None
    job.wait(120)
    assert job.phase == "done", job.message
    app.run()
    assert not app.exception
    assert "The set Ward 3 is scored" in app.success[0].value
    assert "letter.png" in " ".join(str(block.proto.body) for block in app.get("html"))
    assert "At least 50 films of each class are needed" in words(app)
    rows = app.table[-1].value
    assert list(rows["Figure"]) == ["AUC", "Sensitivity", "Specificity"]


def test_a_set_stands_beside_the_test_set(home: Path, version: Version) -> None:
    keep(home, version)
    app = opened()
    assert not app.exception
    rows = next(table.value for table in app.table if "Test set" in table.value)
    assert all("(" in value for value in rows["This site"])
    assert "harder" in words(app)
    page = " ".join(str(block.proto.body) for block in app.get("html"))
    assert "<b>bad</b>" not in page and "&lt;b&gt;bad" in page


def test_a_threshold_and_a_calibration_are_adopted_seen_and_withdrawn(home: Path, version: Version) -> None:
    keep(home, version, shift=-1.5)
    app = opened()
    app.toggle(key="own-recalibrate").set_value(True).run()
    assert not app.exception
    assert "Recalibrating helps" in words(app)
    press(app, "Make")
    assert "Say who" in words(app)
    app.text_input(key="own-adopt-who").set_value("Dr *A*").run()
    press(app, "Make")
    assert not app.exception
    policy = current_policy(home, version.card)
    assert policy is not None and policy.calibration is not None
    assert policy.who == "Dr *A*" and policy.reason == "Chosen on the set Ward 3"
    assert app.sidebar.slider[0].value == policy.threshold
    side = " ".join(block.value for block in app.sidebar.caption)
    assert f"threshold {policy.threshold:.3f}".replace(".", ".") in side.replace("\\", "")
    assert "calibrated for this site" in side
    fresh = opened()  # another session starts there
    assert fresh.sidebar.slider[0].value == policy.threshold
    assert "300 films of the set Ward 3" in words(fresh).replace("\\", "")
    fresh.text_input(key="own-withdraw-who").set_value("Dr B").run()
    press(fresh, "Withdraw")
    assert not fresh.exception
    assert current_policy(home, version.card) is None
    assert fresh.sidebar.slider[0].value == version.card.operating_point("balanced").threshold
    log = fresh.table[-1].value
    assert [text.replace("\\", "") for text in log["Who"]] == ["Dr B", "Dr *A*"]


def test_the_threshold_follows_when_another_session_changes_the_scale(home: Path, version: Version) -> None:
    keep(home, version, shift=-1.5)
    other = opened()
    point = version.card.operating_point("screening").threshold
    other.sidebar.slider[0].set_value(point).run()
    app = opened()
    app.toggle(key="own-recalibrate").set_value(True).run()
    app.text_input(key="own-adopt-who").set_value("Dr A").run()
    press(app, "Make")
    other.run()
    assert not other.exception
    policy = current_policy(home, version.card)
    assert policy is not None and policy.calibration is not None
    moved = other.sidebar.slider[0].value
    assert moved != pytest.approx(point)
    assert "screening" in " ".join(block.value for block in other.sidebar.caption)


def test_a_set_is_opened_in_metrics(home: Path, version: Version) -> None:
    keep(home, version)
    app = press(opened(), "Open in Metrics")
    assert not app.exception
    assert app.session_state["metrics-data"] == "own:Ward 3"
    assert app.title[0].value == "Metrics"


def test_a_set_is_deleted(home: Path, version: Version) -> None:
    keep(home, version)
    app = press(opened(), "Delete this set")
    assert not app.exception
    assert own_films.list_sets(home) == ()
    assert "No set has been scored yet" in words(app)


def test_a_set_of_another_network_is_not_measured_at_this_ones_threshold(
    home: Path, version: Version
) -> None:
    card = version.card.model_copy(update={"sha256": "1" * 64, "name": "older"})
    keep(home, Version(version.folder, card))
    app = opened()
    assert not app.exception
    assert "were scored with version older" in words(app)
    assert not [table for table in app.table if "Test set" in table.value]


def test_without_any_version_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(tmp_path))
    monkeypatch.setenv("PNEUMOSCOPE_VERSION", "no-such-version")
    app = opened()
    assert not app.exception
    assert "no-such-version" in app.error[0].value


def test_the_page_alone_on_a_cold_server_fails_for_nobody(home: Path) -> None:
    app = AppTest.from_file(str(PAGE), default_timeout=60).run()
    assert not app.exception
