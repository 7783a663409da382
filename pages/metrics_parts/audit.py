"""Shortcuts: what the version still knows where the lungs, the borders or the letters are taken off the films."""

from __future__ import annotations

import numpy as np
import streamlit as st

from model.audit import (
    CHANGE,
    FULL,
    LUNGS_OUT,
    SIZE,
    Audit,
    Change,
    Exchange,
    View,
    exchange_rows,
    fill_words,
    in_words,
    name_of,
    read_audit,
    variants,
    verdict,
)
from model.films import prepare, read_xray
from model.lungs import find_lungs
from model.registry import Version
from model.samples import sample_files
from pages.metrics_parts.common import Picture, Row, csv_button
from utils import audit_charts, charts

EXAMPLES = 2
"""Synthetic films of each class that masks are shown on."""
STABILITY = {
    "shift": "moved",
    "zoom": "enlarged",
    "exposure": "darkened",
    "mirror": "mirrored",
    "opacity": "with a shadow painted into a lung",
}


def show(version: Version, *, picture: Picture) -> None:
    """
    Raises:
        VersionError: the report is damaged.
    """
    st.markdown("#### Can it cheat?")
    st.markdown(
        "A network may tell the classes apart by what is no lung: letters, borders, exposure, how the child lay. The "
        "audit takes parts of the films away and reads them again. Without lungs the AUC should fall far; without "
        "anything else it should stay."
    )
    report = version.report("audit")
    if report is None:
        st.info(
            f"Version {version.name} was not audited yet. The command below does it, with the folder that holds the "
            "test films; some minutes.",
            icon=":material/info:",
        )
        st.code(
            f"python -m model audit DATA_DIR --version {version.name} --write",
            language="bash",
            wrap_lines=True,
        )
    else:
        try:
            found = read_audit(report)
        except ValueError as error:
            st.info(str(error), icon=":material/info:")
        else:
            figures(version, found, picture=picture)
            exchanged(found.exchange)
            st.caption(origin(found, report))
    masks()


def figures(version: Version, found: Audit, *, picture: Picture) -> None:
    stated = verdict(found.views)
    if stated.reached:
        st.success(f"**Reached.** {stated.words}", icon=":material/check:")
    else:
        st.warning(f"**Not reached.** {stated.words}", icon=":material/warning:")
    st.plotly_chart(
        audit_charts.audit_figure(found.all_views),
        key="audit",
        theme="streamlit",
        config=charts.config(f"audit-{version.name}", picture=picture),
        alt="AUC with 95 % interval of each change of the films, as in the table below.",
    )
    st.table(rows(found.all_views), hide_index=True, border="horizontal")
    csv_button(lambda: csv_rows(found.all_views), name=f"audit-{version.name}")
    st.caption(
        f"{found.size_words} Painted in black and again in the mean grey of what is left, because the paint itself is "
        "something that the network never saw: believe what both agree on. It says what this network makes of the "
        "rest, not what another could learn from it."
    )


def exchanged(found: Exchange | None) -> None:
    """Whose label films with the lungs of others get."""
    if found is None:
        return
    st.markdown("#### Whom does it believe: the lungs, or what surrounds them?")
    meanings = (
        "1 would be reading the lungs, whatever surrounds them.",
        "0.5 would be paying no heed to it.",
    )
    st.table(
        [
            {
                "Film": f"**{name}**",
                "AUC (95 % interval)": charts.interval_in_words(area, interval),
                "Best": best,
            }
            for (name, area, interval), best in zip(exchange_rows(found), meanings, strict=True)
        ],
        hide_index=True,
        border="horizontal",
    )
    st.caption(
        f"{found.films:,} films, each with the lungs of another one drawn at random, fitted in place, brightness and "
        "contrast. Nothing is painted over here, but seams may remain, and an opacity may reach beyond its lung field."
    )


