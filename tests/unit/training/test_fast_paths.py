"""Every fast path has a plain twin: a step of each gives the same losses and gradients."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from osmis_core.data.pair import Pair
from osmis_core.training import fast_paths
from osmis_core.training.config import TrainingConfig
from osmis_core.training.fast_paths import FastPaths
from osmis_core.training.step import Optimisation

PLAIN = FastPaths.plain()
EXACT = ["channels_last", "fused", "frozen", "judged_once", "together", "normalised_once"]
TOLERANCE = 1e-2
"""Of a second step's gradients: Adam's first update has the size of the learning rate whatever the
gradient, so one that rounding turns from below zero to above it makes a difference."""
MakeConfig = Callable[..., TrainingConfig]


def second_step(
    scene: Pair, config: TrainingConfig, fast: FastPaths
) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Losses, and each network's gradients in one row, of a step that is not the first.

    What the first makes when it is asked for, every other one makes at its beginning.
    """
    run = Optimisation(scene, config, torch.device("cpu"), fast)
    run.run(0)
    losses = list(run.run(1).to_floats().values())
    gradients = {
        name: torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
        for name, network in (
            ("generator", run.networks.generator),
            ("discriminator", run.networks.discriminator),
        )
    }
    return losses, gradients


@pytest.mark.parametrize("method", ["projected", "osmis"])
@pytest.mark.parametrize("switch", EXACT)
def test_exact_paths(method: str, switch: str, scene: Pair, make_config: MakeConfig) -> None:
    config = make_config(method, 20)
    expected, plain = second_step(scene, config, PLAIN)
    losses, fast = second_step(scene, config, replace(PLAIN, **{switch: True}))
    assert losses == pytest.approx(expected, rel=1e-4, abs=1e-6)
    for name, gradient in plain.items():
        assert gradient.norm() > 0
        assert (fast[name] - gradient).norm() <= TOLERANCE * gradient.norm()


@pytest.mark.parametrize(
    "supervision", ["none", "projection", "input_concat", "mask_discriminator"]
)
def test_every_supervision_judges_together_as_apart(
    supervision: str, scene: Pair, make_config: MakeConfig
) -> None:
    config = replace(make_config("osmis", 20), mask_supervision=supervision)
    expected, plain = second_step(scene, config, PLAIN)
    losses, fast = second_step(scene, config, replace(PLAIN, together=True))
    assert losses == pytest.approx(expected, rel=1e-4, abs=1e-6)
    for name, gradient in plain.items():
        assert (fast[name] - gradient).norm() <= TOLERANCE * gradient.norm()


@pytest.mark.parametrize("method", ["projected", "osmis"])
def test_mixed_precision_starts_where_float32_does(
    method: str, scene: Pair, make_config: MakeConfig
) -> None:
    config = make_config(method, 20)
    expected, _ = second_step(scene, config, PLAIN)
    losses, _ = second_step(scene, config, replace(PLAIN, bfloat16=True))
    assert losses[:4] == pytest.approx(expected[:4], rel=5e-2, abs=1e-2)


@pytest.mark.parametrize("method", ["projected", "osmis"])
def test_a_frozen_discriminator_gets_no_gradient_from_the_generators_loss(
    method: str, scene: Pair, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    find = torch.autograd.grad

    def look(output: torch.Tensor, inputs: list[torch.Tensor], **options: Any) -> object:
        leaves = {id(leaf) for leaf in run.discriminator_weights.leaves}
        asked.append(sum(id(x) in leaves for x in inputs))
        return find(output, inputs, **options)

    monkeypatch.setattr(torch.autograd, "grad", look)
    for frozen in (True, False):
        fast = FastPaths(frozen=frozen)
        run = Optimisation(scene, make_config(method, 20), torch.device("cpu"), fast)
        run.run(0)
    assert asked[0] == 0
    assert asked[1] > 0


@pytest.mark.parametrize("method", ["projected", "osmis"])
def test_all_exact_paths_together(method: str, scene: Pair, make_config: MakeConfig) -> None:
    config = make_config(method, 20)
    expected, plain = second_step(scene, config, PLAIN)
    losses, fast = second_step(scene, config, FastPaths(bfloat16=False))
    assert losses == pytest.approx(expected, rel=1e-4, abs=1e-6)
    for name, gradient in plain.items():
        assert (fast[name] - gradient).norm() <= TOLERANCE * gradient.norm()


@pytest.mark.parametrize("method", ["projected", "osmis"])
@pytest.mark.parametrize("together", [True, False])
def test_a_replayed_step_takes_what_one_of_its_own_would_draw(
    method: str, together: bool, scene: Pair, make_config: MakeConfig
) -> None:
    """The graph itself needs a GPU; what is put into it is the same everywhere."""
    config = make_config(method, 60)
    fast = FastPaths(bfloat16=False, together=together)
    plain, replayed = (
        Optimisation(scene, config, torch.device("cpu"), f)
        for f in (fast, replace(fast, captured=True))
    )
    switched = config.mask_sampling_steps
    steps = [*range(4), *range(switched - 1, switched + 4)]
    for step in steps:
        expected = plain.run(step).to_floats()
        assert replayed.run(step).to_floats() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_only_a_gpu_captures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_paths, "has_fast_bfloat16", lambda _: True)
    for name, wanted, captured in (
        ("cpu", True, False),
        ("cuda", True, True),
        ("cuda", False, False),
    ):
        chosen = FastPaths.of(torch.device(name), 64 * 96, cuda_graphs=wanted)
        assert chosen.captured == captured


def test_a_training_does_not_load_the_compiler() -> None:
    """Torch would, to build and to go on from gradients: 200 MB for nothing."""
    program = """
import sys
import torch
from bench.setup import optimisation_of
optimisation_of("osmis", 64, 80).run(0)
print(sorted(sys.modules.keys() & {"torch._dynamo", "sympy", "triton"}))
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout == "[]\n"
