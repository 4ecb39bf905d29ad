"""Numbers that are not finite, injected: a training goes back, or says that it can't."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from osmis_core.data.pair import Pair
from osmis_core.errors import TrainingError
from osmis_core.training import health
from osmis_core.training.checkpoint import Checkpoint
from osmis_core.training.config import TrainingConfig
from osmis_core.training.health import MAX_ROLLBACKS, Guard
from osmis_core.training.step import Optimisation, StepLosses
from osmis_core.training.trainer import RunOptions, train
from tests.unit.training.conftest import Recorder

MakeConfig = Callable[..., TrainingConfig]
OFTEN = RunOptions(device="cpu", threads=1, progress_seconds=0.0, checkpoint_seconds=0.0)
SELDOM = RunOptions(device="cpu", threads=1, progress_seconds=60.0, checkpoint_seconds=600.0)
SNAPSHOT_STEPS = 2
STEPS = 9


@dataclass
class Poison:
    """Spoils a step, once or always, and writes down which steps ran at which learning rate."""

    kind: str
    at: int
    always: bool = False
    ran: list[tuple[int, float]] = field(default_factory=list)
    given: int = 0

    def into(self, monkeypatch: pytest.MonkeyPatch) -> Poison:
        real = Optimisation.run

        def run(optimisation: Optimisation, step: int) -> StepLosses:
            losses = real(optimisation, step)
            nets = optimisation.networks
            rates = {
                group["lr"]
                for adam in (nets.adam_generator, nets.adam_discriminator)
                for group in adam.param_groups
            }
            assert len(rates) == 1
            self.ran.append((step, rates.pop()))
            if step + 1 == self.at and (self.always or not self.given):
                self.given += 1
                return self._spoil(optimisation, losses)
            return losses

        monkeypatch.setattr(Optimisation, "run", run)
        return self

    def _spoil(self, optimisation: Optimisation, losses: StepLosses) -> StepLosses:
        nets = optimisation.networks
        with torch.no_grad():
            if self.kind == "loss":
                return replace(losses, discriminator_real=torch.tensor(float("nan")))
            if self.kind == "gradient":
                gradient = next(p.grad for p in nets.trainable if p.grad is not None)
                gradient[(-1,) * gradient.dim()] = float("inf")
            else:
                weight = next(nets.generator.parameters())
                weight[(0,) * weight.dim()] = float("nan")
        return losses


@pytest.fixture(autouse=True)
def _frequent_snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "SNAPSHOT_STEPS", SNAPSHOT_STEPS)


@pytest.fixture
def config(make_config: MakeConfig) -> TrainingConfig:
    return make_config("osmis", STEPS)


def _finite(path: Path) -> bool:
    tensors = Checkpoint.read(path).tensors.values()
    return all(bool(torch.isfinite(t).all()) for t in tensors)


@pytest.mark.parametrize("kind", ["loss", "gradient", "weights"])
def test_it_goes_back_and_on_at_half_the_rate_and_says_so(
    kind: str,
    scene: Pair,
    config: TrainingConfig,
    recorder: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    poison = Poison(kind, 7).into(monkeypatch)
    result = train(scene, config, recorder, options=SELDOM)
    rate = config.learning_rate
    # snapshots after steps 4 and 6: the older one, since the newer may be on its way out
    fast, slow = [(s, rate) for s in range(7)], [(s, rate / 2) for s in range(4, STEPS)]
    assert poison.ran == fast + slow
    assert (result.step, result.stopped_because) == (STEPS, "completed")
    assert [(w.code, bool(w.hint)) for w in recorder.warnings] == [("rolled_back", True)]
    for said in ("step 7", "step 4", f"{rate / 2:.3g}"):
        assert said in recorder.warnings[0].detail
    back, end = recorder.checkpoints
    assert (Checkpoint.read(back).step, Checkpoint.read(end).step) == (4, STEPS)
    assert _finite(back)
    assert _finite(end)
    assert Checkpoint.read(end).config == config  # the plan is as it was


def test_going_back_is_deterministic_and_a_resumed_training_keeps_the_rate(
    scene: Pair, config: TrainingConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Poison("weights", 5).into(monkeypatch)
    whole = Recorder(tmp_path / "whole")
    whole.folder.mkdir()
    train(scene, config, whole, options=OFTEN)
    monkeypatch.undo()
    monkeypatch.setattr(health, "SNAPSHOT_STEPS", SNAPSHOT_STEPS)
    poison = Poison("weights", 5).into(monkeypatch)
    halves = Recorder(tmp_path / "halves", stop_at=7)
    halves.folder.mkdir()
    result = train(scene, config, halves, options=SELDOM)
    assert result.stopped_because == "asked"
    halves.stop_at, poison.ran = None, []
    train(scene, config, halves, resume=halves.checkpoints[-1], options=SELDOM)
    assert {rate for _, rate in poison.ran} == {config.learning_rate / 2}
    assert [w.code for w in halves.warnings] == ["rolled_back"] * 2
    assert halves.warnings[0] == halves.warnings[1]  # said again, and kept once
    one, other = (Checkpoint.read(r.checkpoints[-1]) for r in (whole, halves))
    assert one.extra["rollbacks"] == other.extra["rollbacks"]
    for name, tensor in one.tensors.items():
        assert torch.equal(tensor, other.tensors[name]), name


def test_going_back_takes_along_what_layouts_overlap_by(
    scene: Pair, make_config: MakeConfig
) -> None:
    config = make_config("projected", STEPS)
    networks = Optimisation(scene, config, torch.device("cpu")).networks
    guard, mean = Guard(networks, config, 0), networks.overlap_penalty.mean
    sound = float(mean)
    mean.fill_(math.nan)
    guard.go_back(1)
    assert float(mean) == sound


def test_what_comes_back_every_time_ends_the_training_with_a_hint(
    scene: Pair, config: TrainingConfig, recorder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = Poison("gradient", 5, always=True).into(monkeypatch)
    with pytest.raises(TrainingError) as caught:
        train(scene, config, recorder, options=OFTEN)
    assert caught.value.code == "diverged"
    assert caught.value.hint
    assert poison.given == MAX_ROLLBACKS + 1
    assert [w.code for w in recorder.warnings] == ["rolled_back"] * MAX_ROLLBACKS
    assert len(set(recorder.warnings)) == MAX_ROLLBACKS
    assert all(_finite(path) for path in recorder.checkpoints)


def test_a_checkpoint_is_never_made_of_spoiled_weights(
    scene: Pair, config: TrainingConfig, recorder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither on the way nor at the end, where the spoiled step is taken again."""
    Poison("weights", STEPS).into(monkeypatch)
    result = train(scene, config, recorder, options=OFTEN)
    assert (result.step, len(recorder.warnings)) == (STEPS, 1)
    assert all(_finite(path) for path in recorder.checkpoints)


