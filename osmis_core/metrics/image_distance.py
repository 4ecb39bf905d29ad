"""A set's distance to its source by name: SIFID, and the same formula on other networks.

SIFID (single-image FID) is the Fréchet distance between the InceptionV3 features of one generated
image and of the real one, every spatial position a sample: Rott Shaham et al., SinGAN (ICCV 2019);
OSMIS reports its 64-channel layer, averaged over the images (section 4). The name belongs to that
network: on any other, the number carries the network's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from osmis_core.metrics.features import U8, ScoringNetwork, load_scoring_network
from osmis_core.metrics.scoring import SourceScorer


@dataclass(frozen=True, kw_only=True)
class ImageDistance:
    """Mean distance of a set's images to the source.

    Attributes:
        name: what the number is called; ``SIFID`` for InceptionV3 alone.
        network: the network it was measured on.
        weights_sha256: of that network's file.
        layers: mean squared Fréchet distance by layer, ≥ 0, 0 for the source itself.
        left_out: layers with fewer than 16 positions at this size.
        size_px: height and width at which images were compared.
        images: how many.
    """

    name: str
    network: str
    weights_sha256: str
    layers: dict[str, float]
    left_out: tuple[str, ...]
    size_px: tuple[int, int]
    images: int


def image_distance(
    images: Iterable[U8],
    source_HWC: U8,
    network: ScoringNetwork | None = None,
    *,
    masks: Iterable[U8] | None = None,
    source_mask_HW: U8 | None = None,
) -> ImageDistance:
    """Mean single-image Fréchet distance of generated images to their source.

    Args:
        images: uint8 RGB; brought to the source's scoring size where theirs is another.
        source_HWC: the real image.
        network: by default the shift-tolerant VGG-16, in float32.
        masks: class indices of the images; with ``source_mask_HW``, one more "layer" compares the
            features class by class (see ``SourceScorer``), which no published figure does.
        source_mask_HW: class indices of the source, 255 = ignored.

    Raises:
        ValueError: no images.
        ScoringWeightsError: weights are missing, or the images too small for the network.
    """
    chosen = network or load_scoring_network(fast=False)
    with_masks = masks is not None and source_mask_HW is not None
    scorer = SourceScorer(chosen, source_HWC, source_mask_HW if with_masks else None)
    if masks is not None and with_masks:
        pairs = zip(images, masks, strict=True)
        rows = [scorer.distances(image, mask) for image, mask in pairs]
    else:
        rows = [scorer.distances(image) for image in images]
    if not rows:
        raise ValueError("A distance needs at least one image.")
    return ImageDistance(
        name=chosen.distance_name,
        network=chosen.name,
        weights_sha256=chosen.weights_sha256,
        layers=_by_layer(scorer.layer_names, rows),
        left_out=scorer.left_out,
        size_px=scorer.size,
        images=len(rows),
    )


def sifid(
    images: Iterable[U8], source_HWC: U8, inception_weights: Path, sha256: str
) -> ImageDistance:
    """SIFID of generated images: InceptionV3, input in [-1, 1], no resizing, float32.

    Args:
        images: uint8 RGB, of the source's size (others are resized to it).
        source_HWC: the real image, both sides at least 75 px.
        inception_weights: torchvision's ``inception_v3_google`` state dict.
        sha256: what that file must hash to.

    Raises:
        ValueError: no images.
        ScoringWeightsError: file missing, damaged or another one; ``too_small_to_score``.
    """
    network = load_scoring_network(inception_weights, sha256, fast=False)
    return image_distance(images, source_HWC, network)


def _by_layer(names: Sequence[str], rows: Sequence[npt.NDArray[np.float64]]) -> dict[str, float]:
    means_L = np.stack(rows).mean(0)
    return {name: float(mean) for name, mean in zip(names, means_L, strict=True)}
