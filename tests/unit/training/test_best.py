from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from osmis_core.data.pair import Pair
from osmis_core.generation import Sampler
from osmis_core.training import best as best_module
from osmis_core.training.best import BestKept
from osmis_core.training.checkpoint import Checkpoint
from osmis_core.training.config import TrainingConfig
from osmis_core.training.look import Look
from osmis_core.training.trainer import RunOptions, train
from tests.unit.training.conftest import Recorder

MakeConfig = Callable[..., TrainingConfig]
OPTIONS = RunOptions(device="cpu", threads=1, checkpoint_seconds=1e9)
STEPS = 20


class _State:
    """As far as a copy is taken of it, a generator."""

    def __init__(self, value: float) -> None:
        self.value = value

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"weight": torch.tensor(self.value)}


def _seen(*looks: tuple[int, float, float]) -> BestKept:
    kept = BestKept()
    for step, distance, diversity in looks:
        look = Look(step=step, distance=distance, diversity=diversity)
        kept.add(look, _State(step))  # type: ignore[arg-type]
    return kept


def _copied(kept: BestKept) -> int:
    return int(kept.tensors["weight"])


def test_nearer_and_more_varied_is_better_but_nearer_than_views_is_not() -> None:
    kept = _seen((100, 4.0, 0.8), (200, 2.0, 0.7), (300, 2.0, 0.9), (400, 0.7, 0.5))
    assert _copied(kept) == 400
    kept = _seen((100, 1.0, 0.8), (200, 0.3, 0.8), (300, 1.0, 0.5))
    assert _copied(kept) == 100


def test_a_little_better_is_no_progress() -> None:
    kept = _seen((100, 2.0, 0.800), (200, 2.0, 0.815), (300, 2.0, 0.817))
    assert _copied(kept) == 300
    assert kept.best == kept.looks[2]


def test_what_led_to_a_rollback_was_never_seen() -> None:
    kept = _seen((100, 2.0, 0.7), (200, 1.5, 0.7), (300, 1.6, 0.7))
    kept.forget_after(200)
    assert ([look.step for look in kept.looks], _copied(kept)) == ([100, 200], 200)
    kept.forget_after(150)
    assert (kept.looks, kept.tensors, kept.best) == ([], {}, None)


def test_a_plateau_shortens_the_plan(make_config: MakeConfig) -> None:
    config = replace(make_config("projected", 20_000), budget_seconds=600)
    kept = _seen((3000, 1.0, 0.9), (4000, 1.0, 0.91), (5000, 1.1, 0.9))
    assert kept.shortened(config, 4900) is config
    assert kept.shortened(config, 5000) == replace(config, steps=7500)
    assert kept.shortened(replace(config, steps=7500), 6000).steps == 7500
    named = replace(config, budget_seconds=None)
    assert kept.shortened(named, 5000) is named
    warning = kept.plateau_warning(20_000, replace(config, steps=7500))
    assert warning.code == "plateau"
    assert all(said in warning.detail for said in ("step 3000", "step 7500", "20000"))


@pytest.mark.parametrize(("method", "steps"), [("osmis", 20_000), ("projected", 900)])
def test_who_is_not_looked_at(make_config: MakeConfig, method: str, steps: int) -> None:
    config = make_config(method, steps)
    assert not any(BestKept.is_time(config, step) for step in range(1, steps + 1))


def test_when_it_is_looked(make_config: MakeConfig) -> None:
    config = make_config("projected", 4050)
    times = [step for step in range(1, 4051) if BestKept.is_time(config, step)]
    assert times[0] > config.mask_sampling_steps
    assert times[-1] == 4050
    assert {b - a for a, b in pairwise(times[:-1])} == {202}


@pytest.fixture
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at every step, from the first past the mask phase on."""
    monkeypatch.setattr(best_module, "LOOKED_AT_FROM_STEPS", 1)
    monkeypatch.setattr(best_module, "LOOK_STEPS", 1)
    monkeypatch.setattr(best_module, "PLATEAU_FROM_STEP", 1)


@pytest.mark.usefixtures("_often")
def test_a_training_that_does_not_improve_ends_early_and_says_so(
    scene: Pair,
    make_config: MakeConfig,
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(best_module, "BETTER", 1e9)
    monkeypatch.setattr(best_module, "OVERTAKEN", 1e9)
    config = replace(make_config("projected", STEPS), budget_seconds=3600)
    result = train(scene, config, recorder, options=OPTIONS)
    # first seen after step 7 of 20, without progress in 40% of 12 steps, and half of 12 more
    assert (result.step, result.config.steps, result.stopped_because) == (18, 18, "completed")
    assert recorder.warnings[0].code == "plateau"
    assert recorder.progress[-1].total == 18


@pytest.mark.usefixtures("_often")
@pytest.mark.parametrize("stop_at", [None, 15])
def test_sets_are_made_of_the_best_state(
    stop_at: int | None,
    scene: Pair,
    make_config: MakeConfig,
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where the training is finished early, by whoever then concludes it."""
    monkeypatch.setattr(best_module, "BETTER", 1e9)
    monkeypatch.setattr(best_module, "OVERTAKEN", 0.0)
    recorder.stop_at = stop_at
    result = train(scene, make_config("projected", STEPS), recorder, options=OPTIONS)
    said = [w.detail for w in recorder.warnings if w.code == "earlier_state"]
    assert len(said) == (stop_at is None)
    result.conclude(recorder)
    (detail,) = (w.detail for w in recorder.warnings if w.code == "earlier_state")
    assert "after step 7:" in detail
    sampler = Sampler(recorder.checkpoints[-1], "cpu")
    assert sampler.step == 7
    checkpoint = Checkpoint.read(recorder.checkpoints[-1])
    step, weights = checkpoint.for_samples()
    assert (step, checkpoint.step) == (7, stop_at or STEPS)
    last = checkpoint.part("average")
    assert weights.keys() == last.keys()
    assert not all(torch.equal(weights[name], last[name]) for name in weights)


@pytest.mark.usefixtures("_often")
def test_looks_survive_a_resume_bit_for_bit(
    scene: Pair, make_config: MakeConfig, tmp_path: Path
) -> None:
    config = make_config("projected", 12)

    def checkpoints(name: str, stops: tuple[int | None, ...]) -> Checkpoint:
        hooks: Any = Recorder(tmp_path / name)
        hooks.folder.mkdir()
        for stop in stops:
            hooks.stop_at = stop
            resume = hooks.checkpoints[-1] if hooks.checkpoints else None
            train(scene, config, hooks, resume=resume, options=OPTIONS)
        return Checkpoint.read(hooks.checkpoints[-1])

    whole, halves = checkpoints("whole", (None,)), checkpoints("halves", (8, None))
    assert [look["step"] for look in whole.extra["looks"]] == list(range(5, 13))
    assert whole.extra["looks"] == halves.extra["looks"]
    assert whole.tensors.keys() == halves.tensors.keys()
    for name, tensor in whole.tensors.items():
        assert torch.equal(tensor, halves.tensors[name]), name
