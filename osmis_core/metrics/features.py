"""Networks that judge images: VGG-16 shift-tolerant by default, InceptionV3 when configured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from osmis_core.metrics.shift_tolerant import (
    ScoringWeightsError,
    ShiftTolerantNet,
    load_tensors,
    read_shift_tolerant_weights,
    sha256_of,
)
from osmis_core.precision import has_fast_bfloat16

U8 = npt.NDArray[np.uint8]

SCORING_LONGEST_PX = 384
"""VGG-16 scores at this longest side: a third of the time at 600 px, and the same ranks."""
VGG_LAYERS = ("conv1_2", "conv2_2", "conv3_3", "conv4_3")
INCEPTION_LAYERS = ("64", "192", "768", "2048")
INCEPTION_MIN_PX = 75


class InceptionFeatures(nn.Module):
    """SIFID's four layers of ImageNet InceptionV3.

    64 channels (second convolution block, before the first max-pool), 192 (before the second),
    768 (Mixed_6e), 2048 (Mixed_7c, unpooled).

    Args:
        tensors: torchvision's ``inception_v3_google`` state dict.

    Raises:
        ScoringWeightsError: the tensors don't fit the network.
    """

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        from torchvision.models import inception_v3

        net = inception_v3(weights=None, aux_logits=True, transform_input=False, init_weights=False)
        try:
            net.load_state_dict(tensors)
        except RuntimeError as error:
            raise ScoringWeightsError(
                "The configured file is no state dict of torchvision's InceptionV3.",
                hint="Use torchvision's inception_v3_google weights.",
            ) from error
        self.to_64 = nn.Sequential(net.Conv2d_1a_3x3, net.Conv2d_2a_3x3, net.Conv2d_2b_3x3)
        self.to_192 = nn.Sequential(nn.MaxPool2d(3, 2), net.Conv2d_3b_1x1, net.Conv2d_4a_3x3)
        mixed = [
            getattr(net, f"Mixed_{name}")
            for name in ["5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e"]
        ]
        self.to_768 = nn.Sequential(nn.MaxPool2d(3, 2), *mixed)
        self.to_2048 = nn.Sequential(net.Mixed_7a, net.Mixed_7b, net.Mixed_7c)
        self.requires_grad_(requires_grad=False)
        self.eval()

    def forward(self, image_BCHW: Tensor) -> list[Tensor]:
        """Feature maps of the four layers; RGB in [-1, 1], both sides at least 75 px."""
        if min(image_BCHW.shape[2:]) < INCEPTION_MIN_PX:
            raise ScoringWeightsError(
                f"InceptionV3 needs {INCEPTION_MIN_PX} px, the shorter side has"
                f" {min(image_BCHW.shape[2:])}.",
                code="too_small_to_score",
                hint="Leave the Inception weights unset for pairs this small.",
            )
        features: list[Tensor] = []
        hidden = image_BCHW
        for stage in (self.to_64, self.to_192, self.to_768, self.to_2048):
            hidden = stage(hidden)
            features.append(hidden)
        return features


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoringNetwork:
    """A frozen network and how to feed it.

    Attributes:
        name: the backbone, shown wherever its numbers are.
        distance_name: what the Fréchet distance on its features is called: ``SIFID`` for
            InceptionV3 alone.
        layer_names: one name a layer of ``features``.
        weights_sha256: of the weight file.
        longest_px: images are reduced to this longest side first, or None: never resized.
        net: image in [-1, 1] to a list of feature maps.
        device: where it runs.
        fast: bfloat16 where that is fast: the same ranks in half the time. Figures to publish are
            taken in float32.
    """

    name: str
    distance_name: str
    layer_names: tuple[str, ...]
    weights_sha256: str
    longest_px: int | None
    net: nn.Module
    device: torch.device
    fast: bool = True

    def scoring_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width at which an image of this size is scored, in pixels."""
        if self.longest_px is None or max(height, width) <= self.longest_px:
            return height, width
        ratio = self.longest_px / max(height, width)
        return max(16, round(height * ratio)), max(16, round(width * ratio))

    def features(self, image_HWC: U8, size: tuple[int, int] | None = None) -> list[Tensor]:
        """Feature maps of one image, float32, one (C, h, w) a layer.

        Args:
            image_HWC: RGB.
            size: height and width to score at; by default ``scoring_size`` of the image.
        """
        height, width = size or self.scoring_size(*image_HWC.shape[:2])
        image_BCHW = to_signed(resize_image(image_HWC, height, width))[None].to(self.device)
        # channels_last makes the CPU's convolutions faster; values differ in the last bits only
        image_BCHW = image_BCHW.contiguous(memory_format=torch.channels_last)
        # half the time; on the planted-failure sets ranks agree with float32's to 0.9996 (Spearman)
        fast = torch.autocast(
            self.device.type,
            torch.bfloat16,
            enabled=self.fast and has_fast_bfloat16(self.device),
        )
        with torch.inference_mode(), fast:
            return [feature[0].float() for feature in self.net(image_BCHW)]


