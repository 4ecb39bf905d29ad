"""Spectrally normalised convolutions whose power iteration runs once a step.

The usual wrapper runs one power iteration at *every* forward pass in training mode, so that
two passes over the same weights see two networks, and evaluation sees a third. Here the
singular vectors move only in ``update_spectral_norms``, called once before each optimisation
step; every forward in between sees W / σ with the same σ = uᵀ W v.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FOLD_TOLERANCE = 1e-6
FOLD_ITERATIONS = 200


class SpectrallyNormalised(nn.Module):
    """A layer that uses W / σ(W), σ the largest singular value of W as (C_out, everything else)."""

    weight: Tensor
    left_singular: Tensor
    right_singular: Tensor

    def register_singular_vectors(self) -> None:
        """Random unit vectors to start the power iteration from."""
        rows, columns = self.weight.flatten(1).shape
        self.register_buffer("left_singular", F.normalize(torch.randn(rows), dim=0))
        self.register_buffer("right_singular", F.normalize(torch.randn(columns), dim=0))

    @torch.no_grad()
    def power_iteration(self) -> None:
        """Moves the singular vectors one step towards the largest singular value."""
        weight_OI = self.weight.flatten(1)
        self.right_singular.copy_(F.normalize(weight_OI.T @ self.left_singular, dim=0, eps=1e-12))
        self.left_singular.copy_(F.normalize(weight_OI @ self.right_singular, dim=0, eps=1e-12))

    def sigma(self) -> Tensor:
        """The current estimate of σ, differentiable in the weight; shape ()."""
        with torch.autocast(self.weight.device.type, enabled=False):
            return torch.dot(self.left_singular, self.weight.flatten(1) @ self.right_singular)

    def normalised_weight(self) -> Tensor:
        """W / σ."""
        return self.weight / self.sigma()

    @torch.no_grad()
    def fold(self) -> None:
        """Writes W / σ into the weight, σ converged to a relative change of 1e-6."""
        previous = self.sigma()
        for _ in range(FOLD_ITERATIONS):
            self.power_iteration()
            current = self.sigma()
            if (current - previous).abs() <= FOLD_TOLERANCE * current.abs():
                break
            previous = current
        self.weight.div_(self.sigma())


class SpectralConv2d(SpectrallyNormalised, nn.Conv2d):
    """A convolution with W / σ, padded to keep the size at stride 1."""

    def __init__(
        self, c_in: int, c_out: int, kernel: int, *, stride: int = 1, bias: bool = True
    ) -> None:
        super().__init__(c_in, c_out, kernel, stride=stride, padding=kernel // 2, bias=bias)
        self.register_singular_vectors()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Convolves with W / σ."""
        return F.conv2d(x_BCHW, self.normalised_weight(), self.bias, self.stride, self.padding)


class SpectralLinear(SpectrallyNormalised, nn.Linear):
    """A linear layer with W / σ: a 1×1 convolution on vectors."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(c_in, c_out)
        self.register_singular_vectors()

    def forward(self, x_NC: Tensor) -> Tensor:
        """Multiplies by W / σ."""
        return F.linear(x_NC, self.normalised_weight(), self.bias)


def update_spectral_norms(module: nn.Module, iterations: int = 1) -> None:
    """Runs the power iteration of every spectrally normalised convolution under ``module``."""
    for layer in module.modules():
        if isinstance(layer, SpectrallyNormalised):
            for _ in range(iterations):
                layer.power_iteration()


def fold_spectral_norms(module: nn.Module) -> None:
    """Makes σ part of the weights, for evaluation: afterwards W / σ equals W."""
    for layer in module.modules():
        if isinstance(layer, SpectrallyNormalised):
            layer.fold()


def initialise_convolutions(module: nn.Module, std: float = 0.02) -> None:
    """Draws every convolution's weight from N(0, std²) and settles its singular vectors."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.normal_(layer.weight, 0.0, std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    update_spectral_norms(module, iterations=5)
