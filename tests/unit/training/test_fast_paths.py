"""Every fast path has a plain twin: two steps of each give the same losses and weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import pytest
import torch

from osmis_core.data.pair import Pair
from osmis_core.training.config import TrainingConfig
from osmis_core.training.fast_paths import FastPaths
from osmis_core.training.step import Optimisation

PLAIN = FastPaths(
    bfloat16=False, channels_last=False, fused=False, frozen=False, judged_once=False, compiled="no"
)
MakeConfig = Callable[..., TrainingConfig]


def trained(
    scene: Pair, config: TrainingConfig, fast: FastPaths
) -> tuple[list[float], Optimisation]:
    run = Optimisation(scene, config, torch.device("cpu"), fast)
    return [value for step in range(2) for value in run.run(step).to_floats().values()], run


@pytest.mark.parametrize("method", ["projected", "osmis"])
@pytest.mark.parametrize("switch", ["channels_last", "fused", "frozen", "judged_once"])
def test_exact_paths(method: str, switch: str, scene: Pair, make_config: MakeConfig) -> None:
    config = make_config(method, 20)
    expected, plain = trained(scene, config, PLAIN)
    losses, fast = trained(scene, config, replace(PLAIN, **{switch: True}))
    assert losses == pytest.approx(expected, rel=1e-3, abs=1e-5)
    for network in ("generator", "discriminator"):
        pairs = zip(
            getattr(plain.networks, network).parameters(),
            getattr(fast.networks, network).parameters(),
            strict=True,
        )
        # Adam's first steps are ±the learning rate, whatever the gradient's size: where it is
        # nothing but rounding, its sign is too
        moved = [(a - b).abs().gt(1e-5).flatten() for a, b in pairs]
        assert torch.cat(moved).float().mean() < 0.02


@pytest.mark.parametrize("method", ["projected", "osmis"])
def test_mixed_precision_starts_where_float32_does(
    method: str, scene: Pair, make_config: MakeConfig
) -> None:
    config = make_config(method, 20)
    expected, _ = trained(scene, config, PLAIN)
    losses, _ = trained(scene, config, replace(PLAIN, bfloat16=True))
    assert losses[:4] == pytest.approx(expected[:4], rel=5e-2, abs=1e-2)


@pytest.mark.parametrize("method", ["projected", "osmis"])
def test_a_frozen_discriminator_gets_no_gradient_from_the_generators_loss(
    method: str, scene: Pair, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Optimisation(scene, make_config(method, 20), torch.device("cpu"), FastPaths())
    seen = []

    def discriminate(*_: object) -> tuple[torch.Tensor, torch.Tensor]:
        seen.extend(p.grad for p in run.networks.trainable)
        return torch.zeros(()), torch.zeros(())

    monkeypatch.setattr(run, "_discriminate", discriminate)
    run.run(0)
    assert seen
    assert all(gradient is None for gradient in seen)


def test_a_gpu_is_compiled_for_and_a_cpu_is_not() -> None:
    assert FastPaths.of(torch.device("cpu")).compiled == "no"
    assert {field.name for field in fields(FastPaths)} == {
        *("bfloat16", "channels_last", "fused", "frozen", "judged_once", "compiled")
    }
