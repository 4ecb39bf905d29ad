"""Distances of generated pairs to their source, layer by layer, the source's side kept ready.

To the paper's layers one is added where masks are given: the same distance *within classes*, on
the features that lie under each class's mask. An image can have the right textures and a mask that
does not fit it; no distance of images alone sees that.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from osmis_core.data.pair import IGNORE
from osmis_core.metrics.features import U8, ScoringNetwork
from osmis_core.metrics.frechet import MIN_POSITIONS, FrechetReference

F64 = npt.NDArray[np.float64]

CLASS_LAYER = 1
"""Which of the network's layers is compared within classes: fine enough for small objects."""


def flat(features_CHW: Tensor) -> Tensor:
    """(C, h, w) to (C, h·w), every position a sample."""
    return features_CHW.flatten(1)


class SourceScorer:
    """Measures pairs against one source.

    Attributes:
        layer_names: layers that count; the last is "… within classes" where there is a mask.
        left_out: layers with fewer than 16 positions at this size: named, and not scored.
        size: height and width at which source and samples are compared, in pixels.
    """

    def __init__(
        self, network: ScoringNetwork, source_HWC: U8, source_mask_HW: U8 | None = None
    ) -> None:
        self.network = network
        self.size = network.scoring_size(*source_HWC.shape[:2])
        maps = network.features(source_HWC, self.size)
        names = list(zip(network.layer_names, map(flat, maps), strict=True))
        self.left_out = tuple(name for name, f in names if f.shape[1] < MIN_POSITIONS)
        self.layer_names = tuple(name for name, _ in names if name not in self.left_out)
        self._references = [
            FrechetReference.of(f) if f.shape[1] >= MIN_POSITIONS else None for _, f in names
        ]
        self._classes: _ClassReferences | None = None
        if source_mask_HW is not None:
            name = f"{network.layer_names[CLASS_LAYER]} within classes"
            classes = _ClassReferences(maps[CLASS_LAYER], source_mask_HW)
            if len(classes):
                self._classes = classes
                self.layer_names += (name,)
            else:
                self.left_out += (name,)

    def distances(self, image_HWC: U8, mask_HW: U8 | None = None) -> F64:
        """Squared Fréchet distance in each of ``layer_names``, shape (L,), ≥ 0.

        The image is brought to the source's scoring size first, whatever its own.

        Raises:
            ValueError: the source has a mask and the sample has none.
        """
        maps = self.network.features(image_HWC, self.size)
        pairs = zip(self._references, maps, strict=True)
        distances = [ref.distance(flat(f)) for ref, f in pairs if ref is not None]
        if self._classes is not None:
            if mask_HW is None:
                raise ValueError("The source has a mask, so a sample needs one.")
            distances.append(self._classes.distance(maps[CLASS_LAYER], mask_HW))
        return np.array(distances, dtype=np.float64)


class _ClassReferences:
    """One layer's features of the source, class by class."""

    def __init__(self, features_CHW: Tensor, mask_HW: U8) -> None:
        self._by_class = {
            k: FrechetReference.of(features_CN)
            for k in np.unique(mask_HW[mask_HW != IGNORE]).tolist()
            if (features_CN := _under_class(features_CHW, mask_HW, k)).shape[1] >= MIN_POSITIONS
        }

    def __len__(self) -> int:
        """Classes large enough to compare."""
        return len(self._by_class)

    def distance(self, features_CHW: Tensor, mask_HW: U8) -> float:
        """Mean over the source's classes; one that the sample lacks is compared with nothing."""
        return float(
            np.mean(
                [
                    reference.distance(features_CN)
                    if (features_CN := _under_class(features_CHW, mask_HW, k)).shape[1] > 1
                    else reference.trace + float(reference.mean.square().sum())
                    for k, reference in self._by_class.items()
                ]
            )
        )


def _under_class(features_CHW: Tensor, mask_HW: U8, k: int) -> Tensor:
    """The features of the positions whose centre lies in class k, (C, n)."""
    mask_11HW = torch.tensor(mask_HW)[None, None].float()
    grid_HW = torch.nn.functional.interpolate(
        mask_11HW, size=features_CHW.shape[1:], mode="nearest-exact"
    )[0, 0]
    return features_CHW[:, (grid_HW == k).to(features_CHW.device)]
