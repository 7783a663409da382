"""A version's network with random weights, block by block from the output down, for the model-randomisation check.

The cascade of Adebayo et al. (2018), arXiv:1810.03292: first the head forgets what it has learnt, then the last block
of convolutions too, and so on to the first. Weights are drawn anew in the ``.h5`` file itself, so nothing of Keras is
needed here; the temporary version is converted and read as every version is.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.registry import CARD_FILE, MODEL_FILE, Version, sha256_of

MOST_BLOCKS = 8
_BLOCK = re.compile(r"^(?:block|conv|stage)_?\d+", re.IGNORECASE)


@dataclass(frozen=True)
class Block:
    """Neighbouring layers: a name for people, and the paths of their weights within the file."""

    name: str
    weights: tuple[str, ...]


def blocks_of(model_file: Path) -> tuple[Block, ...]:
    """The blocks of a Keras ``.h5``, from the output to the input; together they hold all weights.

    The head (all behind the last convolution) is the first one. The convolutions before it are taken by the block that
    their names tell (``block5_conv3``), at most `MOST_BLOCKS`; where names tell none, in equal parts.
    """
    import h5py

    with h5py.File(model_file, "r") as file:
        weights = list(_weights(file["model_weights"]))
        convolutions = [index for index, path in enumerate(weights) if file[path].ndim == 4]
    last = _layer(weights[convolutions[-1]]) if convolutions else None
    head_from = max((index for index, path in enumerate(weights) if _layer(path) == last), default=-1) + 1
    body, head = weights[:head_from], weights[head_from:]
    groups: list[tuple[str, list[str]]] = []
    for path in body:
        match = _BLOCK.match(_layer(path))
        name = match.group(0) if match else ""
        if not groups or (name and name != groups[-1][0]):
            groups.append((name or "first layers", []))
        groups[-1][1].append(path)
    if not 2 <= len(groups) <= MOST_BLOCKS:
        layers = list(dict.fromkeys(map(_layer, body)))
        parts = np.array_split(np.arange(len(layers)), min(5, len(layers)))
        place = {layers[index]: part for part, indices in enumerate(parts) for index in indices}
        groups = [
            (f"part {part + 1} of {len(parts)}", [path for path in body if place[_layer(path)] == part])
            for part in range(len(parts))
        ]
    found = [Block("head", tuple(head))] if head else []
    return (*found, *(Block(name, tuple(paths)) for name, paths in reversed(groups)))


def _weights(group: Any) -> list[str]:
    """Paths of all weights in the order of the layers; a nested network keeps its layers' within its own group."""
    found = []
    for layer in group.attrs["layer_names"]:
        name = layer.decode() if isinstance(layer, bytes) else str(layer)
        for weight in group[name].attrs["weight_names"]:
            words = weight.decode() if isinstance(weight, bytes) else str(weight)
            found.append(f"{group.name}/{name}/{words}")
    return found


def _layer(path: str) -> str:
    return path.split("/")[-2]


def randomise(model_file: Path, weights: tuple[str, ...], random: np.random.Generator) -> None:
    """Draw these weights of a Keras ``.h5`` anew, in place, as a network begins its training.

    Kernels: normal of variance 2 / inputs (He et al. 2015), which keeps the size of what flows through; scales and
    variances of normalisations 1, means, offsets and biases 0.
    """
    import h5py

    with h5py.File(model_file, "r+") as file:
        for path in weights:
            data = file[path]
            name = path.rsplit("/", 1)[-1].split(":")[0]
            if data.ndim >= 2:
                # The last axis is the outputs; a depthwise kernel (h, w, channels, 1) sees one channel at a time.
                inputs = (
                    int(np.prod(data.shape[:2])) if "depthwise" in name else int(np.prod(data.shape[:-1]))
                )
                data[...] = random.normal(0, np.sqrt(2 / inputs), data.shape).astype(data.dtype)
            else:
                data[...] = 1.0 if name in ("gamma", "moving_variance") else 0.0


def randomised_version(
    version: Version, blocks: tuple[Block, ...], folder: Path, random: np.random.Generator
) -> Version:
    """A temporary version in `folder` (made; must not exist) whose network has these blocks drawn anew.

    The card is the version's own with the new checksum: calibration and thresholds mean nothing there.
    """
    folder.mkdir(parents=True)
    shutil.copy(version.model_file, folder / MODEL_FILE)
    randomise(folder / MODEL_FILE, tuple(path for block in blocks for path in block.weights), random)
    card = version.card.model_copy(update={"sha256": sha256_of(folder / MODEL_FILE)})
    (folder / CARD_FILE).write_text(card.model_dump_json(), encoding="utf-8")
    return Version(folder, card)
