"""Spectrally normalised convolutions whose power iteration runs once a step.

The usual wrapper runs one power iteration at *every* forward pass in training mode, so that
two passes over the same weights see two networks, and evaluation sees a third. Here the
singular vectors move only in ``power_iteration``, once before each optimisation step
(``StepWeights.renew``); every forward in between sees W / σ with the same σ = uᵀ W v.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FOLD_TOLERANCE = 1e-6
FOLD_ITERATIONS = 200
TINY = 1e-12

Form = Callable[[Tensor], Tensor]


class SharedWeights(Protocol):
    """Where the passes of one step find what they share (``StepWeights``)."""

    def kernel(self, layer: SpectrallyNormalised, form: Form) -> Tensor:
        """W / σ in a form, the same for all passes."""

    def offset(self, bias: nn.Parameter) -> Tensor:
        """A bias, the same for all passes."""


def as_it_is(weight: Tensor) -> Tensor:
    """The form of most kernels."""
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
    step_weights: SharedWeights | None

    def register_singular_vectors(self) -> None:
        """Random unit vectors to start the power iteration from."""
        rows, columns = as_matrix(self.weight).shape
        self.register_buffer("left_singular", F.normalize(torch.randn(rows), dim=0))
        self.register_buffer("right_singular", F.normalize(torch.randn(columns), dim=0))
        self.step_weights = None

    def sigma(self) -> Tensor:
        """The current estimate of σ; shape (), no gradient."""
        with torch.no_grad():
            return torch.dot(self.left_singular, as_matrix(self.weight) @ self.right_singular)

    def normalised_weight(self) -> Tensor:
        """W / σ, differentiable in W."""
        with torch.autocast(self.weight.device.type, enabled=False):
            return normalise([self], [self.sigma()])[0]

    def kernel(self, form: Form = as_it_is) -> Tensor:
        """W / σ in the form in which it is used, the same for all passes of a step."""
        if self.step_weights is None:
            return form(self.normalised_weight())
        return self.step_weights.kernel(self, form)

    def offset(self) -> Tensor | None:
        """The bias, the same for all passes of a step."""
        bias = self.bias
        if not isinstance(bias, nn.Parameter):
            return None
        return bias if self.step_weights is None else self.step_weights.offset(bias)

    @torch.no_grad()
    def fold(self) -> None:
        """Writes W / σ into the weight, σ converged to a relative change of 1e-6."""
        previous = self.sigma()
        for _ in range(FOLD_ITERATIONS):
            (current,) = power_iteration([self])
            if (current - previous).abs() <= FOLD_TOLERANCE * current.abs():
                break
            previous = current
        self.weight.div_(self.sigma())


@torch.no_grad()
def power_iteration(layers: Sequence[SpectrallyNormalised]) -> list[Tensor]:
    """Moves every layer's singular vectors one step towards its largest singular value.

    Returns:
        The new estimates, σ = ‖W v‖ = uᵀ W v, a scalar each.
    """
    if not layers:
        return []
    weights_OI = [as_matrix(layer.weight) for layer in layers]
    lefts_O = [layer.left_singular for layer in layers]
    rights_I = [layer.right_singular for layer in layers]
    for weight_OI, left_O, right_I in zip(weights_OI, lefts_O, rights_I, strict=True):
        torch.mv(weight_OI.T, left_O, out=right_I)
    _make_unit(rights_I)
    for weight_OI, left_O, right_I in zip(weights_OI, lefts_O, rights_I, strict=True):
        torch.mv(weight_OI, right_I, out=left_O)
    return _make_unit(lefts_O)


def _make_unit(vectors_N: list[Tensor]) -> list[Tensor]:
    """Divides each by its length, which is returned."""
    lengths = list(torch._foreach_norm(vectors_N))
    torch._foreach_clamp_min_(lengths, TINY)
    torch._foreach_div_(vectors_N, lengths)
    return lengths


def normalise(layers: Sequence[SpectrallyNormalised], sigmas: list[Tensor]) -> tuple[Tensor, ...]:
    """W / σ of many layers at once, each differentiable in its W."""
    lefts_O = [layer.left_singular for layer in layers]
    rights_I = [layer.right_singular for layer in layers]
    weights = [layer.weight for layer in layers]
    made: tuple[Tensor, ...] = _Normalised.apply(lefts_O, rights_I, sigmas, *weights)
    return made


class _Normalised(torch.autograd.Function):
    """W / σ with σ = uᵀ W v. Its gradient is (G − ⟨G, W / σ⟩ u vᵀ) / σ, G that of W / σ.

    One node for all layers: as one for each, a training step of two small networks would spend a
    tenth of its time in calling them.
    """

    @staticmethod
    def forward(
        ctx: Any,
        lefts_O: list[Tensor],
        rights_I: list[Tensor],
        sigmas: list[Tensor],
        *weights: Tensor,
    ) -> tuple[Tensor, ...]:
        normalised = torch._foreach_div(weights, sigmas)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*normalised)
        ctx.rest = lefts_O, rights_I, sigmas
        return tuple(normalised)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        kept = ctx.saved_tensors
        found = [
            (i, as_matrix(gradient), as_matrix(normalised), left_O, right_I, sigma)
            for i, (gradient, normalised, left_O, right_I, sigma) in enumerate(
                zip(gradients, kept, *ctx.rest, strict=True)
            )
            if gradient is not None
        ]
        of_weights: list[Tensor | None] = [None] * len(gradients)
        if found:
            places, gradients_OI, normalised_OI, lefts_O, rights_I, sigmas = zip(
                *found, strict=True
            )
            made_OI = torch._foreach_div(gradients_OI, sigmas)
            along = [
                torch.dot(made.flatten(), normalised.flatten())
                for made, normalised in zip(made_OI, normalised_OI, strict=True)
            ]
            rows_O = torch._foreach_mul(lefts_O, along)
            for i, made, row_O, right_I in zip(places, made_OI, rows_O, rights_I, strict=True):
                made.addr_(row_O, right_I, alpha=-1)
                of_weights[i] = _from_matrix(made, kept[i])
        return (None, None, None, *of_weights)


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


def spectral_layers(module: nn.Module) -> list[SpectrallyNormalised]:
    """Every spectrally normalised layer under ``module``."""
    return [layer for layer in module.modules() if isinstance(layer, SpectrallyNormalised)]


def update_spectral_norms(module: nn.Module, iterations: int = 1) -> None:
    """Runs the power iteration of every spectrally normalised layer under ``module``."""
    layers = spectral_layers(module)
    for _ in range(iterations):
        power_iteration(layers)


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
