"""The ways in which a training step is made faster than the plain one, each a switch.

All but mixed precision compute the same up to rounding; ``bench/step.py`` measures each alone and
all together.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from osmis_core.models.frozen_features import EfficientNetLite0Features
from osmis_core.models.step_weights import StepWeights
from osmis_core.precision import has_fast_bfloat16

TOGETHER_UP_TO_PIXELS = 128 * 128


@dataclass(frozen=True, kw_only=True)
class FastPaths:
    """What is on.

    Attributes:
        bfloat16: convolutions in mixed precision; spectral norms, softmax, losses and Adam stay
            in float32.
        channels_last: images and features are kept channel by channel for each pixel.
        fused: a convolution and the change of resolution beside it are one (``resampling``).
        frozen: the discriminator's weights gather no gradients in the generator's part.
        judged_once: generated pairs are judged once for both networks' losses.
        together: generated and real pairs are judged in one pass (and once): fewer, larger
            operations, in the memory of both.
        normalised_once: weights are divided by σ once a step for all passes (``StepWeights``).
        captured: a GPU replays the step as one CUDA graph (``Captured``).
    """

    bfloat16: bool = True
    channels_last: bool = True
    fused: bool = True
    frozen: bool = True
    judged_once: bool = True
    together: bool = True
    normalised_once: bool = True
    captured: bool = False

    @classmethod
    def of(cls, device: torch.device, image_pixels: int, *, cuda_graphs: bool = True) -> FastPaths:
        """What suits a device, and images of this many pixels; captured only on a GPU.

        Judged together, pairs gain a little at 64 pixels a side, where operations are small, and
        lose at 128×256, where they take 150 MB more.
        """
        return cls(
            bfloat16=has_fast_bfloat16(device),
            together=image_pixels <= TOGETHER_UP_TO_PIXELS,
            captured=cuda_graphs and device.type == "cuda",
        )

    @classmethod
    def plain(cls) -> FastPaths:
        """None of them: the step that every other one is tested against."""
        return cls(
            bfloat16=False,
            channels_last=False,
            fused=False,
            frozen=False,
            judged_once=False,
            together=False,
            normalised_once=False,
        )

    def prepare(self, network: nn.Module) -> StepWeights:
        """Sets a network's own switches, with any of which it computes the same.

        Returns:
            What its gradients gather in, and are handed back by before the optimiser's step.
        """
        dtype = torch.bfloat16 if self.bfloat16 else torch.float32
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        for module in network.modules():
            if hasattr(module, "fused"):
                module.fused = self.fused  # type: ignore[assignment]
            if hasattr(module, "memory_format"):
                module.memory_format = layout  # type: ignore[assignment]
            if isinstance(module, EfficientNetLite0Features):
                module.to(dtype)  # frozen: nothing is lost that would come back
        return StepWeights(network, dtype, shared=self.normalised_once)