def resize_image(image_HWC: U8, height: int, width: int) -> U8:
    """Resizes with Lanczos; returns the image itself when nothing changes."""
    if image_HWC.shape[:2] == (height, width):
        return image_HWC
    resized = Image.fromarray(image_HWC).resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(resized, dtype=np.uint8)


def to_signed(image_HWC: U8) -> Tensor:
    """uint8 image to a float32 (C, H, W) tensor in [-1, 1]."""
    return torch.tensor(image_HWC).permute(2, 0, 1).float() / 127.5 - 1


def load_scoring_network(
    inception_weights: Path | None = None,
    sha256: str | None = None,
    *,
    device: str | torch.device = "cpu",
    fast: bool = True,
) -> ScoringNetwork:
    """The network that scores samples: InceptionV3 when a file is configured, else VGG-16.

    Args:
        inception_weights: torchvision's ``inception_v3_google`` state dict.
        sha256: what that file must hash to; a file without a declared hash is refused.
        device: where to run.
        fast: bfloat16 where that is fast, see ``ScoringNetwork``.

    Raises:
        ScoringWeightsError: file missing, damaged, undeclared, or hash differs.
    """
    place = torch.device(device)
    if inception_weights is None:
        weights = read_shift_tolerant_weights("vgg")
        net: nn.Module = ShiftTolerantNet("vgg", weights.tensors, stage_count=len(VGG_LAYERS))
        return ScoringNetwork(
            name="VGG-16 shift-tolerant",
            distance_name="single-image Fréchet distance, VGG-16 shift-tolerant",
            layer_names=VGG_LAYERS,
            weights_sha256=weights.sha256,
            longest_px=SCORING_LONGEST_PX,
            net=net.to(place).to(memory_format=torch.channels_last),
            device=place,
            fast=fast,
        )
    actual = _checked_hash(inception_weights, sha256)
    net = InceptionFeatures(load_tensors(inception_weights))
    return ScoringNetwork(
        name="InceptionV3",
        distance_name="SIFID",
        layer_names=INCEPTION_LAYERS,
        weights_sha256=actual,
        longest_px=None,
        net=net.to(place).to(memory_format=torch.channels_last),
        device=place,
        fast=fast,
    )


def _checked_hash(path: Path, declared: str | None) -> str:
    if not path.is_file():
        raise ScoringWeightsError(
            f"No weights file at {path}.", hint="Check ONEPAIR_INCEPTION_WEIGHTS."
        )
    actual = sha256_of(path)
    if declared is None or actual != declared.lower():
        raise ScoringWeightsError(
            f"{path.name} has sha256 {actual}, configured is {declared or 'none'}.",
            hint="Set ONEPAIR_INCEPTION_SHA256 to the hash of a file that you trust.",
        )
    return actual
