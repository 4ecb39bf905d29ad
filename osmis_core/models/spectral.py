"""Spectrally normalised convolutions whose power iteration runs once a step.

The usual wrapper runs one power iteration at *every* forward pass in training mode, so that
two passes over the same weights see two networks, and evaluation sees a third. Here the
singular vectors move only in ``update_spectral_norms``, called once before each optimisation
step; every forward in between sees W / σ with the same σ = uᵀ W v, and ``StepWeights`` can keep it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from osmis_core.models.step_weights import StepWeights

FOLD_TOLERANCE = 1e-6
FOLD_ITERATIONS = 200
TINY = 1e-12

Form = Callable[[Tensor], Tensor]


def as_it_is(weight: Tensor) -> Tensor:
    """The form of most kernels, and of biases."""
    return weight


def pointwise(weight_OI11: Tensor) -> Tensor:
    """The form of a 1×1 kernel that multiplies each pixel, (O, I)."""
    return weight_OI11.flatten(1)


class SpectrallyNormalised(nn.Module):
    """A layer that uses W / σ(W), σ the largest singular value of W as (C_out, everything else).

    Attributes:
        step_weights: where a training keeps what the passes of a step share; None: nowhere.
    """

    weight: Tensor
    left_singular: Tensor
    right_singular: Tensor
    step_weights: StepWeights | None

    def register_singular_vectors(self) -> None:
        """Random unit vectors to start the power iteration from."""
        rows, columns = as_matrix(self.weight).shape
        self.register_buffer("left_singular", F.normalize(torch.randn(rows), dim=0))
        self.register_buffer("right_singular", F.normalize(torch.randn(columns), dim=0))
        self.step_weights = None

    @torch.no_grad()
    def power_iteration(self) -> None:
        """Moves the singular vectors one step towards the largest singular value."""
        weight_OI = as_matrix(self.weight)
        right = weight_OI.T @ self.left_singular
        self.right_singular.copy_(right.div_(right.norm().clamp_min_(TINY)))
        left = weight_OI @ self.right_singular
        self.left_singular.copy_(left.div_(left.norm().clamp_min_(TINY)))

    def sigma(self) -> Tensor:
        """The current estimate of σ; shape (), no gradient."""
        return _sigma(self.weight, self.left_singular, self.right_singular)

    def normalised_weight(self) -> Tensor:
        """W / σ, differentiable in W."""
        with torch.autocast(self.weight.device.type, enabled=False):
            return self._normalise()

    def kernel(self, form: Form = as_it_is) -> Tensor:
        """W / σ in the form in which it is used, the same for all passes of a step."""
        if self.step_weights is None:
            return form(self.normalised_weight())
        return self.step_weights.share(self.weight, form, lambda: form(self._normalise()))

    def offset(self) -> Tensor | None:
        """The bias, the same for all passes of a step."""
        bias = self.bias
        if not isinstance(bias, Tensor):
            return None
        if self.step_weights is None:
            return bias
        return self.step_weights.share(bias, as_it_is, lambda: bias)

    def _normalise(self) -> Tensor:
        normalised: Tensor = _Normalised.apply(self.weight, self.left_singular, self.right_singular)
        return normalised

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


class _Normalised(torch.autograd.Function):
    """W / σ with σ = uᵀ W v. Its gradient is (G − ⟨G, W / σ⟩ u vᵀ) / σ, G that of W / σ."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, left_O: Tensor, right_I: Tensor) -> Tensor:
        sigma = _sigma(weight, left_O, right_I)
        normalised = weight / sigma
        ctx.save_for_backward(normalised, left_O, right_I, sigma)
        return normalised

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        normalised, left_O, right_I, sigma = ctx.saved_tensors
        gradient_OI = as_matrix(gradient)
        along = torch.dot(gradient_OI.flatten(), as_matrix(normalised).flatten())
        of_weight_OI = torch.addr(gradient_OI, along * left_O, right_I, alpha=-1).div_(sigma)
        return _from_matrix(of_weight_OI, normalised), None, None


class SpectralConv2d(SpectrallyNormalised, nn.Conv2d):
    """A convolution with W / σ, padded to keep the size at stride 1.

    Its weight lies in memory as activations do, channels last, so that no product of the two has
    to rearrange one of them.
    """

    def __init__(
        self, c_in: int, c_out: int, kernel: int, *, stride: int = 1, bias: bool = True
    ) -> None:
        super().__init__(c_in, c_out, kernel, stride=stride, padding=kernel // 2, bias=bias)
        self.weight.data = self.weight.data.contiguous(memory_format=torch.channels_last)
        self.register_singular_vectors()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Convolves with W / σ."""
        if self.kernel_size == (1, 1) and self.stride == (1, 1):
            # without the overhead of a convolution: a third less on small maps
            rows_BHWC = x_BCHW.permute(0, 2, 3, 1)
            return F.linear(rows_BHWC, self.kernel(pointwise), self.offset()).permute(0, 3, 1, 2)
        return F.conv2d(x_BCHW, self.kernel(), self.offset(), self.stride, self.padding)


class SpectralLinear(SpectrallyNormalised, nn.Linear):
    """A linear layer with W / σ: a 1×1 convolution on vectors."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(c_in, c_out)
        self.register_singular_vectors()

    def forward(self, x_NC: Tensor) -> Tensor:
        """Multiplies by W / σ."""
        return F.linear(x_NC, self.kernel(), self.offset())


def as_matrix(weight: Tensor) -> Tensor:
    """A weight or its gradient as (C_out, everything else), in the order in which it lies."""
    if weight.dim() == 2:
        return weight
    return weight.permute(0, 2, 3, 1).reshape(weight.shape[0], -1)


def _from_matrix(matrix_OI: Tensor, like: Tensor) -> Tensor:
    """The inverse of ``as_matrix``."""
    if like.dim() == 2:
        return matrix_OI
    outputs, inputs, height, width = like.shape
    return matrix_OI.view(outputs, height, width, inputs).permute(0, 3, 1, 2)


@torch.no_grad()
def _sigma(weight: Tensor, left_O: Tensor, right_I: Tensor) -> Tensor:
    return torch.dot(left_O, as_matrix(weight) @ right_I)


def spectral_layers(module: nn.Module) -> list[SpectrallyNormalised]:
    """Every spectrally normalised layer under ``module``."""
    return [layer for layer in module.modules() if isinstance(layer, SpectrallyNormalised)]


def update_spectral_norms(module: nn.Module, iterations: int = 1) -> None:
    """Runs the power iteration of every spectrally normalised layer under ``module``."""
    for layer in spectral_layers(module):
        for _ in range(iterations):
            layer.power_iteration()


def fold_spectral_norms(module: nn.Module) -> None:
    """Makes σ part of the weights, for evaluation: afterwards W / σ equals W."""
    for layer in spectral_layers(module):
        layer.fold()


def initialise_convolutions(module: nn.Module, std: float = 0.02) -> None:
    """Draws every convolution's weight from N(0, std²) and settles its singular vectors."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.normal_(layer.weight, 0.0, std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    update_spectral_norms(module, iterations=5)
