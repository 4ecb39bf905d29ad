"""W / σ of many layers at once, against each alone and against autograd's own way."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from osmis_core.models.spectral import (
    SpectralConv2d,
    SpectralLinear,
    SpectrallyNormalised,
    as_it_is,
    as_matrix,
    normalise,
    power_iteration,
)
from osmis_core.models.step_weights import StepWeights


def _layers() -> list[SpectrallyNormalised]:
    torch.manual_seed(0)
    return [SpectralConv2d(5, 7, 3), SpectralLinear(4, 6), SpectralConv2d(3, 8, 1)]


def _plainly(layer: SpectrallyNormalised) -> Tensor:
    """W / (uᵀ W v) with autograd through σ."""
    weight_OI = as_matrix(layer.weight)
    sigma = layer.left_singular @ weight_OI @ layer.right_singular
    return layer.weight / sigma


def test_one_iteration_gives_sigma_as_the_vectors_that_it_leaves_do() -> None:
    for layer, sigma in zip(layers := _layers(), power_iteration(layers), strict=True):
        torch.testing.assert_close(sigma, layer.sigma())
        torch.testing.assert_close(layer.left_singular.norm(), torch.tensor(1.0))
        torch.testing.assert_close(layer.right_singular.norm(), torch.tensor(1.0))


def test_a_weight_of_zeros_stays_finite() -> None:
    layer = _layers()[0]
    layer.weight.data.zero_()
    (sigma,) = power_iteration([layer])
    assert torch.isfinite(sigma)
    assert torch.isfinite(normalise([layer], [sigma])[0]).all()


def test_normalised_together_layers_are_as_autograd_has_each() -> None:
    layers = _layers()
    sigmas = power_iteration(layers)
    made = normalise(layers, sigmas)
    wanted = [torch.randn_like(weight) for weight in made]
    # the last one is not used, as a head that a pass leaves out
    sum((m * w).sum() for m, w in zip(made[:2], wanted[:2], strict=True)).backward()
    for layer, weight, want in zip(layers[:2], made[:2], wanted[:2], strict=True):
        plain = _plainly(layer)
        torch.testing.assert_close(weight, plain)
        (expected,) = torch.autograd.grad((plain * want).sum(), layer.weight)
        assert layer.weight.grad is not None
        torch.testing.assert_close(layer.weight.grad, expected)
    assert layers[2].weight.grad is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_step_starts_from_the_weights_as_they_are(dtype: torch.dtype) -> None:
    conv = SpectralConv2d(5, 7, 3)
    shared = StepWeights(conv, dtype)
    for _ in range(3):
        shared.renew()
        torch.testing.assert_close(shared.kernel(conv, as_it_is), _plainly(conv).to(dtype))
        assert torch.equal(shared.offset(conv.bias), conv.bias.to(dtype))
        shared.hand_back()
        conv.weight.data += torch.randn_like(conv.weight)
        conv.bias.data += 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_between_steps_a_network_is_what_its_weights_say(dtype: torch.dtype) -> None:
    conv = SpectralConv2d(5, 7, 3)
    x = torch.randn(2, 5, 6, 4)
    shared = StepWeights(conv, dtype)
    for _ in range(3):
        expected = F.conv2d(x, _plainly(conv), conv.bias, padding=1)
        torch.testing.assert_close(conv(x), expected, rtol=1e-3, atol=1e-3)
        shared.renew()
        conv(x.to(dtype)).sum().backward()
        shared.hand_back()
        conv.weight.data += torch.randn_like(conv.weight)
        conv.bias.data += 1


def test_a_steps_shared_weights_gather_the_gradients_of_all_passes() -> None:
    conv = SpectralConv2d(5, 7, 3)
    network = torch.nn.Sequential(conv)
    inputs = torch.randn(2, 3, 5, 6, 4)
    shared = StepWeights(network, torch.float32)
    shared.renew()
    for x in inputs:
        network(x).square().sum().backward()
    assert conv.weight.grad is None
    shared.hand_back()
    found = [conv.weight.grad, conv.bias.grad]
    both = F.conv2d(inputs.flatten(0, 1), _plainly(conv), conv.bias, padding=1).square().sum()
    for gradient, expected in zip(
        found, torch.autograd.grad(both, [conv.weight, conv.bias]), strict=True
    ):
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-4)
