"""Films with the lungs of another: what comes from which film, and whose label it gets."""

from __future__ import annotations

import numpy as np
import pytest

from model.films import prepare, read_xray
from model.recipes import TrainingConfig, default_config
from model.samples import sample_files
from model.transplant import lung_masks, transplant

SIDE = 64


def made() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two films of one exposure, and one without lungs: (films, lungs, targets)."""
    films = np.full((3, SIDE, SIDE, 1), 100, np.uint8)
    films[:, ::2] = 140
    lungs = np.zeros_like(films)
    lungs[0, 20:40, 10:50] = 1
    lungs[1, 30:60, 20:44] = 1
    films[0, 20:40, 10:50], films[1, 30:60, 20:44] = 10, 240
    return films, lungs, np.array([[0.0], [1.0], [1.0]], np.float32)


def test_the_lungs_and_the_label_come_from_another_film_and_all_else_stays() -> None:
    import tensorflow as tf

    films, lungs, target = made()
    exchanged = 0
    for seed in range(8):
        tf.random.set_seed(seed)
        changed, labels = (value.numpy() for value in transplant(films, lungs, target, share=1.0))
        assert labels[2, 0] == 1 and np.array_equal(changed[2], films[2]), "a film without lungs stays"
        for index, other in ((0, 1), (1, 0)):
            middle = changed[index][lungs[index] > 0].mean()
            if labels[index, 0] == target[other, 0]:
                exchanged += 1
                assert abs(middle - (240 if other else 10)) < 15, "the lungs are the other film's"
            else:
                assert abs(middle - (10 if other else 240)) < 15
            assert np.array_equal(changed[index, :8], films[index, :8]), "far from the lungs nothing changes"
    assert exchanged


def test_nothing_changes_without_a_share() -> None:
    films, lungs, target = made()
    changed, labels = transplant(films, lungs, target, share=0.0)
    np.testing.assert_array_equal(changed, films)
    np.testing.assert_array_equal(labels, target)


def test_targets_of_two_columns_go_with_the_lungs_too() -> None:
    import tensorflow as tf

    films, lungs, target = made()
    both = np.concatenate([1 - target, target], axis=1)
    tf.random.set_seed(1)
    _, one = transplant(films, lungs, target, share=1.0)
    tf.random.set_seed(1)
    _, two = transplant(films, lungs, both, share=1.0)
    np.testing.assert_array_equal(one[:, 0], two[:, 1])


def test_lungs_are_looked_for_in_every_film() -> None:
    film = prepare(read_xray(sample_files()[0].read_bytes()).pixels)[:, :, 0]
    seen: list[None] = []
    masks = lung_masks(np.stack([film, np.zeros_like(film)]), lambda: seen.append(None))
    assert len(seen) == 2
    assert masks.dtype == np.uint8
    assert 0.1 < masks[0].mean() < 0.55
    assert masks[1].max() == 0


def test_only_a_network_that_trains_whole_exchanges_lungs() -> None:
    assert default_config("vgg16_scratch", transplanted=0.5).transplanted == 0.5
    assert default_config("custom_cnn", transplanted=0.5).transplanted == 0.5
    with pytest.raises(ValueError, match="whole network"):
        TrainingConfig(architecture="vgg16_finetuned", transplanted=0.5)
