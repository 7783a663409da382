"""Films that are alike: the training films nearest to the opened one, as the network sees them."""

from __future__ import annotations

import numpy as np
import streamlit as st

from model.neighbours import NEAREST, Neighbour, Reference
from model.registry import VersionError
from pages.diagnose_parts.common import Opened
from utils import certainty, evidence, look
from utils.decisions import NORMAL, PNEUMONIA, SHAPES, of_hundred
from utils.settings import SettingsError, get_settings


def show(opened: Opened) -> None:
    """How many of the nearest films are pneumonia, and each of them with its label and distance."""
    reading = opened.reading
    if reading.version != opened.version.name or reading.pooled is None:
        st.info("Drop the file again to see which training films are most like it.", icon=":material/info:")
        return
    try:
        reference = certainty.reference(opened.version)
        if reference is None:
            st.info(
                f"Version {opened.version.name} came without its training films' features. "
                "`python -m model features DATA_DIR` computes them.",
                icon=":material/info:",
            )
            return
        found = reference.nearest(reading.pooled.astype(np.float32), NEAREST)
    except (VersionError, ValueError) as error:
        st.error(str(error), icon=":material/error:")
        return
    pneumonias = sum(neighbour.label for neighbour in found)
    st.markdown(
        f"**{pneumonias} of the {len(found)}** training films that are most like this one are pneumonia. Among all "
        f"{len(reference):,} training films it is {of_hundred(reference.prevalence)}."
    )
    gallery(found)
    st.caption(
        f"Alike as the network sees them, in the features of its last convolution; at distance 0 lies the same film. "
        f"{how_far(opened, reference, found)}These films are what the network learnt from: they explain its answer and "
        "do not prove it."
    )


def how_far(opened: Opened, reference: Reference, found: tuple[Neighbour, ...]) -> str:
    """How far this film lies from them, beside what is usual; empty where the version cannot tell."""
    usual = evidence.usual_distance(opened.version, reference)
    if usual is None or not found:
        return ""
    mean = sum(neighbour.distance for neighbour in found) / len(found)
    return (
        f"This film lies {mean:.1f} from them on average, half of the validation films {usual:.1f} or less. "
    )


def gallery(found: tuple[Neighbour, ...]) -> None:
    """The films with pictures where these are at hand, else as a table."""
    try:
        settings = get_settings()
        pictures = [evidence.picture_of(neighbour.file, settings) for neighbour in found]
    except SettingsError:
        pictures = [""] * len(found)
    if not any(pictures):
        st.table(
            [
                {
                    "Label": label_of(neighbour),
                    "Distance": f"{neighbour.distance:.2f}",
                    "Training film": neighbour.file,
                }
                for neighbour in found
            ],
            hide_index=True,
            border="horizontal",
        )
        st.caption(
            "Their pictures are not at hand: set PNEUMOSCOPE_DATA to the folder that holds the training films."
        )
        return
    grid = st.grid(min_column_width=165, gap="small", key="alike")
    for neighbour, picture in zip(found, pictures, strict=True):
        with grid.cell():
            if picture:
                st.image(picture, width="stretch", alt=f"Training film, {label_of(neighbour)}")
            else:
                st.caption("This film is not at hand.")
            st.markdown(
                f"**{label_of(neighbour)}**  \nDistance {neighbour.distance:.2f}  \n"
                f":small[{look.plain(neighbour.file.rpartition('/')[2])}]"
            )


def label_of(neighbour: Neighbour) -> str:
    """The reference label with its shape, and what is known beyond it: "▲ PNEUMONIA, virus"."""
    label = PNEUMONIA if neighbour.label else NORMAL
    known = neighbour.subgroup and neighbour.subgroup.upper() != label
    subgroup = f", {look.plain(neighbour.subgroup)}" if known else ""
    return f"{SHAPES[label]} {label}{subgroup}"
