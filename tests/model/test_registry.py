"""Versions on disk: what is written comes back, and every kind of damage has its own sentence."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import random
import shutil
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from model.network_file import NetworkFileError, check_configuration, check_network_file
from model.registry import (
    CARD_FILE,
    LOG_FILE,
    MODEL_FILE,
    Change,
    Version,
    VersionError,
    activate,
    delete,
    find_version,
    history,
    journal,
    list_versions,
    read_version,
    record_import,
    rollback,
    rollback_target,
    scan_versions,
    sha256_of,
    version_in_use,
    write_report,
    write_version,
)


@pytest.fixture
def copied(tiny_version: Version, tmp_path: Path) -> Path:
    """A copy of the tiny version that a test may damage."""
    return Path(shutil.copytree(tiny_version.folder, tmp_path / "copy"))


def edit_card(folder: Path, **changes: object) -> None:
    card = json.loads((folder / CARD_FILE).read_text())
    card.update(changes)
    (folder / CARD_FILE).write_text(json.dumps(card))


def test_what_is_written_comes_back(tiny_version: Version) -> None:
    version = read_version(tiny_version.folder)
    assert version.card == tiny_version.card
    assert version.card.sha256 == sha256_of(version.model_file)
    assert version.card.created.utcoffset() is not None
    assert version.card.operating_point("balanced").name == "balanced"
    assert list(version.history()["epoch"]) == [1, 2]
    films = version.predictions("test")
    assert len(films.files) == len(films.labels) == len(films.probabilities) == 120
    assert films.probabilities.dtype == np.float64
    assert films.labels.sum() == 72
    assert set(films.subgroups) == {"", "bacteria", "virus"}


def test_probabilities_survive_the_csv_bit_by_bit(tiny_version: Version, tmp_path: Path) -> None:
    films = tiny_version.predictions("validation")
    again = write_version(
        tmp_path / "again",
        model_file=tiny_version.model_file,
        card=tiny_version.card,
        history=None,
        predictions={"validation": films},
    )
    assert np.array_equal(again.predictions("validation").probabilities, films.probabilities)
    assert again.history().empty
    with pytest.raises(VersionError, match="no stored test predictions"):
        again.predictions("test")


def test_unknown_operating_point_names_those_there_are(tiny_version: Version) -> None:
    with pytest.raises(VersionError, match="it has: .*balanced"):
        tiny_version.card.operating_point("lucky")


def test_an_existing_folder_is_never_overwritten(tiny_version: Version) -> None:
    with pytest.raises(VersionError, match="exists already"):
        write_version(
            tiny_version.folder,
            model_file=tiny_version.model_file,
            card=tiny_version.card,
            history=None,
            predictions={},
        )


def test_a_failed_write_leaves_nothing_behind(tiny_version: Version, tmp_path: Path) -> None:
    bad = tmp_path / "bad.h5"
    bad.write_bytes(b"not a network")
    with pytest.raises(VersionError, match="not an HDF5 file"):
        write_version(tmp_path / "new", model_file=bad, card=tiny_version.card, history=None, predictions={})
    assert [path.name for path in tmp_path.iterdir()] == ["bad.h5"]


def truncate(folder: Path) -> None:
    data = (folder / MODEL_FILE).read_bytes()
    (folder / MODEL_FILE).write_bytes(data[: len(data) // 2])


def flip_a_byte(folder: Path) -> None:
    data = bytearray((folder / MODEL_FILE).read_bytes())
    data[-1] ^= 0xFF
    (folder / MODEL_FILE).write_bytes(bytes(data))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no model": (lambda folder: (folder / MODEL_FILE).unlink(), "has no model.h5"),
    "no card": (lambda folder: (folder / CARD_FILE).unlink(), "no readable card.json"),
    "card is no JSON": (lambda folder: (folder / CARD_FILE).write_text("{"), "card .* is damaged"),
    "card lacks a field": (lambda folder: edit_card(folder, calibration=None), "see calibration"),
    "card with an evil name": (lambda folder: edit_card(folder, name="../evil"), "see name"),
    "naive time": (lambda folder: edit_card(folder, created="2026-01-02T03:04:05"), "see created"),
    "another network": (lambda folder: edit_card(folder, sha256="0" * 64), "checksum differs"),
    "flipped byte": (flip_a_byte, "checksum differs|truncated or damaged"),
    "truncated": (truncate, "truncated or damaged"),
    "pointer": (
        lambda folder: (folder / MODEL_FILE).write_text(
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
        ),
        "git lfs pull",
    ),
    "empty": (lambda folder: (folder / MODEL_FILE).write_bytes(b""), "not an HDF5 file"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_has_one_sentence(copied: Path, name: str) -> None:
    damage, expected = DAMAGES[name]
    damage(copied)
    with pytest.raises(VersionError, match=expected) as caught:
        read_version(copied)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "file,patient\na,b\n",
        "file,patient,label,subgroup,probability\na,b,SICK,,0.5\n",
        "",
        "file,patient,label,subgroup,probability\na,b,NORMAL,,1.5\n",
    ],
)
def test_damaged_predictions(copied: Path, text: str) -> None:
    (copied / "predictions" / "test.csv").write_text(text)
    with pytest.raises(VersionError, match="test predictions of version .* are damaged"):
        read_version(copied).predictions("test")


REPORT = {"created": "2026-05-01T00:00:00Z", "command": "python -m model audit", "films": 3, "split": "test"}


def test_a_report_comes_back_and_gives_way_to_the_next(copied: Path) -> None:
    version = read_version(copied, verify=False)
    assert version.report("audit") is None
    write_report(version, "audit", REPORT)
    write_report(version, "domain", REPORT | {"limit": 0.5})
    write_report(version, "audit", REPORT | {"figure": [0.25, None, "Größe"]})
    assert version.report("audit") == REPORT | {
        "figure": [0.25, None, "Größe"],
        "sha256": version.card.sha256,
    }
    assert version.report("domain") == REPORT | {"limit": 0.5, "sha256": version.card.sha256}
    assert version.report("faithfulness") is None
    assert not list(copied.glob(".*"))


@pytest.mark.parametrize("key", REPORT)
def test_a_report_says_where_it_comes_from(copied: Path, key: str) -> None:
    with pytest.raises(ValueError, match=key):
        write_report(
            read_version(copied, verify=False), "audit", {k: v for k, v in REPORT.items() if k != key}
        )
    assert not (copied / "audit.json").exists()


def test_what_is_no_json_leaves_the_report_that_was(copied: Path) -> None:
    version = read_version(copied, verify=False)
    write_report(version, "audit", REPORT)
    with pytest.raises(ValueError, match="JSON"):
        write_report(version, "audit", REPORT | {"figure": float("nan")})
    assert version.report("audit") is not None and not list(copied.glob(".*"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "damaged"),
        ("[1]", "damaged"),
        ("{}", "damaged"),
        ("[" * 100_000, "damaged"),
        ('"\ud800', "damaged"),
        (json.dumps(REPORT | {"sha256": "0" * 64}), "another network"),
    ],
)
def test_a_damaged_report_has_one_sentence(copied: Path, text: str, words: str) -> None:
    (copied / "audit.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(
        VersionError, match=f"audit report of version tiny-2026-01 is .*{words}.*--write again"
    ):
        read_version(copied, verify=False).report("audit")


def test_listing_is_newest_first_and_skips_damage(tiny_version: Version, tmp_path: Path) -> None:
    for name, created in (("old", "2025-01-01T00:00:00Z"), ("new", "2026-06-01T00:00:00Z"), ("bad", "never")):
        shutil.copytree(tiny_version.folder, tmp_path / name)
        edit_card(tmp_path / name, name=name, created=created)
    shutil.copytree(tiny_version.folder, tmp_path / ".unfinished")
    (tmp_path / "empty").mkdir()
    assert [version.name for version in list_versions(tmp_path, tmp_path / "missing")] == ["new", "old"]
    versions, damaged = scan_versions(tmp_path)
    assert len(versions) == 2 and len(damaged) == 1
    assert find_version(None, tmp_path).name == "new"
    assert find_version("old", tmp_path).name == "old"
    assert find_version(tmp_path / "old").name == "old"
    with pytest.raises(VersionError, match="card .* is damaged"):
        find_version("bad", tmp_path)
    with pytest.raises(VersionError, match="known versions: new, old"):
        find_version("newest", tmp_path)
    with pytest.raises(VersionError, match="no model version"):
        find_version(None, tmp_path / "empty")


def test_the_first_root_with_versions_wins(tiny_version: Version, tmp_path: Path) -> None:
    shutil.copytree(tiny_version.folder, tmp_path / "trained" / "later")
    edit_card(tmp_path / "trained" / "later", name="later", created="2027-01-01T00:00:00Z")
    root = tiny_version.folder.parent
    assert find_version(None, root, tmp_path / "trained").name == tiny_version.name
    assert find_version(None, tmp_path / "missing", tmp_path / "trained").name == "later"


def test_every_class_of_the_tiny_network_is_plain(tiny_version: Version) -> None:
    assert check_network_file(tiny_version.model_file)["class_name"] == "Functional"


@pytest.mark.parametrize(
    "part",
    [
        {"class_name": "Lambda", "config": {"function": ["4wEAAA==", None, None]}},
        {"class_name": "Dense", "module": "os", "registered_name": None},
        {"class_name": "Dense", "module": "keras.layers", "registered_name": "Custom>Dense"},
        {
            "class_name": "Dense",
            "config": {"activation": {"class_name": "__lambda__", "config": {"value": "x"}}},
        },
        {"class_name": "function", "module": "builtins", "config": "exec", "registered_name": "function"},
        {"class_name": "Sequential", "config": {"layers": [{"class_name": "Lambda", "config": {}}]}},
        {"class_name": "TFOpLambda", "config": {}},
        {"module": "subprocess", "config": {}},
        {"class_name": ["Lambda"], "config": {}},
    ],
)
def test_code_in_a_network_is_refused(part: dict[str, Any]) -> None:
    with pytest.raises(NetworkFileError, match="refused"):
        check_configuration({"class_name": "Functional", "config": {"layers": [part]}})


def test_a_lambda_file_is_refused_before_it_is_built(copied: Path) -> None:
    with h5py.File(copied / MODEL_FILE, "r+") as file:
        configuration = json.loads(file.attrs["model_config"])
        configuration["config"]["layers"][1]["class_name"] = "Lambda"
        file.attrs["model_config"] = json.dumps(configuration)
    edit_card(copied, sha256=sha256_of(copied / MODEL_FILE))
    with pytest.raises(VersionError, match="'Lambda'"):
        read_version(copied)


def test_weights_alone_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["kernel"] = np.zeros(3)
    with pytest.raises(NetworkFileError, match="weights without the network's layers"):
        check_network_file(tmp_path / "weights.h5")


# --- which one is in use ---

Roots = tuple[Path, Path]


def copy_version(original: Version, root: Path, name: str, *, created: str = "2026-05-01T00:00:00Z") -> Path:
    """The same network under another name and with a checksum of its own."""
    folder = Path(shutil.copytree(original.folder, root / name))
    with h5py.File(folder / MODEL_FILE, "r+") as file:
        file.attrs["copy"] = name
    edit_card(folder, name=name, created=created, sha256=sha256_of(folder / MODEL_FILE))
    return folder


@pytest.fixture
def roots(tiny_version: Version, tmp_path: Path) -> Roots:
    """Two released versions, of which "new" is newer, and three of the site."""
    released, site = tmp_path / "released", tmp_path / "versions"
    copy_version(tiny_version, released, "old", created="2026-01-01T00:00:00Z")
    copy_version(tiny_version, released, "new", created="2026-02-01T00:00:00Z")
    for name in ("one", "two", "three"):
        copy_version(tiny_version, site, name)
    return released, site


def passes(version: Version) -> None:
    """A check that finds nothing wrong."""


def promote(roots: Roots, name: str) -> Change:
    return activate(name, *roots, who="Dr A", reason=f"try {name}", check=passes)


def take_back(roots: Roots) -> Change:
    return rollback(*roots, who="Dr B", check=passes)


def test_the_newest_released_one_is_in_use_until_one_is_promoted(roots: Roots) -> None:
    assert version_in_use(*roots).name == "new"
    assert rollback_target(*roots) is None
    change = promote(roots, "one")
    assert (change.before, change.to, change.who, change.reason) == ("new", "one", "Dr A", "try one")
    assert change.sha256 == read_version(roots[1] / "one").card.sha256
    assert version_in_use(*roots).name == find_version(None, *roots).name == "one"
    assert find_version("two", *roots).name == "two"  # asked for by name, whatever is in use


def test_rolling_back_takes_one_promotion_back_at_a_time(roots: Roots) -> None:
    for name in ("one", "two", "three"):
        promote(roots, name)
    assert [take_back(roots).to for _ in range(3)] == ["two", "one", "new"]
    assert version_in_use(*roots).name == "new"
    with pytest.raises(VersionError, match="nothing to roll back"):
        take_back(roots)
    promote(roots, "two")
    assert take_back(roots).to == "new"
    assert [(change.action, change.before, change.to) for change in history(roots[1])][:2] == [
        ("rollback", "two", "new"),
        ("promote", "new", "two"),
    ]
    assert len(history(roots[1])) == 8


def test_a_promotion_after_a_rollback_goes_back_to_what_was_before_it(roots: Roots) -> None:
    promote(roots, "one")
    promote(roots, "two")
    take_back(roots)
    promote(roots, "three")
    assert [take_back(roots).to for _ in range(2)] == ["one", "new"]


def test_a_later_release_does_not_push_a_promoted_version_out(tiny_version: Version, roots: Roots) -> None:
    promote(roots, "one")
    copy_version(tiny_version, roots[0], "newest", created="2026-09-01T00:00:00Z")
    assert version_in_use(*roots).name == "one"


@pytest.mark.parametrize("other_network", [False, True])
def test_a_promoted_version_that_is_gone_or_changed_gives_way_to_the_one_before(
    roots: Roots, other_network: bool
) -> None:
    promote(roots, "one")
    promote(roots, "two")
    if other_network:
        edit_card(roots[1] / "two", sha256="1" * 64)
    else:
        shutil.rmtree(roots[1] / "two")
    assert version_in_use(*roots).name == "one"
    target = rollback_target(*roots)
    assert target is not None and target.name == "new"


def test_what_fails_its_check_is_not_promoted(roots: Roots) -> None:
    promote(roots, "one")

    def fails(version: Version) -> None:
        raise VersionError(f"Version {version.name} failed its smoke test.")

    with pytest.raises(VersionError, match="two failed its smoke test"):
        activate("two", *roots, who="Dr A", check=fails)
    assert version_in_use(*roots).name == "one"
    assert len(history(roots[1])) == 1


def test_who_does_it_must_be_named(roots: Roots) -> None:
    for refused in (
        lambda: activate("one", *roots, who=" ", check=passes),
        lambda: rollback(*roots, who="", check=passes),
        lambda: delete("one", *roots, who=""),
    ):
        with pytest.raises(VersionError, match="Say who"):
            refused()
    assert not (roots[1] / LOG_FILE).exists()


def test_what_cannot_go_into_use(roots: Roots, tmp_path: Path) -> None:
    with pytest.raises(VersionError, match="There is no version 'four'"):
        promote(roots, "four")
    with pytest.raises(VersionError, match="in use already"):
        promote(roots, "new")
    truncate(roots[1] / "one")
    with pytest.raises(VersionError, match="truncated"):
        promote(roots, "one")
    shutil.rmtree(roots[1] / "two" / "predictions")
    with pytest.raises(VersionError, match="not evaluated"):
        promote(roots, "two")
    elsewhere = Path(shutil.copytree(roots[1] / "three", tmp_path / "elsewhere"))
    with pytest.raises(VersionError, match="import it first"):
        promote(roots, str(elsewhere))
    assert version_in_use(*roots).name == "new"


def test_a_version_of_the_site_can_be_deleted_and_no_other(roots: Roots) -> None:
    promote(roots, "one")
    with pytest.raises(VersionError, match="one is in use"):
        delete("one", *roots, who="Dr A")
    with pytest.raises(VersionError, match="new was released"):
        delete("new", *roots, who="Dr A")
    with pytest.raises(VersionError, match="two is in use"):
        delete("two", *roots, who="Dr A", keep=["two"])
    with pytest.raises(VersionError, match="no version 'four'"):
        delete("four", *roots, who="Dr A")
    delete("two", *roots, who="Dr A", reason="no better")
    assert sorted(path.name for path in roots[1].iterdir()) == [LOG_FILE, "one", "three"]
    newest = history(roots[1])[0]
    assert (newest.action, newest.to, newest.reason) == ("delete", "two", "no better")
    assert version_in_use(*roots).name == "one"


def test_a_journal_that_cannot_be_written_changes_nothing(roots: Roots) -> None:
    (roots[1] / LOG_FILE).mkdir()
    for refused in (lambda: promote(roots, "one"), lambda: delete("one", *roots, who="Dr A")):
        with pytest.raises(VersionError, match="cannot be written"):
            refused()
    assert (roots[1] / "one" / CARD_FILE).is_file()
    assert version_in_use(*roots).name == "new"


def test_an_import_is_noted_and_changes_nothing(roots: Roots) -> None:
    record_import(read_version(roots[1] / "one"), roots[1], who="Dr A", reason="from the other hospital")
    assert version_in_use(*roots).name == "new"
    assert [(change.action, change.to) for change in history(roots[1])] == [("import", "one")]


def promote_for_ever(roots: Roots) -> None:
    for number in count():
        with contextlib.suppress(VersionError):  # in use already
            if number % 5 == 4:
                rollback(*roots, who="killed", check=passes)
            else:
                promote(roots, ("one", "two", "three")[number % 3])


def test_killed_at_any_moment_the_version_in_use_is_one_that_was_asked_for(roots: Roots) -> None:
    context = multiprocessing.get_context("fork")
    moments = random.Random(20261121)
    promote(roots, "three")
    written = 1
    for _ in range(25):
        process = context.Process(target=promote_for_ever, args=(roots,))
        process.start()
        process.join(timeout=moments.uniform(0.0, 0.2))
        while process.is_alive() and moments.random() < 0.5:
            assert version_in_use(*roots).name in ("one", "two", "three", "new")
        process.kill()
        process.join()
        assert process.exitcode == -9
        lines = journal(roots[1]).lines()
        assert len(lines) >= written
        assert version_in_use(*roots).name == lines[-1].to in ("one", "two", "three", "new")
        assert [version.name for version in scan_versions(*roots)[0]] == ["two", "three", "one", "new", "old"]
        promote(roots, next(name for name in ("one", "two") if name != lines[-1].to))
        written = len(lines) + 1
        assert len(journal(roots[1]).lines()) == written
    assert (
        written > 30
    )  # more than the promotions of this process: it was in the middle of its work when it was killed


def write_for_ever(original: Version, root: Path) -> None:
    for number in count():
        write_version(
            root / f"v{number}",
            model_file=original.model_file,
            card=original.card.model_copy(update={"name": f"v{number}"}),
            history=None,
            predictions={"test": original.predictions("test")},
        )
        shutil.rmtree(root / f"v{number - 1}", ignore_errors=True)


def test_killed_while_writing_a_version_only_whole_ones_are_listed(
    tiny_version: Version, tmp_path: Path
) -> None:
    context = multiprocessing.get_context("fork")
    moments = random.Random(7)
    seen = 0
    for attempt in range(60):
        if attempt >= 12 and seen:
            break
        root = tmp_path / str(attempt)
        process = context.Process(target=write_for_ever, args=(tiny_version, root))
        process.start()
        # A busy machine may take longer to write even one.
        process.join(timeout=moments.uniform(0.0, 0.1 * (1 + attempt // 12)))
        process.kill()
        process.join()
        versions, damaged = scan_versions(root)
        assert not damaged or all("card" not in str(error) for error in damaged)
        for version in versions:
            if (version.folder / "predictions").is_dir():  # not one that was being removed
                read_version(version.folder)
                assert len(version.predictions("test").files) == 120
                seen += 1
    assert seen


def test_promotions_at_once_make_one_chain(roots: Roots) -> None:
    """Each line's "from" is the line before it: nobody decided on what somebody else had changed meanwhile."""
    start = threading.Barrier(6)
    refused: list[str] = []

    def work(name: str) -> None:
        start.wait()
        for _ in range(6):
            try:
                promote(roots, name)
            except VersionError as error:
                refused.append(str(error))

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two", "three") * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = journal(roots[1]).lines()
    assert [line.before for line in lines] == ["new", *(line.to for line in lines[:-1])]
    assert all("in use already" in sentence for sentence in refused)
    assert len(lines) + len(refused) == 36 and len(lines) >= 3
