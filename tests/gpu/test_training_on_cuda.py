"""What the GPU's ways of training have to keep; skipped, showing nothing, without a CUDA device."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.setup import example_pair, optimisation_of
from osmis_core.data.plan import TrainingOptions, plan_training
from osmis_core.data.presets import Method
from osmis_core.training.checkpoint import Checkpoint
from osmis_core.training.config import TrainingConfig, config_from_plan
from osmis_core.training.fast_paths import Compiled, FastPaths
from osmis_core.training.hooks import Progress, TrainingWarning
from osmis_core.training.step import Optimisation
from osmis_core.training.trainer import RunOptions, train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]

PLAIN = FastPaths.plain()
EXACT = ["channels_last", "fused", "frozen", "judged_once", "together", "normalised_once"]
PAIR = example_pair("coffee", 64, 96)
METHODS: tuple[Method, ...] = ("projected", "osmis")
MEMORY_BYTES = 2 * 2**30
"""At 128×256 pixels. All pairs of samples compared at once take three times as much."""


def config_of(method: str, iterations: int = 8) -> TrainingConfig:
    options = TrainingOptions(method=method, iterations=iterations, max_size=96, allow_slow=True)
    return config_from_plan(PAIR, plan_training(PAIR, options, has_gpu=True))


def losses(method: str, fast: FastPaths, steps: int = 2) -> list[dict[str, float]]:
    run = Optimisation(PAIR, config_of(method), torch.device("cuda"), fast)
    return [run.run(step).to_floats() for step in range(steps)]


class Keeper:
    """Hooks that keep the last checkpoint and stop where asked."""

    def __init__(self, path: Path, stop_at: int | None = None) -> None:
        self.path, self.stop_at, self.step = path, stop_at, 0

    def on_progress(self, progress: Progress) -> None:
        self.step = progress.step

    def on_warning(self, warning: TrainingWarning) -> None:
        # so few steps may end with one picture or one class
        assert warning.code == "undertrained", warning.detail

    def should_stop(self) -> bool:
        return self.stop_at is not None and self.step >= self.stop_at

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        checkpoint.write(self.path)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("switch", EXACT)
def test_exact_paths_agree_with_the_plain_step(method: str, switch: str) -> None:
    plain, fast = losses(method, PLAIN), losses(method, replace(PLAIN, **{switch: True}))
    for a, b in zip(plain, fast, strict=True):
        assert b == pytest.approx(a, rel=1e-2, abs=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_bfloat16_starts_where_float32_does(method: str) -> None:
    first = losses(method, PLAIN, 1)[0]
    assert losses(method, replace(PLAIN, bfloat16=True), 1)[0] == pytest.approx(first, rel=5e-2)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("compiled", ["default", "reduce-overhead"])
def test_compiled_ways_agree(method: str, compiled: Compiled) -> None:
    plain = losses(method, PLAIN, 4)
    fast = FastPaths(bfloat16=False, compiled=compiled)
    for a, b in zip(plain, losses(method, fast, 4), strict=True):
        assert b == pytest.approx(a, rel=1e-2, abs=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_memory(method: Method) -> None:
    torch.cuda.reset_peak_memory_stats()
    device = torch.device("cuda")
    fast = FastPaths.of(device, 128 * 256)
    run = optimisation_of(method, 128, 256, device, fast)
    for step in range(3):
        run.run(step).to_floats()
    assert torch.cuda.max_memory_allocated() < MEMORY_BYTES


@pytest.mark.parametrize("method", METHODS)
def test_a_resumed_training_ends_where_an_uninterrupted_one_does(
    method: str, tmp_path: Path
) -> None:
    options = RunOptions(device="cuda", fast=PLAIN, progress_seconds=0.0)
    whole, halves = Keeper(tmp_path / "whole"), Keeper(tmp_path / "halves", stop_at=4)
    train(PAIR, config_of(method), whole, options=options)
    train(PAIR, config_of(method), halves, options=options)
    rest = Keeper(tmp_path / "rest")
    train(PAIR, config_of(method), rest, options=options, resume=halves.path)
    expected = Checkpoint.read(whole.path).part("average")
    for name, value in Checkpoint.read(rest.path).part("average").items():
        torch.testing.assert_close(value, expected[name], rtol=1e-2, atol=1e-3)
