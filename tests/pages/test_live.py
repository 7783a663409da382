"""Live performance and the set of films with verdicts, on the screens."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from model.dataset import read_dataset
from model.neighbours import PooledFilms, reduced, write_features
from model.registry import FEATURES_FILE, Version
from tests.cases import add_cases, picture
from utils import database, film_store, uploads

PROJECT = Path(__file__).resolve().parents[2]
N, P = "NORMAL", "PNEUMONIA"


@pytest.fixture(autouse=True)
def home(version: Version, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("PNEUMOSCOPE_FILM_KEY", film_store.make_key())
    monkeypatch.setenv("PNEUMOSCOPE_ENGINE", "keras")
    monkeypatch.delenv("PNEUMOSCOPE_DATABASE_URL", raising=False)
    monkeypatch.delenv("PNEUMOSCOPE_DATA_FULL_SIZE", raising=False)
    random = np.random.default_rng(1)
    labels = np.arange(300) % 2
    films = PooledFilms(
        files=tuple(f"train/{number}.png" for number in range(300)),
        labels=labels,
        subgroups=("",) * 300,
        parts=("training",) * 150 + ("validation",) * 150,
        pooled=(random.normal(size=(300, 4)) + labels[:, None]).astype(np.float32),
    )
    write_features(version.folder / FEATURES_FILE, reduced(films), sha256=version.card.sha256)
    yield version.folder.parents[1]
    database.close()


def opened(page: str) -> AppTest:
    app = AppTest.from_file(str(PROJECT / "app.py"), default_timeout=120).run()
    app = app.switch_page(page).run()
    assert not app.exception
    return app


def words(app: AppTest) -> str:
    kinds = (app.markdown, app.caption, app.info, app.error, app.success, app.warning)
    return " ".join(block.value for kind in kinds for block in kind).replace("\\", "")


def tables(app: AppTest) -> str:
    return " ".join(table.value.to_string() for table in (*app.table, *app.dataframe))


def section(app: AppTest, name: str) -> AppTest:
    app.button_group(key="live-section").set_value(name).run()
    assert not app.exception
    return app


def test_live_performance_from_nothing_to_a_warning(version: Version) -> None:
    app = opened("pages/live.py")
    assert "No case has been saved yet" in words(app) and "Saving is off" in words(app)

    random = np.random.default_rng(2)
    today = datetime.now(UTC)
    cases: list[dict[str, Any]] = [
        {
            "created": today - timedelta(days=number % 40 + 1),
            "version": version.name,
            "network": version.card.sha256,
            "probability": 0.45 + 0.001 * number,
            "features": random.normal(size=4) + 6,  # far from all that the version was made with
        }
        for number in range(60)
    ]
    for number, verdict in enumerate((P, P, P, N, N)):
        cases[number] |= {"verdict": verdict, "probability": (0.9, 0.8, 0.2, 0.1, 0.7)[number]}
    add_cases(*cases)

    app.run()
    shown = words(app)
    assert "5 verified cases" in shown and "Verified cases are a selection" in shown
    assert {each.label: each.value for each in app.metric} == {
        "Agreement": "60.0 %",
        "Sensitivity": "66.7 %",
        "Specificity": "50.0 %",
    }
    assert "Corrected for who gets a verdict" in shown and "the figures say little" in shown
    app = section(app, "Disagreements")
    assert "2 cases" in words(app)
    assert "CASE-0003" in tables(app) and "CASE-0005" in tables(app) and "CASE-0001" not in tables(app)
    app = section(app, "Drift")
    assert "The films here differ from those the network was made with" in words(app)
    assert "drift" in tables(app)
    app.button_group(key="live-period").set_value("30 days").run()
    assert "Drift can be told from 50 films on" in words(app)


def test_films_with_verdicts_become_the_set_to_train_on(home: Path) -> None:
    app = opened("pages/training.py")
    app.selectbox(key="training-set").set_value("Films with verdicts").run()
    assert "No case has the verdict NORMAL or PNEUMONIA yet" in words(app)

    add_cases(*({"verdict": (N, P)[seed % 2], "pixels": picture(seed)} for seed in range(21)))
    app.run()
    assert {each.label: each.value for each in app.metric} == {
        "Films with verdict NORMAL": "11",
        "Films with verdict PNEUMONIA": "10",
        "Patients": "21",
    }
    assert "21 of them without a patient's pseudonym" in words(app)

    def make() -> None:
        next(each for each in app.button if each.label == "Make the set").click().run()

    make()
    assert "Give the set a name" in words(app)
    app.text_input(key="training-verdicts-name").set_value("verdicts").run()
    make()
    upload = uploads.latest()
    assert upload is not None
    upload.wait(60)
    app.run()
    assert not app.exception
    assert "verdicts is kept as a set of films" in words(app)
    assert app.selectbox(key="training-set").value == "verdicts (uploaded)"
    assert len(read_dataset(home / "data" / "verdicts").films) == 21
