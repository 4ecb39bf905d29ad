"""Distances of generated images to their source, layer by layer, the source's side kept ready."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

from osmis_core.metrics.features import U8, ScoringNetwork
from osmis_core.metrics.frechet import MIN_POSITIONS, FrechetReference

F64 = npt.NDArray[np.float64]


def flat(features_CHW: Tensor) -> Tensor:
    """(C, h, w) to (C, h·w), every position a sample."""
    return features_CHW.flatten(1)


class SourceScorer:
    """Measures images against one source.

    Attributes:
        layer_names: layers that count.
        left_out: layers with fewer than 16 positions at this size: named, and not scored.
        size: height and width at which source and samples are compared, in pixels.
    """

    def __init__(self, network: ScoringNetwork, source_HWC: U8) -> None:
        self.network = network
        self.size = network.scoring_size(*source_HWC.shape[:2])
        features = [flat(f) for f in network.features(source_HWC, self.size)]
        names = list(zip(network.layer_names, features, strict=True))
        self.left_out = tuple(name for name, f in names if f.shape[1] < MIN_POSITIONS)
        self.layer_names = tuple(name for name, _ in names if name not in self.left_out)
        self._references = [
            FrechetReference.of(f) if f.shape[1] >= MIN_POSITIONS else None for f in features
        ]

    def distances(self, image_HWC: U8) -> F64:
        """Squared Fréchet distance in each of ``layer_names``, shape (L,), ≥ 0.

        The image is brought to the source's scoring size first, whatever its own.
        """
        features = self.network.features(image_HWC, self.size)
        pairs = zip(self._references, features, strict=True)
        return np.array(
            [ref.distance(flat(f)) for ref, f in pairs if ref is not None], dtype=np.float64
        )
