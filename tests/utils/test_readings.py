"""Readings: one bad file never stops the rest, the network runs once a content, nothing of the upload is kept."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from model.conformal import Rule
from model.domain import Judgement
from model.films import ImageError, Window, XRay, prepare, read_xray
from model.inference import Evidence
from model.reading_table import COLUMNS, harmless
from tests import made_films
from tests.model import dicom_films as made
from utils import readings as readings_module
from utils.readings import (
    COLUMNS_OF_THE_SCREEN,
    NETWORK_FAILED,
    NOT_KEPT,
    STOPPED,
    Certainty,
    Entry,
    Reading,
    Worklist,
    batches,
    content_key,
    done_in_words,
    enter,
    overrule,
    read_again,
    read_films,
    readings_csv,
    shown,
)


def png(seed: int, size: tuple[int, int] = (120, 90)) -> bytes:
    """A PNG of grey noise over a gradient; `size` is (width, height)."""
    random = np.random.default_rng(seed)
    pixels = np.linspace(30, 200, size[0])[None, :] + random.normal(0, 12, (size[1], size[0]))
    target = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(target, format="PNG")
    return target.getvalue()


class MeanReader:
    """Reads brightness as probability, and remembers how many images it has seen."""

    def __init__(self) -> None:
        self.seen = 0

    def read(self, images: NDArray[np.uint8]) -> Evidence:
        assert images.dtype == np.uint8
        assert images.shape[1:] == (224, 224, 3)
        self.seen += len(images)
        values = images.mean(axis=(1, 2, 3)) / 255.0
        heat = np.repeat(np.repeat(values[:, None, None], 7, axis=1), 7, axis=2).astype(np.float32)
        return Evidence(probabilities=values, heat=heat, pooled=heat[:, 0, :4])


class FragileReader(MeanReader):
    """Fails on any batch that holds a bright image."""

    def read(self, images: NDArray[np.uint8]) -> Evidence:
        if (images.mean(axis=(1, 2, 3)) > 200).any():
            raise RuntimeError("engine says no")
        return super().read(images)


def test_a_bad_file_has_its_sentence_and_the_rest_goes_on() -> None:
    good, other = png(1), png(2)
    readings = read_films([good, b"not a picture", other], reader=MeanReader(), version="v")
    assert [reading.failed for reading in readings] == [False, True, False]
    assert readings[1].message
    assert readings[1].picture == b""
    assert readings[1].source is None
    assert readings[0].key == content_key(good)
    assert 0 < (readings[2].probability or 0) < 1
    assert readings[0].thumbnail.startswith("data:image/jpeg;base64,")
    with Image.open(io.BytesIO(readings[0].picture)) as picture:
        assert picture.size == (120, 90)


def test_only_bad_files_do_not_run_the_network() -> None:
    reader = MeanReader()
    assert all(reading.failed for reading in read_films([b"", b"x"], reader=reader, version="v"))
    assert reader.seen == 0


def test_a_film_on_which_the_network_fails_does_not_take_the_others_with_it() -> None:
    target = io.BytesIO()
    bright = np.full((90, 120), 250, dtype=np.uint8)
    bright[::9] = 230
    Image.fromarray(bright).save(target, format="PNG")
    readings = read_films([png(1), target.getvalue(), png(2)], reader=FragileReader(), version="v")
    assert [reading.message for reading in readings] == ["", NETWORK_FAILED, ""]


def test_batches_cover_everything_once_and_begin_with_one() -> None:
    parts = list(batches(20, first=1, size=8))
    assert [index for part in parts for index in range(20)[part]] == list(range(20))
    assert parts[0] == slice(0, 1)
    assert list(batches(0)) == []


def test_duplicates_are_one_line_with_a_remark() -> None:
    entries = enter(enter(enter((), "a.png", "k"), "b.png", "l"), "copy of a.png", "k")
    assert [entry.name for entry in entries] == ["a.png", "b.png"]
    assert entries[0].remark == "The same image came 2 times (also as copy of a.png); it is shown once."
    assert entries[1].remark == ""
    assert Entry("a", "k", also=("a",)).remark == "The same image came 2 times; it is shown once."


def test_a_stopped_file_says_so_and_can_be_dropped_again() -> None:
    worklist = Worklist()
    data = png(1)
    key = content_key(data)
    worklist.add([("a.png", key, False)], version="v")
    assert worklist.reading(key).message == STOPPED
    assert not worklist.settled(key, "v")
    worklist.forget([key])
    worklist.keep(read_films([data], reader=MeanReader(), version="v"))
    worklist.add([("a.png", key, False)], version="v")
    assert worklist.settled(key, "v")
    assert not worklist.settled(key, "another version")
    assert [entry.remark for entry in worklist.entries] == [""]


def test_rows_follow_the_threshold() -> None:
    worklist = Worklist(
        entries=(Entry("a.png", "k", synthetic=True),), readings={"k": Reading("k", "v", probability=0.4)}
    )
    assert worklist.row(worklist.entries[0], threshold=0.5)["decision"] == "○ NORMAL"
    row = worklist.row(worklist.entries[0], threshold=0.4)
    assert row["decision"] == "▲ PNEUMONIA"
    assert row["remarks"] == "Synthetic sample."


def test_done_in_words() -> None:
    (reading,) = read_films([png(1)], reader=MeanReader(), version="v")
    assert reading.source is not None
    words = done_in_words(reading.source)
    assert words.startswith("PNG, 120 × 90 pixels, 8 bit")
    assert words.endswith("resized to 224 × 224 for the network.")


def rows_of(table: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table.decode("utf-8"))))


def test_csv_has_the_columns_of_the_command_line_and_a_row_a_file() -> None:
    good = Reading("k", "v", probability=0.25)
    bad = Reading("l", "v", message="The file is empty.")
    table = readings_csv([Entry("a.png", "k"), Entry("ü,b.png", "l")], {"k": good, "l": bad}, threshold=0.25)
    rows = rows_of(table)
    assert tuple(rows[0]) == COLUMNS_OF_THE_SCREEN
    assert COLUMNS_OF_THE_SCREEN[: len(COLUMNS)] == COLUMNS
    assert rows[0]["probability"] == "0.25"
    assert rows[0]["decision"] == "PNEUMONIA"
    assert rows[1]["file"] == "ü,b.png"
    assert rows[1]["message"] == "The file is empty."
    assert rows[1]["probability"] == ""
    assert rows[1]["decision"] == ""


@pytest.mark.parametrize("name", ["=1+1.png", "+x", "-x", "@x", "\tx", '=cmd|" /C calc"!A0'])
def test_no_name_is_a_formula(name: str) -> None:
    assert harmless(name) == f"'{name}"
    (row,) = rows_of(
        readings_csv([Entry(name, "k")], {"k": Reading("k", "v", probability=0.1)}, threshold=0.5)
    )
    assert row["file"] == f"'{name}"
    assert harmless("a=1.png") == "a=1.png"


# --- DICOM ------------------------------------------------------------------------------------------


def dicom_film(**elements: Any) -> bytes:
    return made.film(made.grey(12, 90, 120), WindowCenter="2048", WindowWidth="3000", **elements)


def test_a_dicom_film_is_read_and_its_facts_are_told() -> None:
    data = dicom_film()
    (reading,) = read_films([data], reader=MeanReader(), version="v")
    expected = prepare(read_xray(data).pixels).mean() / 255
    assert reading.probability == pytest.approx(expected)
    assert reading.source is not None
    words = done_in_words(reading.source)
    assert words.startswith("DICOM, 120 × 90 pixels, 12 bit, MONOCHROME2: windowed: centre 2048, width 3000")
    assert "The file says: modality DX, view PA, age 4 years, sex F" in words
    assert reading.dicom is not None


def test_another_window_is_a_reading_of_its_own() -> None:
    data = dicom_film()
    (reading,) = read_films([data], reader=MeanReader(), version="v")
    window = Window(1000, 500)
    again = read_again(reading, frame=1, window=window, reader=MeanReader(), version="v")
    assert again.probability == pytest.approx(prepare(read_xray(data, window=window).pixels).mean() / 255)
    assert [remark.code for remark in again.quality if remark.code == "window-by-hand"]
    assert again.key == reading.key
    (row,) = rows_of(readings_csv([Entry("a", again.key)], {again.key: again}, threshold=0.5))
    assert "case" not in row, "nothing was saved"
    listed = readings_csv(
        [Entry("a", again.key)], {again.key: again}, threshold=0.5, cases={again.key: "K7M2-QX4D"}
    )
    assert rows_of(listed)[0]["case"] == "K7M2-QX4D"
    assert "set by hand: centre 1000, width 500" in row["quality"]
    back = read_again(again, frame=1, window=None, reader=MeanReader(), version="v")
    assert (back.probability, back.quality) == (reading.probability, reading.quality)
    assert reading.dicom is not None
    assert shown(reading.dicom.decode(), window) == again.picture


def test_another_frame() -> None:
    dark = made.grey(12, 90, 120) // 8
    data = made.film(
        np.stack([made.grey(12, 90, 120), dark]), count=2, WindowCenter="2048", WindowWidth="4096"
    )
    (reading,) = read_films([data], reader=MeanReader(), version="v")
    second = read_again(reading, frame=2, window=None, reader=MeanReader(), version="v")
    assert (second.probability or 0) < (reading.probability or 0) / 4
    with pytest.raises(ImageError, match="has 2 frames"):
        read_again(reading, frame=3, window=None, reader=MeanReader(), version="v")


def test_a_session_keeps_only_so_many_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readings_module, "HELD_BYTES", 2 * 90 * 120 * 2)
    worklist = Worklist()
    films = [dicom_film(RescaleIntercept=str(number)) for number in range(3)]
    read = read_films(films, reader=MeanReader(), version="v")
    worklist.keep(read)
    assert [worklist.reading(reading.key).dicom is None for reading in read] == [True, False, False]
    with pytest.raises(ImageError, match="drop the file again"):
        read_again(worklist.reading(read[0].key), frame=1, window=None, reader=MeanReader(), version="v")


# --- what the evidence is made from -----------------------------------------------------------------


def dark_ones_refused(xray: XRay, pooled: NDArray[np.float32]) -> Judgement:
    """Refuses what the network sees as dark: by its features, which are the mean brightness in `MeanReader`."""
    assert pooled.shape == (4,)
    accepted = bool(pooled[0] > 0.3)
    return Judgement(accepted=accepted, reason="" if accepted else "Too dark to be a film.", distance=0.0)


def test_a_reading_keeps_what_one_pass_gives() -> None:
    reader = MeanReader()
    data = png(1)
    (reading,) = read_films([data], reader=reader, version="v", judge=dark_ones_refused)
    assert reader.seen == 1
    assert reading.heat is not None and reading.heat.shape == (7, 7)
    assert reading.pooled is not None and reading.pooled.dtype == np.float16
    assert reading.seen is not None
    assert (reading.seen == prepare(read_xray(data).pixels)[:, :, 0]).all()
    assert (reading.refusal, reading.record, reading.original) == ("", "", None)


def refused_film() -> bytes:
    return made_films.png((made_films.film_pixels(1) // 3).astype(np.uint8))


def test_a_refused_picture_has_no_probability_until_somebody_overrules() -> None:
    data = refused_film()
    reader = MeanReader()
    (reading,) = read_films([data], reader=reader, version="v", judge=dark_ones_refused)
    assert reading.refused
    assert not reading.failed
    assert reading.probability is None
    assert reading.heat is None
    worklist = Worklist()
    worklist.keep([reading])
    worklist.add([("a.png", reading.key, False)], version="v")
    rule = Certainty(Rule(0.4, 0.6, 0.05, 100, 100, either=True), "v")
    row = worklist.row(worklist.entries[0], threshold=0.5, certainty=rule)
    assert (row["probability"], row["decision"], row["certainty"]) == (None, "□ NOT JUDGED", "")
    assert str(row["remarks"]).startswith("Not judged: Too dark to be a film.")
    (line,) = rows_of(readings_csv(worklist.entries, worklist.readings, threshold=0.5, certainty=rule))
    assert (line["probability"], line["decision"], line["certainty"]) == ("", "", "")
    assert line["message"] == "Not judged: Too dark to be a film."

    again = overrule(reading, reader=reader, version="v")
    assert again.probability == pytest.approx(prepare(read_xray(data).pixels).mean() / 255)
    assert again.overruled and not again.refused and again.heat is not None
    worklist.keep([again])
    (line,) = rows_of(readings_csv(worklist.entries, worklist.readings, threshold=0.5, certainty=rule))
    assert line["decision"] == "NORMAL"
    assert line["message"].startswith("Refused at first and read nevertheless, on request: Too dark")
    assert line["certainty"] == "", "no rule was fitted to pictures that are none"
    with pytest.raises(ImageError, match="drop the file again"):
        overrule(reading, reader=reader, version="another")


def test_how_sure_it_is_stands_in_the_table_and_the_csv() -> None:
    rule = Certainty(Rule(0.2, 0.6, 0.05, 100, 100, either=True), "v")
    readings = {
        name: Reading(name, "v", probability=value) for name, value in (("a", 0.1), ("b", 0.5), ("c", 0.6))
    }
    entries = [Entry(name, name) for name in readings]
    verdicts = ["NORMAL", "CANNOT TELL", "PNEUMONIA"]
    rows = rows_of(readings_csv(entries, readings, threshold=0.5, certainty=rule))
    assert [row["certainty"] for row in rows] == verdicts
    assert {row["error_rate"] for row in rows} == {"0.05"}
    worklist = Worklist(entries=tuple(entries), readings=readings)
    shown_ = [worklist.row(entry, threshold=0.5, certainty=rule)["certainty"] for entry in entries]
    assert shown_ == ["○ NORMAL", "◇ CANNOT TELL", "▲ PNEUMONIA"]
    assert worklist.row(entries[0], threshold=0.5)["certainty"] == ""
    other = Certainty(rule.rule, "another version")
    assert worklist.row(entries[0], threshold=0.5, certainty=other)["certainty"] == "", (
        "its rule is not this one's"
    )
    assert rows_of(readings_csv(entries, readings, threshold=0.5))[0]["error_rate"] == ""


def test_a_correction_is_read_said_and_undone() -> None:
    pixels = made_films.film_pixels(1, size=(300, 260))
    upright, inverted = made_films.png(pixels), made_films.png(255 - pixels)
    (right,) = read_films([upright], reader=MeanReader(), version="v")
    (wrong,) = read_films([inverted], reader=MeanReader(), version="v")
    assert not right.correctable
    assert [remark.offer for remark in wrong.quality if remark.offer] == ["invert"]
    assert wrong.correctable
    mended = read_again(wrong, offers=("invert",), reader=MeanReader(), version="v")
    assert mended.probability == pytest.approx(right.probability)
    assert mended.picture == right.picture
    assert mended.offers == ("invert",)
    assert mended.record == "Corrected on request before reading: inverted."
    assert mended.source is not None and mended.source.done[-1] == "inverted on request"
    assert not [remark for remark in mended.quality if remark.offer]
    (line,) = rows_of(readings_csv([Entry("a", mended.key)], {mended.key: mended}, threshold=0.5))
    assert line["message"] == mended.record
    back = read_again(mended, offers=(), reader=MeanReader(), version="v")
    assert back == wrong


def test_corrections_outlast_another_window_but_not_another_frame() -> None:
    frames = np.stack([made_films.film_12_bits(1), made_films.film_12_bits(2)])
    data = made.film(4095 - frames, count=2, WindowCenter="2048", WindowWidth="4096")
    (reading,) = read_films([data], reader=MeanReader(), version="v")
    mended = read_again(reading, offers=("invert", "turn-180"), reader=MeanReader(), version="v")
    assert mended.record.endswith("inverted, turned by 180°.")
    windowed = read_again(mended, frame=1, window=Window(2000, 3000), reader=MeanReader(), version="v")
    assert windowed.offers == ("invert", "turn-180")
    assert windowed.source is not None and windowed.source.dicom is not None and windowed.source.dicom.by_hand
    kept = read_again(windowed, offers=(), reader=MeanReader(), version="v")
    assert kept.source is not None and kept.source.dicom is not None and kept.source.dicom.by_hand
    assert read_again(mended, frame=2, window=None, reader=MeanReader(), version="v").offers == ()


def test_pixels_kept_for_corrections_count_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readings_module, "HELD_BYTES", 2 * 300 * 260)
    worklist = Worklist()
    films = [made_films.png(255 - made_films.film_pixels(seed, size=(300, 260))) for seed in range(3)]
    read = read_films(films, reader=MeanReader(), version="v")
    worklist.keep(read)
    assert [worklist.reading(one.key).correctable for one in read] == [False, True, True]
    with pytest.raises(ImageError, match=NOT_KEPT[:20]):
        read_again(worklist.reading(read[0].key), offers=("invert",), reader=MeanReader(), version="v")