def rows(views: tuple[View, ...]) -> list[Row]:
    """One row a view, with what it says in words; what was done, and why, stands with the first fill of a change."""
    table: list[Row] = []
    told: set[str] = set()
    for view in views:
        change = _change(view)
        more = "" if view.key in told else f": {change.done} {change.question}"
        told.add(view.key)
        table.append(
            {
                "Film": f"**{name_of(view)}**{more}",
                "AUC (95 % interval)": charts.interval_in_words(view.auc, view.interval),
                "Full film less this": _difference(view),
                "In words": in_words(view),
            }
        )
    return table


def _change(view: View) -> Change:
    return SIZE if view.key == SIZE.key else CHANGE[view.key]


def _difference(view: View) -> str:
    if view.key == FULL:
        return "–"
    if view.difference_interval is None:
        return f"{view.difference:+.3f}"
    low, high = view.difference_interval.low, view.difference_interval.high
    return f"{view.difference:+.3f} ({low:+.3f} to {high:+.3f})"


def csv_rows(views: tuple[View, ...]) -> list[Row]:
    return [
        {
            "film": _change(view).name,
            "fill": view.fill,
            "auc": view.auc,
            "auc_low": view.interval.low,
            "auc_high": view.interval.high,
            "difference": view.difference,
            "difference_low": None if view.difference_interval is None else view.difference_interval.low,
            "difference_high": None if view.difference_interval is None else view.difference_interval.high,
            "p_value": view.p_value,
        }
        for view in views
    ]


def origin(found: Audit, report: dict[str, object]) -> str:
    """Which films, when, by which command; and how good the masks are."""
    masks = found.masks
    steady = ", ".join(
        f"{STABILITY[name]} {value.mean:.2f}" for name, value in masks.stability.items() if name in STABILITY
    )
    atlas = f", {masks.from_atlas:,} from the atlas" if masks.from_atlas else ", none left to the atlas"
    command = str(report["command"]).replace("`", "")
    return (
        f"{found.films:,} films of split {found.split} ({found.normal:,} NORMAL, {found.pneumonia:,} PNEUMONIA), "
        f"{str(report['created'])[:10]}, `{command}`. Intervals and paired differences: DeLong, each film taken as "
        f"independent. Masks: {masks.from_film:,} fitted to their film{atlas}; they cover "
        f"{charts.percent(masks.area[1])} of a film in the median. How alike the mask of a changed film is to the "
        f"changed mask (Dice, 1 is equal, {masks.stability_films:,} films): {steady}. There are no masks drawn by "
        f"hand to compare with. Letters or marks were found on {masks.marks:,} films."
    )


def masks() -> None:
    """What is painted over, on synthetic films."""
    st.markdown("#### What counts as lung")
    examples = _examples()
    if not examples:
        return
    grid = st.grid(min_column_width=150, gap="small", key="audit-masks")
    for caption, address in examples:
        with grid.cell():
            st.image(address, width="stretch", alt=caption)
            st.caption(caption)
    st.caption(
        "Synthetic films, not X-rays of anybody. The mask is fitted to each film from an atlas of this projection, so "
        "that a shadow in the lung does not cut a hole in it; lung behind heart and diaphragm is not in it."
    )


@st.cache_data(show_spinner=False, max_entries=1)
def _examples() -> list[tuple[str, str]]:
    pictures = []
    for label in ("normal", "pneumonia"):
        files = [file for file in sample_files() if label in file.name][:EXAMPLES]
        for number, file in enumerate(files, start=1):
            film = np.ascontiguousarray(prepare(read_xray(file.read_bytes()).pixels)[:, :, 0])
            lungs = find_lungs(film)
            name = f"synthetic, {label} {number}"
            found = "" if lungs.found == "film" else " (the atlas's)"
            pictures.append(
                (f"Mask{found}: {name}", audit_charts.picture_uri(audit_charts.outlined(film, lungs.mask)))
            )
            if number > 1:
                continue
            for key, fill, changed in variants(film, lungs):
                if key in (LUNGS_OUT, "chest-out") and fill == "mean":
                    words = f"{CHANGE[key].name} {fill_words(fill)}: {name}"
                    pictures.append((words, audit_charts.picture_uri(changed)))
    return pictures
