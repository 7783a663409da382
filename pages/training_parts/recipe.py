"""The form of a run's settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from model.architectures import ARCHITECTURES, Architecture, weights_available
from model.recipes import ConfigError, TrainingConfig, default_config
from pages.training_parts.common import ARCHITECTURE, FILE, WEIGHTS, WEIGHTS_FILE
from utils import look, session, training_form
from utils.department import base_of
from utils.training_form import Entry


def recipe(home: Path) -> tuple[TrainingConfig | None, list[str]]:
    """The configuration that was entered, and what is wrong with it."""
    names = list(ARCHITECTURES)
    if st.session_state.get(ARCHITECTURE) not in names:
        st.session_state[ARCHITECTURE] = names[0]
    left, right = st.columns(2, gap="large")
    with left:
        name = st.selectbox(
            "Network",
            names,
            format_func=lambda each: ARCHITECTURES[each].title,
            key=ARCHITECTURE,
            persist_state="session",
        )
        architecture = ARCHITECTURES[name]
        st.markdown(f"**What the seed did.** {look.plain(architecture.seed)}")
        if architecture.remark:
            st.warning(look.plain(architecture.remark), icon=":material/warning:")
        st.caption(
            f"{architecture.parameters:,} parameters, {architecture.trainable:,} of them trained with the defaults."
        )
    default = default_config(name)
    with right:
        weights, available = starting_weights(home, architecture, default)
    problems = [] if available else ["choose starting weights that can be had here"]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown("**Main settings**", width="content")
        st.button(
            "Back to the defaults",
            icon=":material/undo:",
            type="tertiary",
            on_click=fill,
            args=(name, default),
        )
    entered = fields(training_form.MAIN, architecture, default)
    with st.expander("All other settings", key="training-rest"):
        for title, entries in training_form.REST.items():
            mine = [entry for entry in entries if entry.staged in (None, default.staged)]
            if mine:
                st.markdown(f"**{title}**")
                entered |= fields(mine, architecture, default)
    try:
        return training_form.configuration(name, weights, entered), problems
    except ConfigError as error:
        st.error(look.plain(str(error)), icon=":material/error:")
        return None, [*problems, "mend the setting named above"]


def starting_weights(home: Path, architecture: Architecture, default: TrainingConfig) -> tuple[str, bool]:
    """What the network starts from, and whether that can be had here: said before a run, not after."""
    versions = {version.name: str(version.model_file) for version in session.all_versions()}
    options = ["none", *versions, FILE]
    if architecture.weights_file is not None:
        options.insert(0, "imagenet")
    words = {
        "imagenet": "ImageNet weights",
        "none": "None: train from scratch",
        FILE: "A weights file",
        **{name: f"Version {name}" for name in versions},
    }
    key = f"{WEIGHTS}-{architecture.name}"
    if st.session_state.get(key) not in options:
        st.session_state[key] = first_choice(architecture, default, options)
    wanted = st.selectbox(
        "Starting weights",
        options,
        format_func=lambda each: words[each],
        key=key,
        persist_state="session",
    )
    if wanted == FILE:
        wanted = st.text_input(
            "Weights file, as the server sees it",
            key=WEIGHTS_FILE,
            persist_state="session",
            placeholder="/data/vgg16_notop.h5",
            help="An .h5 of Keras, or an .npz of kernels by layer name.",
        ).strip()
        if not wanted:
            st.caption("Type the file's path.")
            return wanted, False
    possible, sentence = weights_available(architecture, versions.get(wanted, wanted))
    if possible:
        st.caption(f":material/check: {look.plain(sentence)}")
    else:
        st.warning(look.plain(sentence), icon=":material/warning:")
    return wanted, possible


def first_choice(architecture: Architecture, default: TrainingConfig, options: Sequence[str]) -> str:
    """The seed's weights where they can be had; else, for a VGG16, those of the version in use if it is one."""
    wanted = default.starting_weights if default.starting_weights in options else "none"
    in_use, _ = session.current_version()
    if (
        architecture.base == "VGG16"
        and not weights_available(architecture, wanted)[0]
        and in_use is not None
        and base_of(in_use).name in options
        and in_use.card.seed_configuration.startswith("vgg16")
    ):
        return base_of(in_use).name
    return wanted


def fields(entries: Sequence[Entry], architecture: Architecture, default: TrainingConfig) -> dict[str, Any]:
    """Widgets for settings; what was entered by name."""
    entered = {}
    grid = st.grid(4, min_column_width=220, gap="small")
    for entry in entries:
        if entry.staged in (None, default.staged):
            with grid.cell():
                entered[entry.name] = widget(entry, architecture, default)
    return entered


def widget(entry: Entry, architecture: Architecture, default: TrainingConfig) -> Any:
    key = key_of(architecture.name, entry.name)
    if key not in st.session_state:
        st.session_state[key] = training_form.shown(entry, default)
    common: dict[str, Any] = {"key": key, "help": entry.help, "persist_state": "session"}
    if entry.kind == "choice":
        words = dict(entry.words or {})
        return st.selectbox(
            entry.label, list(words), format_func=lambda each: words.get(each, each), **common
        )
    if entry.kind == "bool":
        return st.checkbox(entry.label, **common)
    if entry.kind == "text":
        return st.text_input(entry.label, max_chars=200, **common)
    high = architecture.blocks if entry.name == "unfrozen_blocks" else entry.high
    if entry.kind == "int":
        return st.number_input(
            entry.label,
            min_value=int(entry.low),
            max_value=None if high is None else int(high),
            step=int(entry.step),
            disabled=high == 0,
            **common,
        )
    return st.number_input(
        entry.label,
        min_value=float(entry.low),
        max_value=None if high is None else float(high),
        step=float(entry.step),
        format="%g",
        **common,
    )


def key_of(architecture: str, name: str) -> str:
    return f"training-{architecture}-{name}"


def fill(architecture: str, config: TrainingConfig) -> None:
    """Put a configuration into the form."""
    for entry in training_form.all_entries():
        st.session_state[key_of(architecture, entry.name)] = training_form.shown(entry, config)
    wanted = config.starting_weights
    known = ("imagenet", "none", *(version.name for version in session.all_versions()))
    st.session_state[f"{WEIGHTS}-{architecture}"] = wanted if wanted in known else FILE
    if wanted not in known:
        st.session_state[WEIGHTS_FILE] = wanted
