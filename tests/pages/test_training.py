"""The Training screen without a training: what stands there before, beside and after a run."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from model import jobs
from model.recipes import default_config
from model.registry import RELEASED, Version, list_versions
from tests.conftest import section_of
from tests.model.test_jobs import as_if, make_films, runner_lives, until
from tests.utils.test_uploads import good, png, zipped
from utils import uploads

PAGE = Path(__file__).resolve().parents[2] / "pages" / "training.py"


@pytest.fixture
def home(tiny_version: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installation whose runs wait for ever: the test has the turn."""
    folder = tmp_path / "home"
    shutil.copytree(tiny_version.folder, folder / "versions" / tiny_version.name)
    (folder / "jobs").mkdir()
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(folder))
    monkeypatch.setenv("PNEUMOSCOPE_VERSION", tiny_version.name)
    monkeypatch.setenv("PNEUMOSCOPE_ENGINE", "keras")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    for name in ("PNEUMOSCOPE_DATA", "PNEUMOSCOPE_DATA_FULL_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with (folder / "jobs" / "turn").open("a") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield folder
        for job in jobs.list_jobs(folder):
            if job.state == "queued":
                jobs.cancel(folder, job.id, "discard")
    until(lambda: not runner_lives(folder))


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_films(tmp_path_factory.mktemp("films"))


def opened() -> AppTest:
    app = AppTest.from_file(str(PAGE.parents[1] / "app.py"), default_timeout=120).run()
    return app.switch_page("pages/training.py").run()


def words(app: AppTest) -> str:
    kinds = (app.markdown, app.caption, app.info, app.error, app.success, app.warning)
    return " ".join(block.value for kind in kinds for block in kind).replace("\\", "")


def button(app: AppTest, label: str) -> Any:
    return next(each for each in app.button if each.label.startswith(label))


def labels(app: AppTest) -> list[str]:
    return [each.label for each in app.button]


def press(app: AppTest, label: str) -> AppTest:
    return button(app, label).click().run()


def choose(app: AppTest, section: str) -> AppTest:
    return section_of(app, "training-section").set_value(section).run()


def check(app: AppTest, folder: Path) -> AppTest:
    """Type the folder and have its films read."""
    app.selectbox(key="training-set").set_value("Another folder").run()
    app.text_input(key="training-folder").set_value(str(folder)).run()
    press(app, "Check the films")

    def read() -> bool:
        app.run()
        return "Cancel" not in labels(app)

    until(read)
    return app


def small(app: AppTest) -> AppTest:
    """A small recipe and a name."""
    app.selectbox(key="training-architecture").set_value("custom_cnn").run()
    app.text_input(key="training-who").set_value("Dr A").run()
    return app


def test_the_first_click_says_what_to_do(home: Path) -> None:
    app = opened()
    assert not app.exception
    assert "Name a folder of X-rays to train on" in words(app)
    app = choose(app, "Runs")
    assert "No version has been trained here yet" in words(app)
    app = press(app, "Set up a run")
    assert "Name a folder" in words(app)


def test_from_a_folder_to_a_waiting_run(home: Path, films: Path) -> None:
    app = opened()
    app.selectbox(key="training-set").set_value("Another folder").run()
    app.text_input(key="training-folder").set_value(str(films)).run()
    assert "Before it can start: check the films above" in words(app)
    app = check(app, films)
    assert not app.exception
    assert app.table[0].value["NORMAL"].tolist() == ["12", "4", "16"]
    assert "Fit for training" in words(app)
    assert "films to train on" in words(app)
    # The default network's ImageNet weights are not here, and that is said before anything starts.
    assert "cannot be had here without a download" in words(app)
    assert button(app, "Start the run").disabled
    # The recipe of the model that ships goes on from it.
    (released, *_) = list_versions(RELEASED)
    app.selectbox(key="training-architecture").set_value("vgg16_scratch").run()
    app.selectbox(key="training-weights-vgg16_scratch").set_value(released.name).run()
    assert (
        f"Training goes on from version {released.name}, head included where its size is the same"
        in words(app)
    )
    app = small(app)
    assert "upside down" in words(app)
    assert not button(app, "Start the run").disabled
    key = "training-custom_cnn-epochs"
    assert app.number_input(key=key).value == default_config("custom_cnn").epochs
    app.number_input(key=key).set_value(2).run()
    app.text_input(key="training-name").set_value("no such/name").run()
    app = press(app, "Start the run")
    assert "another name" in words(app)
    assert jobs.list_jobs(home) == ()
    app.text_input(key="training-name").set_value("ward-3").run()
    app = press(app, "Start the run")
    assert not app.exception
    (job,) = jobs.list_jobs(home)
    assert (job.name, job.order.who, job.order.data, job.state) == ("ward-3", "Dr A", films, "queued")
    assert job.order.config["epochs"] == 2
    assert "waiting" in words(app)
    other = opened()  # somebody else sees the same
    assert "ward-3" in words(other)
    app = press(app, "Take out of the queue")
    assert "Taken out of the queue" in words(app)
    app = press(app, "Run again with changes")
    assert app.number_input(key=key).value == 2
    assert app.text_input(key="training-folder").value == str(films)
    app = choose(app, "Runs")
    app = press(app, "Delete this run")
    assert jobs.list_jobs(home) == ()
    assert "No version has been trained here yet" in words(app)


def test_where_imagenet_cannot_be_had_a_vgg16_starts_from_the_version_in_use(
    home: Path, films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PNEUMOSCOPE_VERSION")  # the released one is in use
    app = opened()
    app.selectbox(key="training-set").set_value("Another folder").run()
    app.text_input(key="training-folder").set_value(str(films)).run()
    assert app.selectbox(key="training-weights-vgg16_finetuned").value == list_versions()[0].name
    assert "cannot be had here" not in words(app)
    app = app.selectbox(key="training-architecture").set_value("resnet50").run()
    assert app.selectbox(key="training-weights-resnet50").value == "imagenet"
    assert "cannot be had here without a download" in words(app)


def test_films_that_cannot_be_read_hold_a_run_up(home: Path, films: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bad"
    shutil.copytree(films, folder)
    (folder / "train" / "NORMAL" / "letter<b>.png").write_bytes(b"Dear colleague")
    app = small(check(opened(), folder))
    assert not app.exception
    assert "1 file cannot be read" in words(app)
    assert "take out or replace the files" in words(app)
    assert button(app, "Start the run").disabled
    page = " ".join(str(block.proto.body) for block in app.get("html"))
    assert "letter&lt;b&gt;.png" in page


def test_one_class_is_not_enough(home: Path, films: Path, tmp_path: Path) -> None:
    folder = tmp_path / "one"
    shutil.copytree(films / "train" / "NORMAL", folder / "NORMAL")
    app = small(check(opened(), folder))
    assert not app.exception
    assert "would lack a class" in words(app)
    assert "There is no film of PNEUMONIA" in words(app)
    assert button(app, "Start the run").disabled


def test_a_wrong_folder_is_a_sentence(home: Path, tmp_path: Path) -> None:
    app = opened()
    for text, said in (("films", "whole path"), (str(tmp_path / "nowhere"), "There is no folder")):
        app.text_input(key="training-folder").set_value(text).run()
        assert said in app.error[0].value


def test_settings_follow_the_network(home: Path, films: Path) -> None:
    app = opened()
    app.text_input(key="training-folder").set_value(str(films)).run()
    assert app.number_input(key="training-vgg16_finetuned-epochs").value == 20
    app.number_input(key="training-vgg16_finetuned-epochs").set_value(3).run()
    app.selectbox(key="training-architecture").set_value("vgg16_scratch").run()
    stages = app.text_input(key="training-vgg16_scratch-stages")
    assert stages.value == "64: 6, 112: 12"
    stages.set_value("60: 1").run()
    assert "multiples of 16" in words(app)
    assert "mend the setting named above" in words(app)
    app.selectbox(key="training-architecture").set_value("vgg16_finetuned").run()
    assert app.number_input(key="training-vgg16_finetuned-epochs").value == 3
    app = press(app, "Back to the defaults")
    assert app.number_input(key="training-vgg16_finetuned-epochs").value == 20


def test_a_version_can_be_started_from(home: Path, films: Path, tiny_version: Version) -> None:
    app = opened()
    app.text_input(key="training-folder").set_value(str(films)).run()
    weights = app.selectbox(key="training-weights-vgg16_finetuned")
    weights.set_value(tiny_version.name).run()
    assert not app.exception
    assert "fit by name and shape" in words(app)
    app.selectbox(key="training-weights-vgg16_finetuned").set_value("file").run()
    assert "Type the file's path" in words(app)
    app.text_input(key="training-weights-file").set_value(str(films / "no.h5")).run()
    assert "no weights file" in words(app)


def history(folder: Path) -> None:
    (folder / "history.csv").write_text(
        "epoch,loss,val_loss,accuracy,val_accuracy,auc,val_auc,precision,val_precision,recall,val_recall\n"
        "1,0.7,0.69,0.5,0.5,0.5,0.6,0.5,0.5,0.5,0.5\n2,0.6,0.65,0.7,0.6,0.7,0.8,0.6,0.6,0.7,0.8\n"
    )


def test_a_failed_run_offers_to_go_on(home: Path) -> None:
    job = as_if(home, "failed", message="The films on the <b>stick</b> are gone.", minutes_ago=3)
    history(job.folder)
    (job.folder / "log.txt").write_text("one\ntwo\nlast words\n")
    app = opened()
    assert not app.exception
    assert "are gone" in app.error[0].value
    assert "failed" in words(app)
    assert "last words" in app.code[0].value
    row = app.dataframe[0].value
    assert row["Epochs"].tolist() == ["2"]
    assert row["Best validation AUC"].tolist() == ["0.800"]
    app = press(app, "Resume")
    assert not app.exception
    assert jobs.read_job(home, job.id).state == "queued"
    assert "waiting" in words(app)


def test_a_finished_run_shows_its_curves(home: Path) -> None:
    job = as_if(home, "finished")
    history(job.folder)
    app = opened()
    assert not app.exception
    assert "The version made is made" in words(app)
    assert len(app.get("plotly_chart")) == 6


def test_a_running_one_shows_where_it_is_and_a_silent_one_that_it_stalls(home: Path) -> None:
    progress = {"phase": "training", "epoch": 2, "epochs": 5, "step": 30, "steps": 100, "seconds_left": 70}
    job = as_if(home, "running", progress=progress, minutes_ago=10)
    with (job.folder / "alive").open("a") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        (job.folder / "beat").touch()
        app = opened()
        assert not app.exception
        bar = app.get("progress")[0].proto
        assert bar.value == 30
        assert "epoch 2 of 5, step 30 of 100, 1 min 10 s left" in bar.text
        assert not button(app, "Keep the best epoch so far").disabled
        (job.folder / "beat").unlink()
        app.run()
        assert "stalled" in words(app)
        assert "No work was done for 10 min" in words(app)
        assert button(app, "Keep the best epoch so far").disabled
        (job.folder / "beat").touch()
        app.run()
        app = press(app, "Keep the best epoch so far")
        assert jobs.read_job(home, job.id).stop == "keep"
        assert "keeping the best epoch" in words(app)


def test_a_zip_is_kept_as_a_set(home: Path) -> None:
    app = opened()
    app.selectbox(key="training-set").set_value("Upload a ZIP").run()
    assert "Limits: 1 GB" in words(app)
    assert button(app, "Unpack and keep").disabled
    app.file_uploader[0].upload("ward.zip", good().getvalue(), "application/zip").run()
    app.text_input(key="training-set-name").set_value("ward-3").run()
    app = press(app, "Unpack and keep")
    assert "Say who" in words(app)
    app.text_input(key="training-who").set_value("Dr A").run()
    app = press(app, "Unpack and keep")
    upload = uploads.latest()
    assert upload is not None
    upload.wait(60)

    def read() -> bool:
        app.run()
        return "Cancel" not in labels(app)

    until(read)
    assert not app.exception
    assert app.selectbox(key="training-set").value == "ward-3 (uploaded)"
    assert app.table[0].value["PNEUMONIA"].tolist() == ["1"]
    app = press(app, "Delete these films")
    assert uploads.uploaded_sets(home) == ()
    assert not app.exception


def test_a_bad_zip_is_a_sentence(home: Path) -> None:
    app = opened()
    app.selectbox(key="training-set").set_value("Upload a ZIP").run()
    bad = zipped(**{"..__NORMAL__a": png(1)}).getvalue()
    app.file_uploader[0].upload("bad.zip", bad, "application/zip").run()
    app.text_input(key="training-set-name").set_value("bad").run()
    app.text_input(key="training-who").set_value("Dr A").run()
    app = press(app, "Unpack and keep")
    assert not app.exception
    assert "leads out of its folder" in app.error[0].value


def test_wrong_settings_of_the_installation_are_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOSCOPE_DATA", str(home / "nowhere"))
    app = opened()
    assert not app.exception
    assert "PNEUMOSCOPE_DATA" in app.error[0].value


def test_the_page_alone_on_a_cold_server_fails_for_nobody(home: Path) -> None:
    app = AppTest.from_file(str(PAGE), default_timeout=60).run()
    assert not app.exception