def test_asked_to_stop_when_spoiled_it_stops_sound(
    scene: Pair, config: TrainingConfig, recorder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    Poison("loss", 5).into(monkeypatch)
    recorder.stop_at = 5
    result = train(scene, config, recorder, options=SELDOM)
    assert (result.step, result.stopped_because) == (3, "asked")
    assert all(_finite(path) for path in recorder.checkpoints)


def test_before_the_first_snapshot_it_begins_anew(
    scene: Pair, config: TrainingConfig, recorder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = Poison("weights", 1).into(monkeypatch)
    result = train(scene, replace(config, steps=2), recorder, options=SELDOM)
    assert [step for step, _ in poison.ran] == [0, 0, 1]
    assert result.step == 2
    assert [Checkpoint.read(p).step for p in recorder.checkpoints] == [2]  # none of no steps


def test_back_at_the_beginning_the_newest_checkpoint_is_not_what_led_there(
    scene: Pair, config: TrainingConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is one of no steps, and resumed from there a training ends as if it had gone on."""
    poison = Poison("weights", 3).into(monkeypatch)
    config = replace(config, steps=4)
    whole, rest = Recorder(tmp_path / "whole"), Recorder(tmp_path / "rest")
    for hooks in (whole, rest):
        hooks.folder.mkdir()
    train(scene, config, whole, options=OFTEN)
    steps = [Checkpoint.read(path).step for path in whole.checkpoints]
    assert steps == [1, 2, 0, 1, 2, 3, 4]
    beginning = whole.checkpoints[2]
    assert _finite(beginning)
    assert len(Checkpoint.read(beginning).extra["rollbacks"]) == 1
    poison.ran = []
    train(scene, config, rest, resume=beginning, options=SELDOM)
    assert poison.ran == [(step, config.learning_rate / 2) for step in range(4)]
    one, other = (Checkpoint.read(hooks.checkpoints[-1]) for hooks in (whole, rest))
    assert one.tensors.keys() == other.tensors.keys()
    for name, tensor in one.tensors.items():
        assert torch.equal(tensor, other.tensors[name]), name


def test_back_at_a_resumed_beginning_it_is_handed_over_again(
    scene: Pair, config: TrainingConfig, recorder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else whoever resumes once more would not know of the second return."""
    Poison("weights", 3, always=True).into(monkeypatch)
    with pytest.raises(TrainingError):
        train(scene, config, recorder, options=OFTEN)
    beginning = recorder.checkpoints[2]
    again = Recorder(recorder.folder / "again")
    again.folder.mkdir()
    with pytest.raises(TrainingError):
        train(scene, config, again, resume=beginning, options=SELDOM)
    returns = [Checkpoint.read(path) for path in again.checkpoints]
    assert [(one.step, len(one.extra["rollbacks"])) for one in returns] == [
        (0, count) for count in range(2, MAX_ROLLBACKS + 1)
    ]


def test_a_gpu_is_asked_seldom_and_a_checkpoint_waits_for_its_answer(
    scene: Pair, config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    optimisation = Optimisation(scene, config, torch.device("cpu"))
    guard = Guard(optimisation.networks, config, 0)
    guard._on_cpu = False
    good = StepLosses(*(torch.ones(()) for _ in range(4)))
    bad = replace(good, spread=torch.tensor(math.nan))
    assert guard.is_sound(good, 1, surely=False)
    assert guard.is_sound(bad, 2, surely=False)  # not yet known
    assert not guard.is_sound(good, 3, surely=True)
    assert guard.is_sound(bad, 4, surely=False)
    assert guard.is_sound(good, 5, surely=False)
    assert not guard.is_sound(good, 10, surely=False)
    assert guard.is_sound(good, 11, surely=True)
