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
from osmis_core.training.fast_paths import FastPaths
from osmis_core.training.hooks import Progress, TrainingWarning
from osmis_core.training.state import load_state, state_tensors
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
"""At the larger sizes. All pairs of samples compared at once take three times as much."""
SIZES: dict[Method, tuple[int, int]] = {"projected": (64, 96), "osmis": (128, 256)}


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


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_a_replayed_step_is_one_of_its_own(method: str, together: bool) -> None:
    """Also where masks are no longer drawn, which is another graph.

    Both start every step from one state: left alone, two trainings go apart by what rounding makes
    of Adam's first steps, replayed or not.
    """
    config = config_of(method, 60)
    fast = FastPaths(bfloat16=False, together=together)
    device = torch.device("cuda")
    plain = Optimisation(PAIR, config, device, fast)
    replayed = Optimisation(PAIR, config, device, replace(fast, captured=True))
    for run in (plain, replayed):
        run.networks.overlap_penalty.limit = 0.0  # else it may weigh nothing
    switched = config.mask_sampling_steps
    for step in [*range(6), *range(switched - 2, switched + 5)]:
        state = {name: value.clone() for name, value in state_tensors(plain.networks).items()}
        load_state(replayed.networks, state)
        expected = plain.run(step).to_floats()
        assert replayed.run(step).to_floats() == pytest.approx(expected, rel=1e-2, abs=1e-3)
        means = [float(run.networks.overlap_penalty.mean) for run in (plain, replayed)]
        assert means[1] == pytest.approx(means[0], rel=1e-3)
        for network in ("generator", "discriminator"):
            theirs, ours = (gradients_of(run, network) for run in (plain, replayed))
            assert theirs.norm() > 0
            assert (ours - theirs).norm() <= 0.05 * theirs.norm()


def gradients_of(run: Optimisation, network: str) -> torch.Tensor:
    parameters = getattr(run.networks, network).parameters()
    return torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])


@pytest.mark.parametrize("method", METHODS)
def test_what_a_step_returns_is_not_overwritten_by_the_next(method: str) -> None:
    fast = FastPaths(captured=True)
    run = Optimisation(PAIR, config_of(method), torch.device("cuda"), fast)
    kept = [run.run(step) for step in range(6)]
    assert len({float(losses.generator) for losses in kept}) == len(kept)


@pytest.mark.parametrize("method", METHODS)
def test_memory(method: Method) -> None:
    torch.cuda.reset_peak_memory_stats()
    device = torch.device("cuda")
    height, width = SIZES[method]
    fast = FastPaths.of(device, height * width)
    assert fast.captured
    run = optimisation_of(method, height, width, device, fast)
    for step in range(5):
        run.run(step).to_floats()
    assert torch.cuda.max_memory_allocated() < MEMORY_BYTES


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("fast", [PLAIN, None], ids=["plain", "as chosen"])
def test_a_resumed_training_ends_where_an_uninterrupted_one_does(
    method: str, fast: FastPaths | None, tmp_path: Path
) -> None:
    """As near as two uninterrupted ones do: sums on a GPU are in no fixed order."""
    options = RunOptions(device="cuda", fast=fast, progress_seconds=0.0)

    def weights(keeper: Keeper, resume: Path | None = None) -> torch.Tensor:
        train(PAIR, config_of(method), keeper, options=options, resume=resume)
        average = Checkpoint.read(keeper.path).part("average")
        return torch.cat([value.float().flatten() for value in average.values()])

    whole, again = (weights(Keeper(tmp_path / name)) for name in ("whole", "again"))
    halves = Keeper(tmp_path / "halves", stop_at=4)
    weights(halves)
    resumed = weights(Keeper(tmp_path / "rest"), resume=halves.path)
    apart = (whole - again).norm()
    assert apart < 0.05 * whole.norm()
    assert (resumed - whole).norm() <= 3 * apart + 1e-3 * whole.norm()
