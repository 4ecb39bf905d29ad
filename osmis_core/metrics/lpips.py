"""LPIPS with shift-tolerant networks and heads: how different two images look.

Zhang et al. (CVPR 2018), standard form: input in [-1, 1], unit-length features, squared
differences weighed by the learned heads, averaged over space, summed over layers. Networks and
heads are those of ST-LPIPS (``stlpips-pytorch``), so numbers are named after it and don't compare
with LPIPS on other weights.

The paper's own figures were taken with images in [0, 1] fed to a network that expects [-1, 1],
which lowers the contrast that it sees by half. That variant is here under a name of its own, to
compare with published figures; nothing else uses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from osmis_core.metrics.features import U8, resize_image, to_signed
from osmis_core.metrics.shift_tolerant import (
    Backbone,
    ShiftTolerantNet,
    read_shift_tolerant_weights,
)

NAMES: dict[Backbone, str] = {
    "alex": "LPIPS, AlexNet shift-tolerant",
    "vgg": "LPIPS, VGG-16 shift-tolerant",
}
InputRange = Literal["signed", "unit"]
UNIT_RANGE_NOTE = "images in [0, 1] as in the OSMIS paper"
TINY = 1e-10


class LpipsDistance:
    """Perceptual distance of two images of one size.

    Args:
        backbone: ``alex`` or ``vgg``.
        input_range: ``signed``, images in [-1, 1], is LPIPS; ``unit``, images in [0, 1], is the
            OSMIS paper's variant, and named so.
        device: where to run.

    Attributes:
        name: what the number is called.
        weights_sha256: of the weight file.
    """

    def __init__(
        self,
        backbone: Backbone = "alex",
        *,
        input_range: InputRange = "signed",
        device: str | torch.device = "cpu",
    ) -> None:
        weights = read_shift_tolerant_weights(backbone)
        self.input_range = input_range
        self.name = NAMES[backbone]
        if input_range == "unit":
            self.name += f", {UNIT_RANGE_NOTE}"
        self.weights_sha256 = weights.sha256
        self.device = torch.device(device)
        net = ShiftTolerantNet(backbone, weights.tensors).to(self.device)
        self._net = net.to(memory_format=torch.channels_last)
        heads = [weights.tensors[f"lin{i}.model.1.weight"][0] for i in range(5)]
        self._heads = [head.to(self.device) for head in heads]

    def embed(self, image_HWC: U8) -> list[Tensor]:
        """Unit-length features scaled by the square roots of the heads, one (C, h, w) a layer.

        The distance of two images is the sum over layers of the mean over positions of the squared
        difference of these.
        """
        image_BCHW = to_signed(image_HWC)[None].to(self.device)
        if self.input_range == "unit":
            image_BCHW = (image_BCHW + 1) / 2
        image_BCHW = image_BCHW.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            features = self._net(image_BCHW)
            return [
                feature[0] / (feature[0].norm(dim=0, keepdim=True) + TINY) * head.sqrt()
                for feature, head in zip(features, self._heads, strict=True)
            ]

    def between(self, first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
        """Distance of two embedded images of the same size."""
        pairs = zip(first, second, strict=True)
        return float(sum((a - b).square().sum(0).mean() for a, b in pairs))

    def __call__(self, first_HWC: U8, second_HWC: U8) -> float:
        """Distance of two images of the same size, ≥ 0, 0 for equal ones."""
        return self.between(self.embed(first_HWC), self.embed(second_HWC))


def chosen_pairs(count: int, max_pairs: int, seed: int) -> list[tuple[int, int]]:
    """All pairs of ``count`` items, or a seeded subset of ``max_pairs`` of them, sorted."""
    total = count * (count - 1) // 2
    if total <= max_pairs:
        return list(combinations(range(count), 2))
    rng = np.random.default_rng(seed)
    # pair number t is the t-th of (0, 1), (0, 2), (1, 2), (0, 3), …
    numbers = np.sort(rng.choice(total, size=max_pairs, replace=False))
    second = ((np.sqrt(8.0 * numbers + 1) + 1) / 2).astype(np.int64)
    first = numbers - second * (second - 1) // 2
    return sorted((int(i), int(j)) for i, j in zip(first, second, strict=True))


def mean_pairwise_lpips(
    images: Sequence[U8],
    max_pairs: int = 200,
    *,
    seed: int = 0,
    metric: LpipsDistance | None = None,
    longest_px: int | None = 256,
) -> float:
    """Mean LPIPS between generated images: the paper's diversity, standard input range.

    Args:
        images: uint8 RGB images of one size; at least two.
        max_pairs: how many pairs to measure at most, a seeded choice.
        seed: of that choice.
        metric: the distance; AlexNet by default.
        longest_px: images are reduced to this longest side first; None measures at full size.

    Raises:
        ValueError: fewer than two images.
    """
    if len(images) < 2:
        raise ValueError(f"Diversity needs at least two images, not {len(images)}.")
    distance = metric or LpipsDistance()
    pairs = chosen_pairs(len(images), max_pairs, seed)
    last_use = {index: pair for pair in pairs for index in pair}
    embedded: dict[int, list[Tensor]] = {}
    values = []
    for pair in pairs:
        for index in pair:
            if index not in embedded:
                embedded[index] = distance.embed(_reduced(images[index], longest_px))
        values.append(distance.between(embedded[pair[0]], embedded[pair[1]]))
        for index in pair:
            if last_use[index] == pair:
                del embedded[index]
    return float(np.mean(values))


def lpips_to_source(
    images: Iterable[U8],
    source_HWC: U8,
    *,
    metric: LpipsDistance | None = None,
    longest_px: int | None = 256,
) -> list[float]:
    """Distance to the source: LPIPS between each generated image and the real one.

    A set that repeats its source is near 0 whether or not it copies pixels; the mean says how far
    the set is, the smallest how near its nearest image.

    Args:
        images: uint8 RGB, each resized to the source's (reduced) size where it has another.
        source_HWC: the real image.
        metric: the distance; AlexNet by default.
        longest_px: images are reduced to this longest side first; None measures at full size.

    Returns:
        One distance an image, ≥ 0, 0 for the source itself.
    """
    distance = metric or LpipsDistance()
    source_small_HWC = _reduced(source_HWC, longest_px)
    height, width = source_small_HWC.shape[:2]
    source = distance.embed(source_small_HWC)
    return [
        distance.between(distance.embed(resize_image(image, height, width)), source)
        for image in images
    ]


def _reduced(image_HWC: U8, longest_px: int | None) -> U8:
    height, width = image_HWC.shape[:2]
    if longest_px is None or max(height, width) <= longest_px:
        return image_HWC
    ratio = longest_px / max(height, width)
    return resize_image(image_HWC, max(16, round(height * ratio)), max(16, round(width * ratio)))
