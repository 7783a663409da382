"""The Metrics screen by way of the entry: every section, and what is said where there is nothing to show."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from model import curves
from model.calibration import Calibration, identity
from model.evaluation import Evaluation, evaluate
from model.figures import figures
from model.registry import Predictions, Version, read_version, write_predictions
from model.scoring import Scoring, Unreadable
from pages.metrics_parts import common, downloads, mistakes, side_by_side
from utils import charts, department, own_films
from utils.published import PUBLISHED
from utils.settings import get_settings

PAGE = Path(__file__).resolve().parents[2] / "pages" / "metrics.py"
SECTIONS = (
    "Overview",
    "Curves",
    "In practice",
    "Operating points",
    "How sure",
    "Subgroups",
    "Mistakes",
    "Shortcuts",
    "Training",
    "Versions",
)


def opened(*, threshold: float | None = None, section: str | None = None, data: str | None = None) -> AppTest:
    """The Metrics screen, come to by way of the entry; then what was asked for, as a user would."""
    app = AppTest.from_file(str(PAGE.parents[1] / "app.py"), default_timeout=120).run()
    app.switch_page("pages/metrics.py").run()
    if threshold is not None:
        app.sidebar.slider[0].set_value(threshold).run()
    if data is not None:
        app.selectbox(key="metrics-data").set_value(data).run()
    return app if section is None else turned_to(app, section)


def turned_to(app: AppTest, section: str) -> AppTest:
    return app.segmented_control(key="section").set_value(section).run()


def figure(app: AppTest, name: str) -> dict[str, object]:
    found = [chart for chart in app.get("plotly_chart") if chart.proto.id.endswith(f"-{name}")]
    assert len(found) == 1, [chart.proto.id for chart in app.get("plotly_chart")]
    return json.loads(found[0].proto.spec)


def shown(app: AppTest) -> dict[str, str]:
    return {tile.label: tile.value for tile in app.metric}


def words(app: AppTest) -> str:
    return " ".join(
        block.value
        for kind in (app.markdown, app.caption, app.info, app.error, app.success)
        for block in kind
    )


def tables(app: AppTest) -> list[pandas.DataFrame]:
    return [table.value for table in app.table]


def measured(version: Version, split: str = "test", *, threshold: float = 0.5) -> common.Context:
    """What the sections get, without a screen."""
    settings = get_settings()
    source = next(each for each in common.sources(version, settings) if each.key == split)
    films = common.Measured(source.table(), version.card.calibration)
    return common.Context(
        source=source,
        measured=films,
        result=films.scored.at(threshold),
        versions=(version,),
        in_use=version,
        threshold=threshold,
        picture="svg",
        settings=settings,
    )


def expected(version: Version, threshold: float) -> Evaluation:
    films = version.predictions("test")
    return evaluate(films.labels, films.probabilities, threshold=threshold, patients=films.patients)


def keep_a_set(
    version: Version, *, name: str = "Ward 3", films: Path | None = None
) -> own_films.EvaluatedSet:
    """Own films, scored: the stored test films under other names, one file unreadable."""
    test = version.predictions("test")
    scoring = Scoring(
        predictions=replace(
            test, files=tuple(f"PNEUMONIA/{number}.png" for number in range(len(test.files)))
        ),
        extra={
            "split": ("all",) * len(test.files),
            "folder": tuple("mobile unit" if n % 3 else "room 1" for n in range(len(test.files))),
        },
        unreadable=(Unreadable("NORMAL/broken.png", "It is no image."),),
        fingerprint="f" * 64,
    )
    return own_films.write_set(
        get_settings().home, name, scoring, who="A. Reader", source="/films", version=version, films=films
    )


def test_it_shows_the_figures_of_the_stored_test_predictions(version: Version) -> None:
    app = opened(threshold=0.5)
    assert not app.exception
    result = expected(version, 0.5)
    tiles = shown(app)
    assert set(tiles) == {each.name for each in figures(result)}
    assert tiles["AUC"] == f"{result.auc:.3f}"
    assert tiles["Sensitivity (recall)"] == f"{result.sensitivity.value:.1%}".replace("%", " %")
    assert tiles["Specificity"] == f"{result.specificity.value:.1%}".replace("%", " %")
    said = words(app)
    assert "120 test films" in said
    assert version.name in said
    assert "02 January 2026" in said
    assert "professional gives the verdict" in said
    assert "test split" in said


def test_every_tile_explains_itself_with_the_counts_of_the_threshold(version: Version) -> None:
    for threshold in (0.2, 0.8):
        app = opened(threshold=threshold)
        helps = {tile.label: tile.help for tile in app.metric}
        for each in figures(expected(version, threshold)):
            assert each.definition in helps[each.name]
            assert each.worked in helps[each.name]
        counts = expected(version, threshold).confusion
        assert f"{counts.tp} / ({counts.tp} + {counts.fn})" in helps["Sensitivity (recall)"]


def test_the_matrix_the_point_and_the_tables_follow_the_threshold(version: Version) -> None:
    for threshold in (0.2, 0.8):
        app = opened(threshold=threshold)
        assert not app.exception
        counts = expected(version, threshold).confusion
        texts = json.dumps(figure(app, "confusion"))
        for count, name in (
            (counts.tn, "true negatives"),
            (counts.fp, "false positives"),
            (counts.fn, "false negatives"),
            (counts.tp, "true positives"),
        ):
            assert f"<b>{count} {name}</b>" in texts
        traces = {trace["name"]: trace for trace in figure(app, "roc")["data"] if "name" in trace}  # type: ignore[attr-defined]
        assert f"current {threshold:.3f}" in traces
        assert {name.split()[0] for name in traces} >= {
            "default",
            "balanced",
            "screening",
            "rule-in",
            "chance",
        }
        turned_to(app, "Operating points")
        first = tables(app)[-1].iloc[0]
        assert first["Threshold"] == f"▶ {threshold:.3f}"
        assert first["Missed"] == str(counts.fn)
        assert first["False alarms"] == str(counts.fp)


def test_a_cell_of_the_matrix_lists_its_films_worst_first(version: Version) -> None:
    app = opened(threshold=0.5)
    assert not app.dataframe
    app.pills(key="metrics-cell").set_value("fp").run()
    assert not app.exception
    films = version.predictions("test")
    wrong = (films.labels == 0) & (films.probabilities >= 0.5)
    assert 0 < wrong.sum() < films.labels.sum()
    listed = app.dataframe[0].value
    assert set(listed["file"]) == {name for name, chosen in zip(films.files, wrong, strict=True) if chosen}
    assert listed["probability"].is_monotonic_decreasing
    app.sidebar.slider[0].set_value(1.0).run()
    assert "there are no false positives" in words(app)


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("data", ["test", "validation"])
def test_every_section_opens(version: Version, section: str, data: str) -> None:
    app = opened(section=section, data=data)
    assert not app.exception
    assert not app.error


@pytest.mark.parametrize("kept", ["PNEUMONIA", "NORMAL"])
def test_films_of_one_class_show_what_can_be_shown(version: Version, kept: str) -> None:
    file = version.folder / "predictions" / "test.csv"
    header, *rows = file.read_text().splitlines()
    file.write_text("\n".join([header, *(row for row in rows if kept in row)]) + "\n")
    app = opened()
    assert not app.exception
    tiles = shown(app)
    assert tiles["AUC"] == "–"
    known, unknown = ("Sensitivity (recall)", "Specificity")
    if kept == "NORMAL":
        known, unknown = unknown, known
    assert tiles[unknown] == "–"
    assert tiles[known] != "–"
    missing = "normal lungs" if kept == "PNEUMONIA" else "pneumonia"
    assert any(f"no film of {missing}" in block.value for block in app.info)
    for section in SECTIONS[1:]:
        assert not turned_to(app, section).exception, section
    assert downloads.report(measured(version), prevalence=0.2).startswith(b"<!")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no stored test predictions"),
        ("file,patient,label,subgroup,probability\na,b,SICK,c,0.5\n", "damaged"),
        ("file,patient,label,subgroup,probability\na,b,NORMAL,c,1.5\n", "damaged"),
        ("file,patient,label,subgroup,probability\n", "no film"),
        ("\0\0\0", "damaged"),
    ],
)
def test_predictions_that_are_missing_or_damaged_leave_the_other_sections(
    version: Version, content: str | None, said: str
) -> None:
    file = version.folder / "predictions" / "test.csv"
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    app = opened()
    assert not app.exception
    assert len(app.info) == 1
    assert said in app.info[0].value
    assert not app.metric
    turned_to(app, "Training")
    assert not app.exception
    assert app.get("plotly_chart")
    turned_to(app, "Versions")
    assert not app.exception
    assert "0.968" in " ".join(table.to_csv() for table in tables(app))
    app.selectbox(key="metrics-data").set_value("validation").run()
    turned_to(app, "Overview")
    assert shown(app)["AUC"] != "–"


def test_without_any_version_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(tmp_path))
    monkeypatch.setenv("PNEUMOSCOPE_VERSION", "no-such-version")
    app = opened()
    assert not app.exception
    assert "no-such-version" in app.error[0].value
    assert not app.metric


@pytest.mark.parametrize("content", [None, "", "epoch,side\n1,64\n"])
def test_a_version_without_history_says_so(version: Version, content: str | None) -> None:
    file = version.folder / "history.csv"
    file.unlink()
    if content is not None:
        file.write_text(content)
    app = opened(section="Training")
    assert not app.exception
    assert "history" in app.info[0].value
    assert not app.get("plotly_chart")


def test_a_threshold_is_found_on_other_films_than_the_test_films(version: Version) -> None:
    app = opened(section="Operating points", threshold=0.5)
    assert "Test split" not in app.selectbox(key="metrics-chosen-on").options
    films = version.predictions("validation")
    for rule, share in (("sensitivity", 1.0), ("specificity", 1.0)):
        app.segmented_control(key="metrics-rule").set_value(rule).run()
        app.number_input(key=f"metrics-target-{rule}").set_value(100 * share).run()
        assert not app.exception
        next(button for button in app.button if button.label == "Use this threshold").click().run()
        threshold = float(str(app.sidebar.slider[0].value))
        reached = evaluate(films.labels, films.probabilities, threshold=threshold)
        assert getattr(reached, rule).value >= share
    for rule in ("youden", "cost"):
        app.segmented_control(key="metrics-rule").set_value(rule).run()
        assert not app.exception
        assert any(button.label == "Use this threshold" for button in app.button)


def test_the_departments_threshold_is_kept_with_name_and_reason(version: Version) -> None:
    app = opened(section="Operating points", threshold=0.321)
    app.button[-1].click().run()
    assert "name and a reason" in words(app)
    assert department.current_policy(get_settings().home, version.card) is None
    for box, text in zip(app.text_input, ("Dr A. Reader", "agreed on Monday"), strict=True):
        box.set_value(text)
    next(button for button in app.button if "department" in button.label).click().run()
    assert not app.exception
    assert "0.321 is the department's threshold" in words(app)
    policy = department.current_policy(get_settings().home, version.card)
    assert policy is not None
    assert (policy.threshold, policy.who, policy.reason) == (0.321, "Dr A. Reader", "agreed on Monday")
    assert opened().sidebar.slider[0].value == 0.321


def test_own_films_are_shown_and_stand_beside_the_test_films(version: Version) -> None:
    keep_a_set(version)
    app = opened(data="own:Ward 3", threshold=0.5)
    assert not app.exception
    said = words(app)
    assert "120 own films" in said
    assert "A. Reader" in said
    assert "1 files could not be read" in said or "1 file could not be read" in said
    for section in SECTIONS[1:]:
        assert not turned_to(app, section).exception, section
    turned_to(app, "Subgroups")
    app.selectbox(key="metrics-grouping").set_value("folder").run()
    assert set(tables(app)[0]["Group"]) == {"mobile unit", "room 1"}
    turned_to(app, "Versions")
    columns = list(tables(app)[0].columns)
    assert any("Ward 3" in column for column in columns)
    assert any("Test split" in column for column in columns)


def test_a_set_that_another_network_scored_is_not_offered(version: Version) -> None:
    kept = keep_a_set(version)
    facts = kept.folder / own_films.SET_FILE
    facts.write_text(facts.read_text().replace(version.card.sha256, "a" * 64))
    assert [each.key for each in common.sources(version, get_settings())] == ["test", "validation"]


def test_mistakes_show_their_films_where_they_are_at_hand(
    version: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = opened(section="Mistakes", threshold=0.9)
    assert "PNEUMOSCOPE_DATA" in words(app)
    missed = measured(version, threshold=0.9).measured.chosen("fn", threshold=0.9)
    films = version.predictions("test")
    assert list(tables(app)[0]["File"]) == [films.files[index] for index in missed[: mistakes.PAGE_SIZE]]
    root = tmp_path / "films"
    for index in missed[:3]:
        path = root / films.files[index]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (256, 1))).save(path)
    monkeypatch.setenv("PNEUMOSCOPE_DATA", str(root))
    app = opened(section="Mistakes", threshold=0.9)
    assert not app.exception
    assert len(app.image) == 3
    assert not app.table
    assert words(app).count("cannot be opened") == min(missed.size, mistakes.PAGE_SIZE) - 3


def test_a_film_at_the_threshold_itself_is_listed_where_it_is_counted(version: Version) -> None:
    threshold = float(np.sort(measured(version).measured.probabilities)[60])
    context = measured(version, threshold=threshold)
    counts = context.result.confusion
    for cell in ("tn", "fp", "fn", "tp"):
        assert context.measured.chosen(cell, threshold=threshold).size == getattr(counts, cell)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "missing.png", "text.png"])
def test_only_films_inside_the_folder_are_opened(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    film = Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (256, 1)))
    film.save(tmp_path / "secret.png")
    film.save(folder / "good.png")
    (folder / "text.png").write_text("Dear colleague")
    assert mistakes.picture(folder, "good.png").startswith("data:image/jpeg;base64,")
    assert mistakes.picture(folder, name) == ""
    assert mistakes.picture(None, "good.png") == ""


def test_two_versions_side_by_side(version: Version) -> None:
    other = version.folder.parent / "other-2026-02"
    shutil.copytree(version.folder, other)
    card = (other / "card.json").read_text().replace(version.name, other.name)
    (other / "card.json").write_text(card)
    file = other / "predictions" / "test.csv"
    table = pandas.read_csv(file, keep_default_na=False)
    table["probability"] = table["probability"] ** 2
    table.iloc[::-1].to_csv(file, index=False)
    app = opened(section="Versions")
    app.multiselect(key="metrics-versions").set_value([version.name, other.name]).run()
    assert not app.exception
    compared, difference = tables(app)[:2]
    assert {version.name, other.name} <= set(compared.columns)
    assert difference["Difference"].tolist() == ["+0.0000"]  # the order of films is the same, so the AUC is
    table.iloc[1:].to_csv(file, index=False)
    app.run()
    assert tables(app)[1]["p"].tolist() == ["not the same films"]


def test_published_results_stand_apart_by_protocol(version: Version) -> None:
    app = opened(section="Versions")
    official, other = tables(app)[-2:]
    assert official["Result"].tolist()[1:] == [each.name for each in PUBLISHED if each.comparable]
    assert other["Result"].tolist() == [each.name for each in PUBLISHED if not each.comparable]
    assert all(other["Protocol"].str.len() > 0)
    assert all(official["Source"].str.len() > 0)


def test_the_json_is_what_the_command_line_measures(version: Version) -> None:
    context = measured(version, threshold=0.37)
    told = json.loads(downloads.as_json(context))
    assert {name: told[name] for name in expected(version, 0.37).as_json()} == expected(
        version, 0.37
    ).as_json()
    assert {"version", "sha256", "split", "unreadable", "engine"} <= set(told)
    assert told["split"] == "test"


def test_predictive_values_follow_the_prevalence_that_is_typed(version: Version) -> None:
    app = opened(section="In practice", threshold=0.37)
    rates = expected(version, 0.37)
    for percent in (20.0, 4.0):
        app.number_input(key="metrics-prevalence").set_value(percent).run()
        assert not app.exception
        values = curves.predictive_values(rates.sensitivity, rates.specificity, percent / 100)
        tiles = {tile.label: tile.value for tile in app.metric}
        assert tiles == {"PPV": charts.percent(values.ppv), "NPV": charts.percent(values.npv)}


def test_the_report_holds_every_figure_and_no_film(version: Version) -> None:
    context = measured(version, threshold=0.37)
    page = downloads.report(context, prevalence=0.2).decode()
    for each in figures(context.result):
        assert each.name in page
    expected = (version.name, version.card.sha256, "0.370", "Decision curve", "bacteria", "Kermany")
    for text in (*expected, "Predictive values", "Loss by epoch"):
        assert text in page
    assert "side by side" not in page
    assert not any(name in page for name in context.measured.files)


def test_the_report_compares_the_versions_there_are(version: Version) -> None:
    other = version.folder.with_name("other-2026-02")
    shutil.copytree(version.folder, other)
    card = version.card.model_copy(update={"name": other.name})
    (other / "card.json").write_text(card.model_dump_json())
    context = replace(measured(version), versions=(version, read_version(other)))
    page = downloads.report(context, prevalence=0.2).decode()
    for text in ("Versions side by side", other.name, "paired test of DeLong", "+0.0000"):
        assert text in page


def test_what_was_calibrated_away_can_be_seen(version: Version) -> None:
    raw = np.array([0.02, 0.4, 0.9])
    fitted = Calibration(method="Platt", slope=1.3, intercept=-0.7, prevalence=0.5, fitted_on="films")
    before = common.uncalibrated(fitted.apply(raw), fitted)
    assert before == pytest.approx(raw)
    assert common.uncalibrated(raw, identity()) is None
    folded = fitted.model_copy(
        update={
            "slope": 1.0,
            "intercept": 0.0,
            "method": "Platt (slope 1.3000, intercept -0.7000), folded into the last layer",
        }
    )
    assert common.uncalibrated(fitted.apply(raw), folded) == pytest.approx(raw)


def test_the_same_films_in_another_order_are_found(version: Version) -> None:
    films = measured(version).measured
    turned = common.Measured(films.table.iloc[::-1].reset_index(drop=True), version.card.calibration)
    order = side_by_side.same_films(films, turned)
    assert order is not None
    assert [turned.files[index] for index in order] == list(films.files)
    relabelled = turned.table.assign(label=turned.table["label"].iloc[::-1].to_numpy())
    assert side_by_side.same_films(films, common.Measured(relabelled, version.card.calibration)) is None


def test_subgroups_follow_the_threshold(version: Version) -> None:
    films = measured(version).measured
    for threshold in (0.2, 0.8, 0.5):
        expected_groups = curves.subgroups(
            films.labels, films.probabilities, films.groupings["subgroup"], threshold=threshold
        )
        assert films.subgroups("subgroup", threshold=threshold) == expected_groups


def test_a_hundred_thousand_films(version: Version) -> None:
    count = 100_000
    random = np.random.default_rng(11)
    labels = random.integers(0, 2, count)
    films = Predictions(
        files=tuple(f"{number}.png" for number in range(count)),
        patients=tuple(f"patient-{number // 2}" for number in range(count)),
        labels=labels,
        subgroups=tuple(np.where(labels == 1, "virus", "normal")),
        probabilities=1 / (1 + np.exp(-random.normal(4.0 * labels - 2, 1.5))),
    )
    write_predictions(version.folder / "predictions" / "test.csv", films)
    app = opened(threshold=0.5)
    for section in SECTIONS:
        turned_to(app, section)
        assert not app.exception, section
        for chart in app.get("plotly_chart"):
            assert len(chart.proto.spec) < 1_000_000, chart.proto.id
    turned_to(app, "Overview")
    app.pills(key="metrics-cell").set_value("fn").run()
    assert len(app.dataframe[0].value) == common.MOST_ROWS


def test_the_page_alone_on_a_cold_server_fails_for_nobody(version: Version) -> None:
    app = AppTest.from_file(str(PAGE), default_timeout=60).run()
    assert not app.exception
