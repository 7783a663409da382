"""What is wrong with the set: each list can be downloaded."""

from __future__ import annotations

import streamlit as st

from pages.data_parts.common import explored
from utils import data_sets, look
from utils.data_sets import FilmSet
from utils.reports import table_csv


def show(films: FilmSet) -> None:
    found = explored(films)
    if found is None:
        return
    report = found.report
    verdict = report.verdict.replace("above", "below")
    if report.fit:
        st.success(verdict, icon=":material/check_circle:")
    else:
        st.warning(verdict, icon=":material/warning:")
    for sentence in report.problems:
        st.markdown(f"- **{look.plain(sentence)}**")
    for sentence in report.remarks:
        st.markdown(f"- {look.plain(sentence)}")
    copies = {
        kind: [data_sets.copies_row(each) for each in report.copies if each.kind == kind]
        for kind in ("identical", "near-identical")
    }
    findings(
        "Files that cannot be read",
        [{"file": each.file, "reason": each.message} for each in report.unreadable],
        "unreadable",
        "Replace or remove them; training leaves them out.",
    )
    findings(
        "Labels that disagree among copies",
        [data_sets.copies_row(each) for each in report.disagreeing],
        "labels-disagree",
        "One picture filed under both classes: at least one label is wrong.",
    )
    findings(
        "Patients in more than one split",
        [
            {"patient": each.patient, "splits": ", ".join(each.splits), "films": each.films}
            for each in report.shared_patients
        ],
        "shared-patients",
        "A network that has seen a child in training is measured too well on the same child.",
    )
    findings(
        "Byte-identical files",
        copies["identical"],
        "identical",
        "The same file under several names.",
    )
    findings(
        "Near-identical films",
        copies["near-identical"],
        "near-identical",
        "Pairs that look the same: saved again, resized, made brighter. A cropped copy is not found.",
    )
    findings(
        "Odd sizes",
        [
            {"file": each.file, "width": each.width, "height": each.height, "reason": each.message}
            for each in report.odd_sizes
        ],
        "odd-sizes",
        "Smaller than the network's input, of unusual shape, or far from the usual number of pixels.",
    )
    st.caption("Nothing is ever changed or removed by this screen.")


def findings(title: str, rows: list[dict[str, object]], name: str, meaning: str) -> None:
    """One list of what was found, with its download; a short line where it is empty."""
    if not rows:
        st.markdown(f"✓ {title}: none")
        return
    st.markdown(f"#### {title}: {len(rows):,}")
    st.caption(meaning)
    st.dataframe(
        rows,
        hide_index=True,
        key=f"list-{name}",
        height=min(38 + 35 * len(rows), 320),
        alt=f"{title}: {len(rows):,}",
    )
    st.download_button(
        "Download CSV",
        data=table_csv(rows),
        file_name=f"{name}.csv",
        mime="text/csv",
        icon=":material/download:",
        on_click="ignore",
        key=f"download-{name}",
    )
