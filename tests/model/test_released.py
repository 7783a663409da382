"""The version that ships: whole, honest about itself, and the same for a film and its reduced twin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.evaluation import evaluate
from model.films import prepare, read_xray
from model.inference import Predictor
from model.registry import RELEASED, Version, list_versions, read_version
from model.samples import sample_files


@pytest.fixture(scope="module")
def released() -> Version:
    (newest, *_) = list_versions(RELEASED)
    return read_version(newest.folder)


@pytest.fixture(scope="module")
def predictor(released: Version, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return Predictor.load(released, cache=tmp_path_factory.mktemp("cache"))


def read(predictor: Predictor, path: Path) -> float:
    return float(predictor.predict(prepare(read_xray(path.read_bytes()).pixels)[None])[0])


def test_network_is_the_fine_tuned_vgg16_and_small(released: Version) -> None:
    assert (released.card.parameters, released.card.trainable_parameters) == (15_245_121, 15_243_073)
    assert released.model_file.stat().st_size < 50_000_000


def test_figures_on_the_card_are_those_of_the_stored_predictions(released: Version) -> None:
    for split in ("validation", "test"):
        stored = released.predictions(split)
        for point in released.card.operating_points:
            again = evaluate(stored.labels, stored.probabilities, threshold=point.threshold).as_json()
            told = released.card.metrics[split][point.name]
            assert told["confusion"] == again["confusion"]
            for figure in ("auc", "sensitivity", "specificity", "ece", "brier"):
                assert told[figure] == pytest.approx(again[figure], abs=1e-9)


def test_no_patient_is_in_validation_and_test(released: Version) -> None:
    patients = [set(released.predictions(split).patients) for split in ("validation", "test")]
    assert patients[0].isdisjoint(patients[1])


def test_synthetic_samples_are_told_apart_but_for_one(released: Version, predictor: Predictor) -> None:
    """README and model card tell of the one: synthetic films lack the fine detail of real ones."""
    threshold = released.card.operating_point("balanced").threshold
    wrong = [
        path.name
        for path in sample_files()
        if (read(predictor, path) >= threshold) != ("pneumonia" in path.name)
    ]
    assert wrong == ["synthetic-normal-1.png"]


@pytest.mark.slow
@pytest.mark.data
def test_a_film_and_its_reduced_twin_get_the_same_answer(
    released: Version, predictor: Predictor, data_folder: Path, full_size_folder: Path
) -> None:
    threshold = released.card.operating_point("balanced").threshold
    pairs = [
        (read(predictor, path), read(predictor, data_folder / "train" / path.parent.name / path.name))
        for path in sorted(full_size_folder.glob("*/*.jpeg"))
    ]
    assert len(pairs) == 60
    full, reduced = np.array(pairs).T
    assert float(np.median(np.abs(full - reduced))) < 0.02
    assert float(np.max(np.abs(full - reduced))) < 0.12
    np.testing.assert_array_equal(full >= threshold, reduced >= threshold)
