"""The pairs, the methods, how much is judged, and where files lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from osmis_core.data.pair import Pair
from osmis_core.data.reader import read_pair

U8 = npt.NDArray[np.uint8]
Method = Literal["ours", "published", "prototype", "patches", "copy_paste", "augmented"]
METHODS: tuple[Method, ...] = (
    "ours",
    "published",
    "prototype",
    "patches",
    "copy_paste",
    "augmented",
)
ON_DEVICE: frozenset[Method] = frozenset({"ours", "published"})
"""What can be trained on a GPU."""
TRAINED: frozenset[Method] = frozenset({"ours", "published", "prototype"})

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
DRAWN = Path(__file__).parent / "pairs"
PAIRS = {
    "coins": (ROOT / "examples/coins/image.png", ROOT / "examples/coins/mask.png"),
    "coffee": (ROOT / "examples/coffee/image.png", ROOT / "examples/coffee/mask.png"),
    "davis_pair": (SHARED / "data/davis_pair/image.jpg", SHARED / "data/davis_pair/mask.png"),
    "cat": (DRAWN / "cat/image.png", DRAWN / "cat/mask.png"),
    "tissue": (DRAWN / "tissue/image.png", DRAWN / "tissue/mask.png"),
}
PROTOTYPE = SHARED / "prototype"
WORK = ROOT / "out" / "quality"
DOCS = ROOT / "docs" / "quality"

SAMPLES = 24
"""Of every set that is judged. The prototype refines a sample in 4–20 s, and equal counts are
judged on every side."""
MINUTES = (3.0, 10.0)
SMALL_MINUTES = (3.0,)


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How thoroughly sets are judged, and where that is written.

    Attributes:
        judged: samples of a set that are measured.
        unet_repeats: U-Nets, each from another seed; none on snapshots before a training's end.
        folder: takes ``results/``, ``sheets/`` and ``table.md``.
        device: that trainings and the sets of networks are made on, ``cpu`` or ``cuda``.
    """

    judged: int
    unet_repeats: int
    folder: Path
    device: str = "cpu"

    @property
    def name(self) -> str:
        """Tells results of different effort apart in file names."""
        return f"n{self.judged}u{self.unet_repeats}"


FULL = Effort(judged=SAMPLES, unet_repeats=3, folder=DOCS)
ON_GPU = Effort(judged=SAMPLES, unet_repeats=3, folder=DOCS / "gpu", device="cuda")
SMALL = Effort(judged=12, unet_repeats=1, folder=WORK / "small")


def is_here(name: str) -> bool:
    """Whether a pair's files are: ``davis_pair`` is not part of the project."""
    return PAIRS[name][0].exists()


def load_pair(name: str, *, has_mask: bool = True) -> Pair:
    """Reads one of the pairs, or its image alone; ``davis_pair`` is not part of the project."""
    image, mask = PAIRS[name]
    if not is_here(name):
        raise SystemExit(f"{name}: {image} is not here.")
    return read_pair(image, mask if has_mask else None)
