"""The fused forms equal the plain ones: outputs and every gradient."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from osmis_core.models import resampling
from osmis_core.models.resampling import (
    conv_then_pool,
    halve,
    pooling_kernel,
    upsample_then_conv,
    upsampling_kernel,
)
from osmis_core.models.spectral import SpectralConv2d, as_it_is

FORMS = [conv_then_pool, upsample_then_conv]
SIZES = [(8, 12), (2, 2), (1, 6), (7, 10), (5, 5), (1, 1), (32, 32)]
Form = Callable[..., Tensor]


def results(
    form: Form, size: tuple[int, int], dtype: torch.dtype, *, fused: bool, device_layout: str = ""
) -> list[Tensor]:
    """Output and gradients of input, raw weight and bias under the spectral norm."""
    torch.manual_seed(3)
    conv = SpectralConv2d(6, 4, 3).double()
    torch.nn.init.normal_(conv.bias)
    x = torch.randn(2, 6, *size, dtype=torch.float64)
    conv, x = conv.to(dtype), x.to(dtype)
    if device_layout == "channels_last":
        x = x.contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    y = form(x, conv, fused=fused)
    judged = (
        y.double() * torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view(y.shape)
    ).sum()
    return [y, *torch.autograd.grad(judged, [x, conv.weight, conv.bias])]


@pytest.fixture(autouse=True)
def fuse_small_maps_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "FUSE_UPSAMPLING_FROM", 0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4), (torch.bfloat16, 3e-2)]
)
def test_fused_equals_plain(
    form: Form, size: tuple[int, int], dtype: torch.dtype, tolerance: float
) -> None:
    layout = "channels_last" if dtype == torch.bfloat16 else ""
    plain = results(form, size, dtype, fused=False, device_layout=layout)
    fused = results(form, size, dtype, fused=True, device_layout=layout)
    for a, b in zip(plain, fused, strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max() <= tolerance * a.abs().max()


def test_even_maps_are_fused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison above compares two forms, not one with itself."""
    called = []
    kernel = SpectralConv2d.kernel

    def noted(conv: SpectralConv2d, form: Form = as_it_is) -> Tensor:
        called.append(form)
        return kernel(conv, form)

    monkeypatch.setattr(SpectralConv2d, "kernel", noted)
    for form in FORMS:
        results(form, (8, 12), torch.float32, fused=True)
    assert called == [pooling_kernel, upsampling_kernel]


def test_halving_goes_back_as_pooling_does() -> None:
    x = torch.randn(2, 3, 6, 4, dtype=torch.float64, requires_grad=True)
    judged = torch.randn(2, 3, 3, 2, dtype=torch.float64)
    (expected,) = torch.autograd.grad((F.avg_pool2d(x, 2) * judged).sum(), x)
    (gradient,) = torch.autograd.grad((halve(x) * judged).sum(), x)
    torch.testing.assert_close(halve(x), F.avg_pool2d(x, 2))
    torch.testing.assert_close(gradient, expected)
