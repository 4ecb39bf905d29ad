"""Stopped anywhere and resumed, a training ends where it would have ended, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from osmis_core import layout_overlap
from osmis_core.data.pair import Pair
from osmis_core.training import fast_paths
from osmis_core.training.checkpoint import Checkpoint
from osmis_core.training.config import TrainingConfig
from osmis_core.training.real_pairs import POOL_SIZE, ViewPairs
from osmis_core.training.step import Optimisation
from osmis_core.training.trainer import RunOptions, train
from tests.unit.training.conftest import Recorder

MakeConfig = Callable[..., TrainingConfig]
OFTEN = RunOptions(device="cpu", threads=1, progress_seconds=0.0, checkpoint_seconds=0.0)
SELDOM = RunOptions(device="cpu", threads=1, progress_seconds=60.0, checkpoint_seconds=600.0)
STEPS, MASK_STEPS = 8, 4
CASES = [
    pytest.param(method, stop, id=f"{method}-{stop}")
    for method in ("projected", "osmis")
    for stop in (1, MASK_STEPS - 1, MASK_STEPS, MASK_STEPS + 1, STEPS - 1)
]


@dataclass
class Noisy(Recorder):
    """Draws from the global random streams, on which nothing may depend."""

    def should_stop(self) -> bool:
        torch.rand(3)
        np.random.rand(3)  # noqa: NPY002
        return super().should_stop()


@pytest.fixture(autouse=True, scope="module")
def _float32() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast_paths, "has_fast_bfloat16", lambda _: False)
        yield


@pytest.fixture(autouse=True, scope="module")
def _overlap_penalty_from_the_first_step() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout_overlap, "LEAST_LIMIT", 0.0)
        yield


@pytest.fixture(scope="module")
def config_of(make_config: MakeConfig) -> Callable[[str], TrainingConfig]:
    def make(method: str) -> TrainingConfig:
        # three do not divide the first pool of views
        config = make_config(method, STEPS, batch_size=3, mask_sampling_share=MASK_STEPS / STEPS)
        assert config.mask_sampling_steps == MASK_STEPS
        return config

    return make


@pytest.fixture(scope="module")
def whole(
    scene: Pair, config_of: Callable[[str], TrainingConfig], tmp_path_factory: Any
) -> Callable[[str], Recorder]:
    """The uninterrupted run of each method, with a checkpoint after every step."""
    runs: dict[str, Recorder] = {}

    def run(method: str) -> Recorder:
        if method not in runs:
            runs[method] = Recorder(tmp_path_factory.mktemp(method))
            train(scene, config_of(method), runs[method], options=OFTEN)
        return runs[method]

    return run


def _same(one: Path, other: Path) -> None:
    first, second = Checkpoint.read(one), Checkpoint.read(other)
    assert (first.step, first.config) == (second.step, second.config)
    assert first.tensors.keys() == second.tensors.keys()
    for name, tensor in first.tensors.items():
        assert torch.equal(tensor, second.tensors[name]), name


def test_the_state_is_all_there_is(whole: Callable[[str], Recorder]) -> None:
    """Both networks and the average with their singular vectors, both Adams with their counts."""
    for method in ("projected", "osmis"):
        names = Checkpoint.read(whole(method).checkpoints[-1]).tensors
        for start in ("generator", "average", "discriminator"):
            assert any(n.startswith(start) and n.endswith("left_singular") for n in names)
        for start in ("adam_generator", "adam_discriminator"):
            for end in ("step", "exp_avg", "exp_avg_sq"):
                assert any(n.startswith(start) and n.endswith(end) for n in names)
        assert any("mixers" in n for n in names) == (method == "projected")
        assert "overlap.mean" in names


def test_there_is_a_penalty_to_go_on_with(
    scene: Pair, config_of: Callable[[str], TrainingConfig], whole: Callable[[str], Recorder]
) -> None:
    limit = _overlap_limit(scene, config_of("projected"))
    means = [Checkpoint.read(c).tensors["overlap.mean"] for c in whole("projected").checkpoints]
    assert all(limit < float(mean) for mean in means)
    assert len(set(map(float, means))) == STEPS


def _overlap_limit(scene: Pair, config: TrainingConfig) -> float:
    return Optimisation(scene, config, torch.device("cpu")).networks.overlap_penalty.limit


@pytest.mark.parametrize(("method", "stop"), CASES)
def test_a_training_that_is_stopped_goes_on_exactly(
    method: str,
    stop: int,
    scene: Pair,
    config_of: Callable[[str], TrainingConfig],
    whole: Callable[[str], Recorder],
    tmp_path: Path,
) -> None:
    halves = Noisy(tmp_path, stop_at=stop)
    result = train(scene, config_of(method), halves, options=SELDOM)
    assert (result.step, result.stopped_because) == (stop, "asked")
    assert result.config.steps == STEPS
    _same(halves.checkpoints[-1], whole(method).checkpoints[stop - 1])
    halves.stop_at = None
    result = train(scene, config_of(method), halves, resume=halves.checkpoints[-1], options=SELDOM)
    assert (result.step, result.stopped_because) == (STEPS, "completed")
    _same(halves.checkpoints[-1], whole(method).checkpoints[-1])


@pytest.mark.parametrize(("method", "step"), [("projected", 2), ("projected", 6), ("osmis", 5)])
def test_a_killed_training_goes_on_exactly_from_a_checkpoint_on_its_way(
    method: str,
    step: int,
    scene: Pair,
    config_of: Callable[[str], TrainingConfig],
    whole: Callable[[str], Recorder],
    recorder: Any,
) -> None:
    on_the_way = whole(method).checkpoints[step - 1]
    train(scene, config_of(method), recorder, resume=on_the_way, options=SELDOM)
    _same(recorder.checkpoints[-1], whole(method).checkpoints[-1])


def test_a_training_of_before_the_overlap_penalty_goes_on_without_it(
    scene: Pair,
    config_of: Callable[[str], TrainingConfig],
    whole: Callable[[str], Recorder],
    tmp_path: Path,
) -> None:
    newer = Checkpoint.read(whole("projected").checkpoints[2])
    values = {k: v for k, v in newer.config.to_dict().items() if k != "overlap_weight"}
    tensors = {name: value for name, value in newer.tensors.items() if name != "overlap.mean"}
    older = replace(newer, config=TrainingConfig.from_dict(values), tensors=tensors)
    older.write(tmp_path / "older.safetensors")
    recorder = Recorder(tmp_path)
    train(
        scene,
        config_of("projected"),
        recorder,
        resume=tmp_path / "older.safetensors",
        options=SELDOM,
    )
    ended = Checkpoint.read(recorder.checkpoints[-1])
    assert (ended.step, ended.config.overlap_weight) == (STEPS, 0.0)
    assert float(ended.tensors["overlap.mean"]) == _overlap_limit(scene, older.config)


def test_resumed_twice_is_exact_too(
    scene: Pair,
    config_of: Callable[[str], TrainingConfig],
    whole: Callable[[str], Recorder],
    tmp_path: Path,
) -> None:
    parts = Noisy(tmp_path)
    resume = None
    for stop in (2, 5, None):
        parts.asked = Checkpoint.read(resume).step if resume else 0
        parts.stop_at = stop
        train(scene, config_of("osmis"), parts, resume=resume, options=SELDOM)
        resume = parts.checkpoints[-1]
    _same(parts.checkpoints[-1], whole("osmis").checkpoints[-1])


def test_the_pool_of_views_is_a_function_of_the_step(scene: Pair, make_config: MakeConfig) -> None:
    """Also of which views pass the frozen network together, on which last bits can depend."""

    def perceive(images: list[Tensor]) -> list[Tensor]:
        return [images[0] - images[0].mean(0, keepdim=True)]

    def pairs() -> ViewPairs:
        made = ViewPairs(
            scene, make_config("projected", 1).size, batch_size=3, perceive=perceive, seed=1
        )
        drawn = torch.arange(10_000.0)
        made.views.draw = lambda i: (drawn[i].sin().view(1, 1, 1), drawn[i].view(1, 1, 1))  # type: ignore[method-assign]
        return made

    steady = pairs()
    for step in range(400):
        chosen = steady.choose(step)
        assert len(steady.pool) * 3 <= POOL_SIZE + 2 * 3
        if step % 61 == 0:
            again = pairs().choose(step)
            assert torch.equal(chosen.features[0], again.features[0])
            assert torch.equal(chosen.mask_BKHW, again.mask_BKHW)
    returned = steady.choose(61).features  # as after a rollback
    assert torch.equal(returned[0], pairs().choose(61).features[0])


def test_a_training_stopped_before_there_is_a_plan_makes_it_later(
    scene: Pair, make_config: MakeConfig, recorder: Any
) -> None:
    """The steps done so far must not pass for the plan: resumed, it would be over at once."""
    config = replace(make_config("osmis", 1), steps=None, budget_seconds=1000.0)
    recorder.stop_at = 3
    result = train(scene, config, recorder, options=SELDOM)
    assert (result.step, result.config.steps) == (3, None)
    assert Checkpoint.read(recorder.checkpoints[-1]).config.steps is None
    recorder.stop_at = 5
    result = train(scene, config, recorder, resume=recorder.checkpoints[-1], options=SELDOM)
    assert (result.step, result.stopped_because, result.config.steps) == (5, "asked", None)


def test_what_is_completed_or_over_its_budget_takes_no_further_step(
    scene: Pair,
    config_of: Callable[[str], TrainingConfig],
    whole: Callable[[str], Recorder],
    tmp_path: Path,
) -> None:
    last = whole("osmis").checkpoints[-1]
    again = Recorder(tmp_path)
    result = train(scene, config_of("osmis"), again, resume=last, options=SELDOM)
    assert (result.step, result.stopped_because) == (STEPS, "completed")
    _same(again.checkpoints[-1], last)
    early = Checkpoint.read(whole("osmis").checkpoints[2])
    spent = replace(
        early,
        config=replace(early.config, budget_seconds=10.0),
        extra={**early.extra, "seconds": 13.0, "warm_up_seconds": 0.1},
    )
    spent.write(tmp_path / "spent.safetensors")
    result = train(
        scene, spent.config, again, resume=tmp_path / "spent.safetensors", options=SELDOM
    )
    assert (result.step, result.stopped_because) == (3, "time_budget")
