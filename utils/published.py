"""What others report on the same children's films, for the comparison on the Metrics screen.

Only results on the official test split stand beside ours. A re-split draws test films from the training films, image
by image: neighbours in number, often of the same patient, then lie on both sides, and the figures are flattered.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One reported result. Figures in [0, 1]; None where the source gives none.

    Attributes:
        protocol: on which films it was measured, in words.
        films: test films.
        comparable: measured on the official test split, after training on the official training split.
    """

    name: str
    protocol: str
    films: int
    auc: float | None
    sensitivity: float | None
    specificity: float | None
    accuracy: float | None
    source: str
    comparable: bool


_OFFICIAL = "official test split"
_RE_SPLIT = "re-split 80/10/10 by image"
_SEED = "the project from which this one started, its own report"
_TRACED = "figures handed down with this project's plan; the publication could not be traced"

PUBLISHED: tuple[Published, ...] = (
    Published(
        "Inception V3, ImageNet features",
        _OFFICIAL,
        624,
        0.968,
        0.932,
        0.901,
        0.928,
        "Kermany et al. (2018), Cell 172:1122-1131, doi:10.1016/j.cell.2018.02.010",
        True,
    ),
    Published(
        "VGG16, end to end, ImageNet start, mean of three runs (AUC ± 0.002), threshold 0.5",
        _OFFICIAL,
        624,
        0.985,
        None,
        None,
        0.874,
        _TRACED,
        True,
    ),
    Published("Best of ten networks, end to end", _OFFICIAL, 624, 0.989, None, None, None, _TRACED, True),
    Published("VGG16, fine-tuned head", _OFFICIAL, 624, 0.978, 0.923, 0.923, 0.923, _SEED, True),
    Published("VGG16, frozen, one layer on top", _OFFICIAL, 624, 0.749, 0.985, 0.513, None, _SEED, True),
    Published(
        "ResNet50, fine-tuned",
        _RE_SPLIT,
        523,
        0.9993,
        0.9948,
        None,
        0.9943,
        "Roy Choudhury (2026), arXiv:2601.00837",
        False,
    ),
    Published(
        "EfficientNetB4 with topological layers",
        _RE_SPLIT,
        586,
        0.9954,
        None,
        None,
        0.977,
        "J Robotics Control 6(4) (2025), doi:10.18196/jrc.v6i4.25810",
        False,
    ),
    Published(
        "Xception, trained on adults alone",
        "all films of the set, none trained on",
        5856,
        0.82,
        None,
        None,
        None,
        "Rollan-Martinez-Herrera et al. (2024), PLoS ONE 19(7):e0306703",
        False,
    ),
)
"""Official split first. Found in the sources' own abstracts, not measured here."""
