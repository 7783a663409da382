"""One film, many draws of a recipe."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import streamlit as st
from PIL import Image

from model.augmentation import RECIPES
from model.dataset import CLASSES
from model.exploration import (
    PreviewError,
)
from model.films import ImageError
from pages.data_parts.common import AUGMENTED, chosen_split, of_class
from utils import data_sets, look
from utils.data_sets import FilmSet

DRAWS = "data-draws"


def show(films: FilmSet) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom", gap="large"):
        split = chosen_split(films)
        name = st.segmented_control(
            "Recipe",
            list(RECIPES),
            default=next(iter(RECIPES)),
            required=True,
            key="data-recipe",
            persist_state="session",
        )
        wanted = st.segmented_control(
            "Film of",
            list(CLASSES),
            default=CLASSES[0],
            required=True,
            key="data-augmented-class",
            persist_state="session",
        )
    group = of_class(films, split, CLASSES.index(wanted or CLASSES[0]))
    if not group:
        st.info(f"There is no film of {wanted} here.", icon=":material/info:")
        return
    film = group[np.random.default_rng(st.session_state.setdefault(AUGMENTED, 0)).integers(len(group))]
    seed = st.session_state.setdefault(DRAWS, 0)
    with st.container(horizontal=True):
        st.button("Another film", icon=":material/shuffle:", on_click=one_more, args=(AUGMENTED,))
        st.button("Draw again", icon=":material/casino:", on_click=one_more, args=(DRAWS,))
    try:
        with st.spinner(
            "Drawing in a process of its own, which starts TensorFlow: some seconds", show_time=True
        ):
            made = data_sets.draws(str(film.path), *data_sets.version_of(film.path), seed)
        original = data_sets.network_view(film.path)
    except (ImageError, PreviewError) as error:
        st.error(str(error), icon=":material/error:")
        return
    st.caption(f"{look.plain(film.path.name)}, {film.class_name}")
    with st.container(horizontal=True, gap="small"):
        st.image(
            data_sets.address(Image.fromarray(original)),
            caption="as it is",
            width=150,
            alt="The film without change",
        )
        for number, picture in enumerate(made[name or next(iter(RECIPES))], start=1):
            st.image(
                data_sets.address(Image.fromarray(picture).resize((224, 224), Image.Resampling.BILINEAR)),
                caption=f"draw {number}",
                width=150,
                alt=f"Draw {number} of the recipe {name}",
            )
    st.caption(
        "Drawn anew each time a training film is used, in memory, at 112 × 112 pixels, the size that the convolutions "
        "see. Augmentation never touches files."
    )
    recipe = RECIPES[name or next(iter(RECIPES))]
    with st.expander("Strengths of this recipe"):
        st.table(
            [
                {"Change": field.name, "Strength": str(getattr(recipe, field.name))}
                for field in fields(recipe)
            ],
            hide_index=True,
            border="horizontal",
        )
    st.caption({"films": "`films`: the networks are trained with it.",
                "gentle": "`gentle`: position and exposure, a little.",
                "departments": "`departments`: what another department might have made of the film; for measuring "
                "how steady a network is.",
                "positions": "`positions`: place and cover as in `films`, exposure and sharpness as in `departments`; "
                "for going on with a trained network.",
                "collimated": "`collimated`: nearly every film framed anew, against shortcuts; not tried yet.",
                "finetuned": "`finetuned`: the seed's, for its fine-tuned VGG16.",
                "custom_cnn": "`custom_cnn`: the seed's, for its small network; turns films upside down, as no X-ray "
                "comes.",
                "alexnet": "`alexnet`: the seed's, for its network like AlexNet.",
                "augmented": "`augmented`: the seed's, for its small network on strongly changed films.",
                }.get(name or "", ""))  # fmt: skip


def one_more(key: str) -> None:
    st.session_state[key] += 1
