from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from osmis_core.data.pair import Pair
from osmis_core.training import planning
from osmis_core.training.checkpoint import Checkpoint
from osmis_core.training.config import TrainingConfig
from osmis_core.training.planning import CALIBRATION_STEPS, Clock, StepPlanner
from osmis_core.training.step import Optimisation
from osmis_core.training.trainer import RunOptions, train

MakeConfig = Callable[..., TrainingConfig]
BUDGET, STEP = 180.0, 0.2


class Machine:
    """Steps on a clock of their own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(planning.time, "monotonic", lambda: self.now)

    def run(
        self, planner: StepPlanner, config: TrainingConfig, steps: range, seconds: float = STEP
    ) -> TrainingConfig:
        for step in steps:
            self.now += seconds
            config = planner.after_step(config, step, seconds, settled=True)
        return config


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


@pytest.fixture
def unplanned(make_config: MakeConfig) -> TrainingConfig:
    return replace(make_config("projected", 1), steps=None, budget_seconds=BUDGET)


def test_the_budget_becomes_steps_after_the_calibration(
    machine: Machine, unplanned: TrainingConfig
) -> None:
    planner = StepPlanner(Clock())
    config = machine.run(planner, unplanned, range(1, CALIBRATION_STEPS))
    assert config.steps is None
    config = machine.run(planner, config, range(CALIBRATION_STEPS, CALIBRATION_STEPS + 1))
    assert config.steps == pytest.approx(BUDGET / STEP, abs=2)


def test_a_slow_start_is_not_taken_off_the_budget(
    machine: Machine, unplanned: TrainingConfig
) -> None:
    """Loading and compiling may take longer than a short budget."""
    clock = Clock()
    planner = StepPlanner(clock)
    config = machine.run(planner, unplanned, range(1, 2), 2 * BUDGET)
    assert not planner.is_over_budget(config)
    config = machine.run(planner, config, range(2, 100))
    assert config.steps == pytest.approx(BUDGET / STEP, abs=2)
    assert clock.seconds == pytest.approx(2 * BUDGET + 98 * STEP)
    assert clock.spent_seconds == pytest.approx(98 * STEP)


def test_slow_steps_get_a_plan_too(machine: Machine, unplanned: TrainingConfig) -> None:
    """Without one the mask phase would not end before the budget does."""
    planner = StepPlanner(Clock())
    config = machine.run(planner, unplanned, range(1, 5), BUDGET / 12)
    assert config.steps == 1 + 12
    assert machine.run(planner, config, range(5, 13), BUDGET / 12) == config


@pytest.mark.parametrize("resumed_at", [3, 49, 50, 99])
def test_a_slow_first_step_after_a_resume_leaves_the_plan_as_it_is(
    resumed_at: int, machine: Machine, unplanned: TrainingConfig
) -> None:
    planned = replace(unplanned, steps=900)
    planner = StepPlanner(Clock(resumed_at * STEP + 1.0, 1.0))
    config = machine.run(planner, planned, range(resumed_at + 1, resumed_at + 2), 60.0)
    assert config == planned
    config = machine.run(planner, config, range(resumed_at + 2, 251))
    assert config.steps == pytest.approx(900, abs=3)


def test_a_resumed_training_without_a_plan_calibrates_itself(
    machine: Machine, unplanned: TrainingConfig
) -> None:
    planner = StepPlanner(Clock(20 * STEP))
    config = machine.run(planner, unplanned, range(21, 22), 40.0)
    config = machine.run(planner, config, range(22, 20 + CALIBRATION_STEPS))
    assert config.steps is None
    config = machine.run(planner, config, range(20 + CALIBRATION_STEPS, 100))
    assert config.steps == pytest.approx(BUDGET / STEP, abs=3)


def test_the_plan_follows_the_machine_until_the_mask_phase_ends(
    machine: Machine, unplanned: TrainingConfig
) -> None:
    planner = StepPlanner(Clock())
    config = machine.run(planner, unplanned, range(1, CALIBRATION_STEPS + 1), 4 * STEP)
    assert config.steps == pytest.approx(BUDGET / (4 * STEP), abs=3)
    config = machine.run(planner, config, range(CALIBRATION_STEPS + 1, 101))
    assert config.steps is not None
    assert config.steps > 700
    settled = machine.run(planner, config, range(101, 251))
    assert settled.steps == pytest.approx(100 + (BUDGET - 23 * 4 * STEP - 76 * STEP) / STEP, abs=8)
    later = machine.run(planner, settled, range(251, 401), STEP / 10)
    assert later == settled


def test_a_plan_that_would_overrun_is_shortened_while_the_rates_have_not_fallen(
    machine: Machine, unplanned: TrainingConfig
) -> None:
    planner = StepPlanner(Clock())
    config = machine.run(planner, unplanned, range(1, 301))
    assert config.steps == pytest.approx(BUDGET / STEP, abs=2)
    slow = machine.run(planner, config, range(301, 351), 2 * STEP)
    assert slow.steps is not None
    # 80 s are over; the mean step has taken 8 / 7 of what was planned
    assert slow.steps == pytest.approx(350 + (BUDGET - 80) / (STEP * 8 / 7), abs=5)
    ended = machine.run(planner, slow, range(351, round(0.7 * slow.steps) + 60), 2 * STEP)
    assert ended.steps is not None
    assert ended.steps < slow.steps
    falling = round(0.7 * ended.steps) + 1
    assert machine.run(planner, ended, range(falling, falling + 100), 9 * STEP) == ended


@pytest.mark.parametrize("slow_step", [402, 404, 420])
def test_a_slow_step_after_a_resume_shortens_nothing(
    slow_step: int, machine: Machine, unplanned: TrainingConfig
) -> None:
    """A GPU records its step in the third of every run."""
    planned = replace(unplanned, steps=900)
    planner = StepPlanner(Clock(400 * STEP))
    config = machine.run(planner, planned, range(401, slow_step))
    config = machine.run(planner, config, range(slow_step, slow_step + 1), 25 * STEP)
    assert machine.run(planner, config, range(slow_step + 1, 900)) == planned


def test_a_slow_step_does_not_spoil_the_calibration(
    machine: Machine, unplanned: TrainingConfig
) -> None:
    planner = StepPlanner(Clock())
    config = machine.run(planner, unplanned, range(1, 18))
    config = machine.run(planner, config, range(18, 19), 8 * STEP)
    config = machine.run(planner, config, range(19, CALIBRATION_STEPS + 1))
    assert config.steps == pytest.approx(BUDGET / STEP - 7, abs=3)


def test_so_do_steps_that_draw_new_views(machine: Machine, unplanned: TrainingConfig) -> None:
    """Every fifth, so that a median over steps would not see them."""
    planner, config = StepPlanner(Clock()), unplanned
    for step in range(1, 101):
        seconds = 6 * STEP if step % 5 == 0 else STEP
        config = machine.run(planner, config, range(step, step + 1), seconds)
        if step >= CALIBRATION_STEPS:
            assert config.steps == pytest.approx(BUDGET / (2 * STEP), rel=0.02)


def test_what_lies_between_steps_counts(machine: Machine, unplanned: TrainingConfig) -> None:
    planner, config = StepPlanner(Clock()), unplanned
    for step in range(1, 101):
        machine.now += STEP  # a report, a look
        config = machine.run(planner, config, range(step, step + 1))
    assert config.steps == pytest.approx(BUDGET / (2 * STEP), abs=5)


def test_the_plan_survives_a_resume_at_step_49_with_a_slow_first_step(
    monkeypatch: pytest.MonkeyPatch, scene: Pair, make_config: MakeConfig, recorder: Any
) -> None:
    """The same through the trainer, whose steps are replaced by waiting."""
    real = Optimisation.run
    waits = iter([0.0])

    def wait(optimisation: Optimisation, step: int) -> Any:
        nonlocal losses
        if losses is None:
            losses = real(optimisation, step)
        now[0] += next(waits, 0.5)
        return losses

    losses: Any = None
    now = [0.0]
    monkeypatch.setattr(planning.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(Optimisation, "run", wait)
    config = replace(make_config("osmis", 1), steps=None, budget_seconds=200.0)
    recorder.stop_at = 49
    seldom = RunOptions(device="cpu", threads=1, checkpoint_seconds=1e9)
    result = train(scene, config, recorder, options=seldom)
    assert (result.step, result.config.steps) == (49, 401)
    waits = iter([90.0])
    recorder.stop_at = 49 + 60
    result = train(scene, config, recorder, resume=recorder.checkpoints[-1], options=seldom)
    assert result.step == 109
    assert result.config.steps == pytest.approx(401, abs=3)
    extra = Checkpoint.read(recorder.checkpoints[-1]).extra
    assert extra["warm_up_seconds"] == pytest.approx(90.0)
    assert extra["seconds"] == pytest.approx(48 * 0.5 + 90.0 + 59 * 0.5)
