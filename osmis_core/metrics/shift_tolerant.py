"""The shift-tolerant VGG-16 and AlexNet of ST-LPIPS, rebuilt on the weights that its package ships.

Ghildyal and Liu, "Shift-tolerant Perceptual Similarity Metric" (ECCV 2022). The weights come from
the package ``stlpips-pytorch`` (BSD-2-Clause, Copyright (c) 2022 Abhijay Ghildyal, Feng Liu). Only
its weight files are read: importing the package would import IPython and torchsummary. The layers
here are those the weights were trained with: every stride-2 pooling is a stride-1 maximum followed
by a binomial low-pass with stride 2 (Zhang, "Making Convolutional Networks Shift-Invariant Again",
2019), reflected at the border by twice the usual width; AlexNet's first convolution has stride 1
and the same low-pass before its activation.
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from osmis_core.errors import OsmisError

Backbone = Literal["vgg", "alex"]

PACKAGE = "stlpips_pytorch"
BLUR_REFLECTION_PX = 2
VGG_CONVOLUTIONS = ((0, 2), (6, 8), (12, 14, 16), (20, 22, 24), (28, 30, 32))
"""Where each of the five slices keeps its convolutions in the weight file (VGG-16)."""


class ScoringWeightsError(OsmisError):
    """The weights of a scoring network are missing, damaged or not the configured ones."""

    code = "bad_scoring_weights"


@dataclass(frozen=True, kw_only=True)
class ShiftTolerantWeights:
    """A weight file of the package, read.

    Attributes:
        tensors: the state dict as shipped.
        sha256: of the file.
    """

    tensors: dict[str, Tensor]
    sha256: str


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_shift_tolerant_weights(backbone: Backbone) -> ShiftTolerantWeights:
    """Reads the package's weight file without importing the package.

    Raises:
        ScoringWeightsError: the package isn't installed, or the file can't be read.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ScoringWeightsError(
            f"The package {PACKAGE} is not installed.",
            hint="Install the extra: pip install 'onepair[core]'.",
        )
    folder = Path(next(iter(spec.submodule_search_locations)))
    path = folder / "weights" / "vST0.0" / f"{backbone}_shift_tolerant.pth"
    return ShiftTolerantWeights(tensors=load_tensors(path), sha256=sha256_of(path))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Reads a state dict, tensors only: nothing in the file is executed.

    Raises:
        ScoringWeightsError: no such file, or not a state dict.
    """
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, UnpicklingError) as error:
        raise ScoringWeightsError(
            f"Cannot read the weights in {path.name}.",
            hint="Reinstall or download the file again.",
        ) from error
    if not isinstance(loaded, dict) or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise ScoringWeightsError(
            f"{path.name} holds something else than named tensors.",
            hint="Configure a plain state dict.",
        )
    return dict(loaded)


class BlurPool(nn.Module):
    """Binomial 3 × 3 low-pass with stride 2, the border reflected by two pixels."""

    taps: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        binomial = torch.tensor([1.0, 2.0, 1.0]) / 4
        taps = torch.outer(binomial, binomial).expand(channels, 1, 3, 3)
        self.register_buffer("taps", taps.contiguous())

    def forward(self, features_BCHW: Tensor) -> Tensor:
        """Halves the resolution; both sides at least 3 px."""
        padded = pad(features_BCHW, (BLUR_REFLECTION_PX,) * 4, mode="reflect")
        return conv2d(padded, self.taps, stride=2, groups=padded.shape[1])


def _conv(tensors: dict[str, Tensor], name: str, *, padding: int) -> nn.Conv2d:
    weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
    conv = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], padding=padding)
    conv.load_state_dict({"weight": weight, "bias": bias})
    return conv


def _vgg_stages(tensors: dict[str, Tensor]) -> list[nn.Sequential]:
    stages = []
    for index, positions in enumerate(VGG_CONVOLUTIONS):
        layers: list[nn.Module] = []
        convs = [_conv(tensors, f"net.slice{index + 1}.{p}", padding=1) for p in positions]
        if index:
            layers += [nn.MaxPool2d(2, stride=1), BlurPool(convs[0].in_channels)]
        for conv in convs:
            layers += [conv, nn.ReLU(inplace=True)]
        stages.append(nn.Sequential(*layers))
    return stages


def _alex_stages(tensors: dict[str, Tensor]) -> list[nn.Sequential]:
    def shrink(channels: int) -> list[nn.Module]:
        return [nn.MaxPool2d(3, stride=1), BlurPool(channels)]

    conv1 = _conv(tensors, "net.slice1.0", padding=2)
    conv2 = _conv(tensors, "net.slice2.5", padding=2)
    conv3 = _conv(tensors, "net.slice3.9", padding=1)
    conv4 = _conv(tensors, "net.slice4.11", padding=1)
    conv5 = _conv(tensors, "net.slice5.13", padding=1)
    return [
        nn.Sequential(conv1, BlurPool(conv1.out_channels), nn.ReLU(inplace=True)),
        nn.Sequential(*shrink(conv2.in_channels), conv2, nn.ReLU(inplace=True)),
        nn.Sequential(*shrink(conv3.in_channels), conv3, nn.ReLU(inplace=True)),
        nn.Sequential(conv4, nn.ReLU(inplace=True)),
        nn.Sequential(conv5, nn.ReLU(inplace=True)),
    ]


class ShiftTolerantNet(nn.Module):
    """The five stages of a shift-tolerant backbone, frozen.

    Args:
        backbone: ``vgg`` (64, 128, 256, 512, 512 channels at strides 1–16) or ``alex``
            (64, 192, 384, 256, 256 channels at strides 2, 4, 8, 8, 8).
        tensors: state dict of the weight file.
        stage_count: how many of the five stages to run.
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self, backbone: Backbone, tensors: dict[str, Tensor], *, stage_count: int = 5
    ) -> None:
        super().__init__()
        stages = _vgg_stages(tensors) if backbone == "vgg" else _alex_stages(tensors)
        self.stages = nn.ModuleList(stages[:stage_count])
        self.register_buffer("shift", tensors["scaling_layer.shift"])
        self.register_buffer("scale", tensors["scaling_layer.scale"])
        self.requires_grad_(requires_grad=False)
        self.eval()

    def forward(self, image_BCHW: Tensor) -> list[Tensor]:
        """Activations after the last ReLU of every stage.

        Args:
            image_BCHW: RGB in [-1, 1], both sides at least 16 px.
        """
        features: list[Tensor] = []
        hidden = (image_BCHW - self.shift) / self.scale
        for stage in self.stages:
            hidden = stage(hidden)
            features.append(hidden)
        return features
