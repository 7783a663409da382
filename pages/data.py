"""Data: what a set of films holds, what a network could cheat with, and what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from uuid import uuid4

import numpy as np
import streamlit as st
from PIL import Image

from model.augmentation import RECIPES
from model.dataset import CLASSES, DatasetError, Film
from model.exploration import (
    EIGEN_FILMS,
    PICTURES,
    VARIANCE,
    Average,
    Counts,
    EigenImages,
    Exploration,
    ExplorationCancelled,
    PreviewError,
    average,
    counts,
    cues,
)
from model.films import ImageError, read_xray
from model.quality import remarks
from utils import data_charts, data_sets, look, session
from utils.charts import config, interval_in_words, percent
from utils.data_sets import FilmSet
from utils.decisions import ASSISTS
from utils.reports import table_csv
from utils.settings import SettingsError, get_settings

session.enter("Data")

# Names of what a session keeps.
SET = "data-set"
FOLDER = "data-folder"
SECTION = "data-section"
SPLIT = "data-split"
LISTING = "data-listing"
STOPPED = "data-stopped"
NAME = "data-session"
PAGE = "data-page"
MIXED = "data-mixed"
AUGMENTED = "data-augmented"
DRAWS = "data-draws"
JOINED = "data-joined"

OTHER = "Another folder"
ALL = "all"
TILES = 12  # of each class on one page
SHOWN_EIGEN = 12


def main() -> None:
    st.html(look.STYLE)
    st.title("Data")
    films = chosen_set()
    if films is not None:
        section = st.segmented_control(
            "What to look at",
            list(SECTIONS),
            default=next(iter(SECTIONS)),
            required=True,
            key=SECTION,
            persist_state="session",
            label_visibility="collapsed",
            wrap=True,
        )
        SECTIONS[section or next(iter(SECTIONS))](films)
    st.caption(ASSISTS)


# --- which set --------------------------------------------------------------------------------------


def chosen_set() -> FilmSet | None:
    """The set that the session looks at; None, and a sentence on the screen, where there is none."""
    places: dict[str, Path] = {}
    try:
        places = {place.label: place.folder for place in data_sets.registered(get_settings())}
    except SettingsError as error:
        st.error(str(error), icon=":material/error:")
    left, right = st.columns([2, 3], vertical_alignment="bottom")
    name = left.selectbox("Set of films", [*places, OTHER], key=SET, persist_state="session")
    if name == OTHER:
        typed = right.text_input(
            "Folder, as the server sees it",
            key=FOLDER,
            persist_state="session",
            placeholder="/data/films",
            help="It holds the folders NORMAL and PNEUMONIA, or train and test with these two in each.",
        )
        if not typed.strip():
            st.info(
                "Name a folder of X-rays to look at: type its path above, or set PNEUMOSCOPE_DATA before the app "
                "starts. It holds the folders NORMAL and PNEUMONIA, or train and test with these two in each. "
                "Files are only read, never changed.",
                icon=":material/folder_open:",
            )
            return None
    try:
        folder = data_sets.typed_folder(typed) if name == OTHER else places[name]
        films = listed(folder)
    except DatasetError as error:
        st.session_state.pop(LISTING, None)
        st.error(str(error), icon=":material/error:")
        st.button("Look again", icon=":material/refresh:")
        return None
    with (st.container if name == OTHER else right.container)(horizontal=True, vertical_alignment="center"):
        st.caption(f"{len(films.dataset.films):,} files in {plain(str(folder))}", width="content")
        st.button(
            "List again",
            icon=":material/refresh:",
            type="tertiary",
            on_click=lambda: st.session_state.pop(LISTING, None),
            help="Look for files that came, went or changed.",
        )
    return films


def listed(folder: Path) -> FilmSet:
    """The listing of a folder, kept until another is chosen: thousands of files take a second."""
    if not folder.is_dir():
        raise DatasetError(
            f"There is no folder {folder} (any more): check its name, or whether it is mounted."
        )
    kept = st.session_state.get(LISTING)
    if kept is None or kept[0] != folder:
        with st.spinner("Listing the films"):
            kept = (folder, data_sets.list_films(folder))
        for key in (PAGE, AUGMENTED, SPLIT):
            st.session_state.pop(key, None)
        st.session_state[LISTING] = kept
    films: FilmSet = kept[1]
    return films


def chosen_split(films: FilmSet) -> str | None:
    """The split to look at, the training films first; None: all films."""
    splits = films.dataset.splits
    if len(splits) < 2:
        return None
    if st.session_state.get(SPLIT) not in (*splits, ALL):
        st.session_state[SPLIT] = splits[0]
    chosen = st.segmented_control(
        "Films of", [*splits, ALL], required=True, key=SPLIT, persist_state="session", wrap=True
    )
    return None if chosen == ALL else chosen


def of_class(films: FilmSet, split: str | None, label: int) -> list[Film]:
    return [film for film in films.dataset.films if film.label == label and split in (None, film.split)]


# --- the one pass -----------------------------------------------------------------------------------


def explored(films: FilmSet) -> Exploration | None:
    """What the pass over the films found. Until it has ended: None, and its progress on the screen."""
    name = st.session_state.setdefault(NAME, uuid4().hex)
    before: data_sets.Pass | None = st.session_state.get(JOINED)
    if st.session_state.get(STOPPED) == films.stamp:
        st.info("Reading was stopped: this section needs every film read once.", icon=":material/info:")
        st.button("Read the films", type="primary", on_click=lambda: st.session_state.pop(STOPPED, None))
        return None
    current = data_sets.pass_over(films, name)
    if before is not None and before is not current:
        before.leave(name)
    st.session_state[JOINED] = current
    if not current.result.done():
        wait_for(films, current, name)
        return None
    error = current.result.exception()
    if error is None:
        return current.result.result()
    if isinstance(error, ExplorationCancelled):
        data_sets.forget_pass(films)
        st.rerun()
    if isinstance(error, DatasetError):
        st.error(str(error), icon=":material/error:")
    else:
        st.error("The films could not be read to the end; the log names the cause.", icon=":material/error:")
    st.button("Try again", icon=":material/refresh:", on_click=begin_again, args=(films,))
    return None


@st.fragment(run_every=0.7)
def wait_for(films: FilmSet, current: data_sets.Pass, name: str) -> None:
    if current.result.done() or st.session_state.get(STOPPED) == films.stamp:
        st.rerun()
    line, button = st.columns([5, 1], vertical_alignment="center")
    done, total = current.done, current.total
    words = f"Read {done:,} of {total:,} films" if done < total else "Comparing the films with each other"
    line.progress(done / total, text=words)
    button.button("Cancel", on_click=cancel, args=(films, current, name), width="stretch", key="data-cancel")
    st.caption("Each film is opened once and nothing is written. You can look at other screens meanwhile.")


def cancel(films: FilmSet, current: data_sets.Pass, name: str) -> None:
    current.leave(name)
    st.session_state[STOPPED] = films.stamp


def begin_again(films: FilmSet) -> None:
    data_sets.forget_pass(films)
    st.session_state.pop(LISTING, None)


# --- counts -----------------------------------------------------------------------------------------


def show_counts(films: FilmSet) -> None:
    found = counts(films.dataset)
    for each in found:
        for label, count in enumerate((each.normal, each.pneumonia)):
            if count == 0:
                where = "The set" if each.split == ALL else f"The part {each.split}"
                st.warning(
                    f"{where} has no film of {CLASSES[label]}: what compares the classes is left out there.",
                    icon=":material/warning:",
                )
    st.table([counts_row(each) for each in found], hide_index=True, border="horizontal")
    st.markdown(imbalance(found[-1]))
    chart(
        data_charts.counts_figure(
            {
                each.split: dict(zip(CLASSES, (each.normal, each.pneumonia), strict=True))
                for each in found
                if each.split != ALL or len(found) == 1
            }
        ),
        "counts",
        "Films by split and class; the same numbers as in the table above.",
    )
    st.caption(
        "Counted from folders and names, no film is opened. A patient is a number within a series of names "
        "(person…_bacteria, person…_virus, IM, NORMAL2-IM); a film without a number counts as a patient of its own."
    )


def counts_row(each: Counts) -> dict[str, str]:
    patients = f"{each.patients:,}"
    if each.without_number:
        patients += f" ({each.without_number:,} without number)"
    return {
        "Films of": plain(each.split),
        "NORMAL": f"{each.normal:,}",
        "PNEUMONIA": f"{each.pneumonia:,}",
        "Films": f"{each.films:,}",
        "Share of PNEUMONIA": percent(each.pneumonia / each.films),
        "Patients": patients,
        "Films a patient": f"{each.films / each.patients:.2f}",
        "Subgroups": ", ".join(f"{name} {count:,}" for name, count in each.subgroups.items()),
    }


def imbalance(each: Counts) -> str:
    if not each.normal or not each.pneumonia:
        return "There is one class only: no imbalance can be stated."
    more, less = sorted(((each.normal, CLASSES[0]), (each.pneumonia, CLASSES[1])), reverse=True)
    if more[0] == less[0]:
        return "**Imbalance:** none, both classes have as many films."
    return (
        f"**Imbalance:** {more[0] / less[0]:.2f} films of {more[1]} for each film of {less[1]}. Whoever always says "
        f"{more[1]} is right on {percent(more[0] / each.films)} of these films: an accuracy has to be read beside that."
    )


# --- sizes and cues ---------------------------------------------------------------------------------


def show_cues(films: FilmSet) -> None:
    found = explored(films)
    if found is None:
        return
    split = chosen_split(films)
    told = cues(found, split)
    st.markdown("#### What a network could cheat with")
    st.markdown(
        "None of these figures is a sign of disease. Where one alone tells the classes apart, a network can have a "
        "good AUC without looking at lungs: 0.5 is chance, 1 tells all."
    )
    if any(cue.auc is not None for cue in told):
        chart(
            data_charts.cues_figure(told),
            "cues",
            "Area under the ROC of each figure alone; the same numbers as in the table below.",
        )
    st.table(
        [
            {
                "Figure": f"**{cue.name}**: {cue.meaning}",
                "AUC alone (95 % interval)": interval_in_words(cue.auc, cue.interval),
                "In words": cue.verdict,
                "Does the network see it?": cue.network,
            }
            for cue in told
        ],
        hide_index=True,
        border="horizontal",
    )
    st.caption(
        "Over the films chosen above, each taken as independent; the direction is the one that makes the AUC at least "
        "0.5. Intervals: DeLong. The last column is true of the networks trained here; a file of another origin may "
        "see brightness and contrast."
    )
    chosen = found.within(split)
    labels = found.labels[chosen]
    if labels.size == 0:
        st.info("None of these films could be read.", icon=":material/info:")
        return
    width, height = found.width[chosen], found.height[chosen]
    st.markdown("#### Sizes")
    different = len(set(zip(width.tolist(), height.tolist(), strict=True)))
    if different == 1:
        st.markdown(
            f"All {labels.size:,} films are {width[0]} × {height[0]} pixels. Where films were brought to one size "
            "before, their first sizes can no longer be told; traces of them may be left in the picture."
        )
    else:
        st.markdown(
            f"{different:,} different sizes, {width.min():,} to {width.max():,} pixels wide and {height.min():,} to "
            f"{height.max():,} high; in the middle {median_of(width, labels)} wide."
        )
        left, right = st.columns(2, gap="large")
        with left:
            chart(data_charts.sizes_figure(width, height, labels), "sizes", "Width against height by class.")
        with right:
            spread(width / height, labels, "Width to height", "aspect")
    st.markdown("#### Brightness, contrast and borders")
    left, right = st.columns(2, gap="large")
    with left:
        spread(found.brightness[chosen], labels, "Brightness (mean grey level)", "brightness")
    with right:
        spread(
            found.contrast[chosen],
            labels,
            "Contrast (95th less 5th percentile)",
            "contrast",
        )
    border = found.border[chosen]
    shares = " and ".join(
        f"{percent(float((border[labels == label] > 0).mean()))} of {name}"
        for label, name in enumerate(CLASSES)
        if (labels == label).any()
    )
    bars = f"A black bar along an edge is found on {shares}"
    if (border > 0).any():
        bars += f"; half of these bars cover more than {percent(float(np.median(border[border > 0])))} of their film"
    st.markdown(f"{bars}.")


def median_of(values: np.ndarray, labels: np.ndarray) -> str:
    return " and ".join(
        f"{np.median(values[labels == label]):,.0f} ({name})"
        for label, name in enumerate(CLASSES)
        if (labels == label).any()
    )


def spread(values: np.ndarray, labels: np.ndarray, title: str, key: str) -> None:
    told = "; ".join(
        f"{name}: half of the films between {np.percentile(values[labels == label], 25):.3g} and "
        f"{np.percentile(values[labels == label], 75):.3g}"
        for label, name in enumerate(CLASSES)
        if (labels == label).any()
    )
    chart(data_charts.distribution_figure(values, labels, title=title), key, f"{title} by class. {told}.")
    st.caption(f"{told}.")


# --- films ------------------------------------------------------------------------------------------


def show_films(films: FilmSet) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom", gap="large"):
        split = chosen_split(films)
        mixed = st.toggle(
            "In mixed order",
            value=True,
            key=MIXED,
            persist_state="session",
            help="Else by name. Always the same mix.",
        )
    groups = [of_class(films, split, label) for label in range(len(CLASSES))]
    if mixed:
        groups = [
            [group[place] for place in np.random.default_rng(0).permutation(len(group))] for group in groups
        ]
    pages = max(1, -(-max(map(len, groups)) // TILES))
    page = min(st.session_state.get(PAGE, 0), pages - 1)
    with st.container(horizontal=True, vertical_alignment="center"):
        turn("Previous", page - 1, "chevron_left", disabled=page == 0)
        st.markdown(f"Page **{page + 1:,}** of {pages:,}", width="content")
        turn("Next", page + 1, "chevron_right", disabled=page >= pages - 1)
    for column, name, group in zip(st.columns(2, gap="large"), CLASSES, groups, strict=True):
        with column:
            st.markdown(f"#### {name}")
            shown = group[page * TILES : (page + 1) * TILES]
            if not group:
                st.info(f"There is no film of {name} here.", icon=":material/info:")
            elif not shown:
                st.caption("No more films of this class.")
            else:
                first = page * TILES + 1
                st.caption(f"{first:,} to {first + len(shown) - 1:,} of {len(group):,}")
            tiles(shown)


def turn(label: str, page: int, icon: str, *, disabled: bool) -> None:
    st.button(
        label,
        icon=f":material/{icon}:",
        disabled=disabled,
        on_click=lambda: st.session_state.update({PAGE: page}),
    )


def tiles(films: Sequence[Film]) -> None:
    """Small films that wrap on a narrow screen; the name below one opens it."""
    with st.container(horizontal=True, gap="small"):
        for film in films:
            with st.container(width=104, gap="xsmall"):
                size, changed = data_sets.version_of(film.path)
                small, problem = data_sets.tile(str(film.path), size, changed)
                if small:
                    st.image(small, width=104, alt=f"Chest X-ray, {film.class_name}")
                else:
                    st.html(f'<div class="data-tile">{look.empty_viewer("cannot be read")}</div>')
                if st.button(
                    plain(shortened(film.path.stem)),
                    key=f"open-{film.path}",
                    type="tertiary",
                    help="Open large",
                    width="stretch",
                ):
                    opened(film, problem)


@st.dialog("One film", width="large")
def opened(film: Film, problem: str) -> None:
    st.markdown(f"**{plain(film.path.name)}**")
    if problem:
        st.error(problem, icon=":material/error:")
        return
    try:
        xray = read_xray(film.path.read_bytes())
    except (ImageError, OSError) as error:
        st.error(
            str(error) if isinstance(error, ImageError) else "The file cannot be opened any more.",
            icon=":material/error:",
        )
        return
    with st.container(key="viewer"):
        st.image(data_sets.picture(film.path)[0], width="stretch", alt=f"Chest X-ray, {film.class_name}")
    source = xray.source
    patient = f"patient {film.patient}" if film.series else "no patient number in its name"
    st.markdown(
        f"Reference label **{film.class_name}** ({film.subgroup}), {plain(film.split)}, {plain(patient)}. "
        f"{source.format}, {source.width} × {source.height} pixels, {source.bit_depth} bit, {source.photometric}."
    )
    for remark in remarks(xray):
        st.markdown(f"⚠ {remark.message}")


# --- augmentation -----------------------------------------------------------------------------------


def show_augmentation(films: FilmSet) -> None:
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
    st.caption(f"{plain(film.path.name)}, {film.class_name}")
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
                "how steady a network is."}.get(name or "", ""))  # fmt: skip


def one_more(key: str) -> None:
    st.session_state[key] += 1


# --- averages ---------------------------------------------------------------------------------------


def show_averages(films: FilmSet) -> None:
    found = explored(films)
    if found is None:
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="large"):
        split = chosen_split(films)
        as_network = (
            st.segmented_control(
                "Grey levels",
                ["as stored", "as the network sees them"],
                default="as stored",
                required=True,
                key="data-standardise",
                persist_state="session",
                help="The network's first layers bring each film to mean 0 and variance 1.",
            )
            != "as stored"
        )
    unit = "standard deviations" if as_network else "grey levels"
    averages: dict[int, Average] = {}
    for label in range(len(CLASSES)):
        pictures = found.pictures(label, split)
        if len(pictures):
            averages[label] = average(pictures, standardise=as_network)
    one_class(averages)
    if not averages:
        return
    pictures_of = {label: each.picture for label, each in averages.items()}
    low = min(float(picture.min()) for picture in pictures_of.values())
    high = max(float(picture.max()) for picture in pictures_of.values())
    columns = st.columns(3)
    for label, picture in pictures_of.items():
        with columns[label]:
            st.markdown(f"#### Mean of {CLASSES[label]}")
            chart(
                data_charts.picture_figure(picture, low=low, high=high, unit=unit),
                f"mean-{CLASSES[label]}",
                f"Mean film of {CLASSES[label]}.",
            )
            st.caption(f"{averages[label].films:,} films")
    if len(pictures_of) == 2:
        with columns[2]:
            st.markdown("#### Difference")
            difference = pictures_of[1] - pictures_of[0]
            chart(
                data_charts.difference_figure(difference, unit=unit),
                "difference",
                "Mean film of PNEUMONIA less mean film of NORMAL.",
            )
            place = np.unravel_index(int(np.abs(difference).argmax()), difference.shape)
            st.caption(
                f"PNEUMONIA less NORMAL: orange brighter in PNEUMONIA, blue darker. Largest: "
                f"{difference[place]:+.3g} {unit}."
            )
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("#### Profile across")
        chart(
            data_charts.profile_figure(averages, across=True, unit=unit),
            "profile-across",
            "Mean brightness of each column of the picture, by class.",
        )
    with right:
        st.markdown("#### Profile down")
        chart(
            data_charts.profile_figure(averages, across=False, unit=unit),
            "profile-down",
            "Mean brightness of each row of the picture, by class.",
        )
    st.caption("Line: mean over the films. Band: 80 % of the films lie in it.")
    st.markdown("#### Grey levels")
    chart(
        data_charts.intensity_figure({label: found.histogram(label, split) for label in averages}),
        "grey-levels",
        "How often each grey level occurs, by class, as stored.",
    )
    st.caption(
        "As stored, every film weighing the same. A peak that leaves the figure at 0 or 255 is black ground, or white "
        "letters and saturation."
    )
    st.caption(
        f"Pictures and profiles from the films reduced to 64 × 64 pixels; of more than {PICTURES:,} films of a class "
        "that many are drawn at random."
    )


def one_class(found: Mapping[int, object]) -> None:
    for label, name in enumerate(CLASSES):
        if label not in found:
            st.info(
                f"There is no readable film of {name} here: only the other class is shown.",
                icon=":material/info:",
            )


# --- eigen-images -----------------------------------------------------------------------------------


def show_eigen(films: FilmSet) -> None:
    found = explored(films)
    if found is None:
        return
    split = chosen_split(films)
    st.markdown(
        "The directions in which the films of one class differ most from their mean (principal components). A film is "
        "the mean plus so much of each. The first ones usually show exposure, size and position of the chest, not "
        "disease."
    )
    analyses: dict[int, EigenImages] = {}
    for label, name in enumerate(CLASSES):
        try:
            with st.spinner(f"Analysing the films of {name}", show_time=True):
                analyses[label] = data_sets.eigen_of(films.stamp, split, label, found)
        except ValueError as error:
            st.info(f"{name}: {error}", icon=":material/info:")
    if not analyses:
        return
    for label, analysis in analyses.items():
        st.markdown(f"#### {CLASSES[label]}: {needed_in_words(analysis)}")
        with st.container(horizontal=True, gap="small"):
            st.image(grey(analysis.mean), caption="mean", width=104, alt=f"Mean film of {CLASSES[label]}")
            for number, image in enumerate(analysis.images[: analysis.needed or SHOWN_EIGEN], start=1):
                if number > 2 * SHOWN_EIGEN:
                    break
                share = percent(float(analysis.shares[number - 1]))
                st.image(
                    grey(image),
                    caption=f"{number}: {share}",
                    width=104,
                    alt=f"Eigen-image {number} of {CLASSES[label]}, explains {share} of the variance",
                )
    st.markdown("#### Variance explained")
    chart(
        data_charts.variance_figure(analyses),
        "variance",
        ". ".join(f"{CLASSES[label]}: {needed_in_words(each)}" for label, each in analyses.items()),
    )
    drawn = ", ".join(f"{each.films:,} of {CLASSES[label]}" for label, each in analyses.items())
    st.caption(
        f"From {drawn}, reduced to 64 × 64 pixels; of more than {EIGEN_FILMS:,} films of a class that many are drawn "
        "at random. Incremental principal component analysis (Ross et al. 2008) as in scikit-learn."
    )


def needed_in_words(analysis: EigenImages) -> str:
    share = f"{VARIANCE:.0%}".replace("%", " %")
    if analysis.needed is None:
        return f"{len(analysis.shares)} components explain {percent(float(analysis.shares.sum()))} of the variance"
    things = "component explains" if analysis.needed == 1 else "components explain"
    return f"{analysis.needed} {things} {share} of the variance"


def grey(image: np.ndarray) -> str:
    """An array stretched from black to white, twice as large, as an address for the browser."""
    low, high = float(image.min()), float(image.max())
    scaled = np.rint((image - low) / max(high - low, 1e-12) * 255).astype(np.uint8)
    return data_sets.address(Image.fromarray(scaled).resize((128, 128), Image.Resampling.BILINEAR))


# --- quality ----------------------------------------------------------------------------------------


def show_quality(films: FilmSet) -> None:
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
        st.markdown(f"- **{plain(sentence)}**")
    for sentence in report.remarks:
        st.markdown(f"- {plain(sentence)}")
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


# --- small things -----------------------------------------------------------------------------------


def chart(figure: object, name: str, told: str) -> None:
    st.plotly_chart(figure, key=f"data-{name}", theme="streamlit", config=config(f"data-{name}"), alt=told)


def plain(text: str) -> str:
    """Text from outside, safe inside Markdown."""
    return re.sub(r"([\\`*_{}\[\]<>()#+\-!|:$~])", r"\\\1", text)


def shortened(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:11]}…{name[-11:]}"


SECTIONS = {
    "Counts": show_counts,
    "Sizes and cues": show_cues,
    "Films": show_films,
    "Augmentation": show_augmentation,
    "Averages": show_averages,
    "Eigen-images": show_eigen,
    "Quality": show_quality,
}

main()
