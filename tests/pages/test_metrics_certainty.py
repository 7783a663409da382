"""Metrics, section "How sure": the slider, the tables, the warning where the promise is missed, the empty states."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas
from streamlit.testing.v1 import AppTest

from model.conformal import coverage, fit, risk_coverage
from model.neighbours import PARTS, PooledFilms, reduced, write_features
from model.registry import FEATURES_FILE, Predictions, Version, write_predictions
from pages.metrics_parts import certainty as section
from pages.metrics_parts import common
from utils import certainty

APP = Path(__file__).resolve().parents[2] / "app.py"


def opened() -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=120).run()
    app.switch_page("pages/metrics.py").run()
    app.segmented_control(key="section").set_value("How sure").run()
    assert not app.exception
    return app


def words(app: AppTest) -> str:
    kinds = (app.markdown, app.caption, app.info, app.warning, app.error)
    return " ".join(block.value for kind in kinds for block in kind)


def table(app: AppTest, column: str) -> pandas.DataFrame:
    return next(found.value for found in app.table if column in found.value.columns)


def at(app: AppTest, percent: float) -> AppTest:
    app.slider(key=certainty.ERROR_RATE).set_value(percent).run()
    assert not app.exception
    return app


def with_features(version: Version) -> None:
    """Features in which the classes lie a little apart."""
    random = np.random.default_rng(0)
    parts = {split: version.predictions(split) for split in ("validation", "test")}
    files = [f"train/film-{number}.jpeg" for number in range(60)]
    labels = np.concatenate([np.arange(60) % 2, *(films.labels for films in parts.values())])
    write_features(
        version.folder / FEATURES_FILE,
        reduced(
            PooledFilms(
                files=(*files, *(name for films in parts.values() for name in films.files)),
                labels=labels,
                subgroups=("",) * len(labels),
                parts=tuple(
                    part for part, count in zip(PARTS, (60, 120, 120), strict=True) for _ in range(count)
                ),
                pooled=(random.normal(size=(len(labels), 8)) + labels[:, None]).astype(np.float32),
            )
        ),
        sha256=version.card.sha256,
    )


def test_the_tables_say_what_the_rule_holds(version: Version) -> None:
    app = opened()
    films = {split: version.predictions(split) for split in ("validation", "test")}
    assert app.slider(key=certainty.ERROR_RATE).value == 5.0
    for percent in (5.0, 2.0):
        at(app, percent)
        rule = fit(films["validation"].labels, films["validation"].probabilities, error_rate=percent / 100)
        assert section.rule_in_words(rule) in words(app)
        by_class, by_verdict = table(app, "Wrong verdict"), table(app, "Verdict")
        for number, (split, stored) in enumerate(films.items()):
            held = coverage(rule, stored.labels, stored.probabilities)
            rows = by_class.iloc[2 * number : 2 * number + 2]
            assert rows["Films"].tolist() == [f"NORMAL, {split} films", f"PNEUMONIA, {split} films"]
            assert rows["Number"].tolist() == ["48", "72"]
            assert rows["Wrong verdict"].tolist()[0].startswith(common.share(held.normal.wrong.value))
            counts = by_verdict.iloc[3 * number : 3 * number + 3]
            assert counts["of them NORMAL"].tolist() == [str(count) for count in held.normal.verdicts]
            assert counts["of them PNEUMONIA"].tolist() == [str(count) for count in held.pneumonia.verdicts]


def test_the_error_rate_stays_while_other_screens_are_seen(version: Version) -> None:
    app = at(opened(), 2.5)
    app.switch_page("pages/data.py").run()
    app.switch_page("pages/metrics.py").run()
    assert app.slider(key=certainty.ERROR_RATE).value == 2.5


def test_a_promise_that_other_films_miss_is_said_to_be_missed(version: Version) -> None:
    assert not opened().warning
    stored = version.predictions("test")
    turned = Predictions(
        stored.files, stored.patients, 1 - stored.labels, stored.subgroups, stored.probabilities
    )
    write_predictions(version.folder / "predictions" / "test.csv", turned)
    app = opened()
    said = [each.value for each in app.warning]
    assert len(said) == 2
    assert all("not kept" in each and "test films" in each for each in said)


def test_films_that_differ_may_still_keep_the_promise() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], 500)
    rule = fit(labels, np.concatenate([random.uniform(0, 0.3, 500), random.uniform(0.7, 1, 500)]))
    between = coverage(rule, np.zeros(100, int), np.full(100, 0.5))
    said = section.missed(between.normal, "test films", error_rate=0.05)
    assert "no more than promised" in said
    assert "not kept" not in said
    wrong = coverage(rule, np.zeros(100, int), np.full(100, 0.9))
    assert "not kept" in section.missed(wrong.normal, "test films", error_rate=0.05)


def test_risk_is_drawn_at_the_threshold(version: Version) -> None:
    app = opened()
    app.sidebar.slider[0].set_value(0.8).run()
    films = version.predictions("test")
    curve = risk_coverage(films.labels, films.probabilities, threshold=0.8)
    chart = next(each for each in app.get("plotly_chart") if each.proto.id.endswith("-risk-coverage"))
    drawn = json.loads(chart.proto.spec)["data"]
    assert any(f"{curve.area:.4f}" in each["name"] for each in drawn)
    assert f"Area under the curve **{curve.area:.4f}**" in words(app)


def test_the_films_alike_are_judged_alone(version: Version) -> None:
    with_features(version)
    rows = table(opened(), "AUC of the network")
    assert rows["Films"].tolist() == ["120 validation films", "120 test films"]
    column = next(name for name in rows.columns if "alone" in name)
    assert all(0.5 < float(value.split()[0]) <= 1 for value in rows[column])


def test_a_version_without_features_says_how_to_get_them(version: Version) -> None:
    assert "python -m model features DATA_DIR" in words(opened())


def test_damaged_features_are_named(version: Version) -> None:
    (version.folder / FEATURES_FILE).write_bytes(b"nothing")
    assert "damaged" in words(opened())


def test_a_version_without_validation_films_has_no_verdicts(version: Version) -> None:
    (version.folder / "predictions" / "validation.csv").unlink()
    app = opened()
    assert "Verdicts are fitted to validation films" in words(app)
    assert "Area under the curve" in words(app)


def test_few_films_are_said_to_allow_no_verdict(version: Version) -> None:
    app = at(opened(), 0.5)
    assert "no film is called NORMAL" in words(app)
    assert "no film is called PNEUMONIA" in words(app)


def test_one_class_alone_gives_no_rule(version: Version) -> None:
    stored = version.predictions("validation")
    ill = np.flatnonzero(stored.labels)
    write_predictions(
        version.folder / "predictions" / "validation.csv",
        Predictions(
            tuple(stored.files[index] for index in ill),
            tuple(stored.patients[index] for index in ill),
            stored.labels[ill],
            tuple(stored.subgroups[index] for index in ill),
            stored.probabilities[ill],
        ),
    )
    assert "both classes" in words(opened())
