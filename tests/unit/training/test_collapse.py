"""Real generators forced to make nothing, and real ones that have only begun."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from osmis_core.data.pair import Pair
from osmis_core.errors import TrainingError
from osmis_core.models.generator import Generator
from osmis_core.training import collapse
from osmis_core.training.checkpoint import Checkpoint
from osmis_core.training.collapse import (
    BAD_CHECKS,
    CHECK_STEPS,
    FLAT,
    LEARNED_FROM_STEP,
    CollapseWatch,
)
from osmis_core.training.config import TrainingConfig
from osmis_core.training.real_pairs import source_tensors
from osmis_core.training.step import Optimisation, StepLosses
from osmis_core.training.trainer import RunOptions, train

MakeConfig = Callable[..., TrainingConfig]
SELDOM = RunOptions(device="cpu", threads=1, progress_seconds=60.0, checkpoint_seconds=600.0)
LONG = 10_000


@torch.no_grad()
def flat(generator: Generator, level: float) -> None:
    """Every picture one colour: the last RGB head says nothing else."""
    head = generator.rgb_heads[str(generator.config.blocks - 1)]
    head.bias.fill_(level)


@torch.no_grad()
def one_class(generator: Generator) -> None:
    generator.mask_head.weight.zero_()
    generator.mask_head.bias.copy_(torch.arange(generator.config.class_count).float())


@torch.no_grad()
def deaf(generator: Generator) -> None:
    """Whatever the latent, the same picture."""
    generator.latent.grid.weight.zero_()
    generator.latent.grid.bias.copy_(torch.randn(generator.latent.grid.bias.shape))


SPOILED = {
    "black": (lambda g: flat(g, -30.0), FLAT),
    "white": (lambda g: flat(g, 30.0), FLAT),
    "one picture": (deaf, "the same"),
    "one class": (one_class, "one class"),
}


@pytest.fixture
def average(make_config: MakeConfig) -> Generator:
    torch.manual_seed(0)
    return Generator(make_config("osmis", LONG).generator)


@pytest.fixture
def watch(scene: Pair, make_config: MakeConfig) -> CollapseWatch:
    return CollapseWatch(source_tensors(scene, make_config("osmis", LONG).size))


@pytest.mark.parametrize("kind", SPOILED)
def test_what_makes_nothing_is_found(
    kind: str, average: Generator, watch: CollapseWatch, make_config: MakeConfig
) -> None:
    config = make_config("osmis", LONG)
    assert watch.find(average, config) is None
    spoil, words = SPOILED[kind]
    spoil(average)
    found = watch.find(average, config)
    assert found is not None
    assert words in found


@pytest.mark.parametrize("kind", SPOILED)
def test_a_training_that_has_only_begun_is_not_watched(
    kind: str, average: Generator, watch: CollapseWatch, make_config: MakeConfig
) -> None:
    SPOILED[kind][0](average)
    config = make_config("osmis", LEARNED_FROM_STEP + 1)
    for step in range(LEARNED_FROM_STEP):
        watch.check(average, config, step)
    assert watch.bad_checks == 0
    watch.check(average, config, LEARNED_FROM_STEP)
    assert watch.bad_checks == 1


def test_no_more_is_asked_for_than_the_source_has(
    average: Generator, scene: Pair, make_config: MakeConfig
) -> None:
    config = make_config("osmis", LONG)
    image_CHW, mask_KHW = source_tensors(scene, config.size)
    flat(average, 30.0)
    assert CollapseWatch((image_CHW * 0, mask_KHW)).find(average, config) is None
    one_class(average)
    only = torch.zeros_like(mask_KHW)
    only[0] = 1
    assert CollapseWatch((image_CHW * 0, only)).find(average, config) is None


def test_only_a_collapse_that_lasts_ends_a_run(
    average: Generator, watch: CollapseWatch, make_config: MakeConfig
) -> None:
    config = make_config("osmis", LONG)
    healthy = {name: value.clone() for name, value in average.state_dict().items()}
    one_class(average)
    pause = round(collapse.CHECK_SHARE * LONG)
    second_half = range(LONG // 2, LONG, pause)
    for step in range(0, LONG // 2, CHECK_STEPS):
        watch.check(average, config, step)
    assert watch.bad_checks == 0
    for i, step in enumerate(second_half[: BAD_CHECKS - 1]):
        watch.check(average, config, step)
        watch.check(average, config, step + 1)  # between two checks nothing is looked at
        assert watch.bad_checks == i + 1
    spoiled = {name: value.clone() for name, value in average.state_dict().items()}
    average.load_state_dict(healthy)
    watch.check(average, config, second_half[BAD_CHECKS])
    assert watch.bad_checks == 0
    average.load_state_dict(spoiled)
    for step in second_half[-BAD_CHECKS:-1]:
        watch.check(average, config, step)
    with pytest.raises(TrainingError) as caught:
        watch.check(average, config, second_half[-1])
    assert caught.value.code == "collapsed"
    assert "seed" in caught.value.hint
    assert "method=projected" in caught.value.hint


def test_masks_that_are_still_drawn_are_not_checked(
    average: Generator, watch: CollapseWatch, make_config: MakeConfig
) -> None:
    one_class(average)
    config = make_config("projected", LONG, mask_sampling_share=0.9)
    for step in range(0, round(0.9 * LONG), CHECK_STEPS):
        watch.check(average, config, step)
    assert watch.bad_checks == 0


@pytest.fixture
def spoil_training(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has every step leave an average that makes nothing."""

    def spoil(kind: str) -> None:
        real = Optimisation.run

        def run(optimisation: Optimisation, step: int) -> StepLosses:
            losses = real(optimisation, step)
            SPOILED[kind][0](optimisation.networks.average)
            return losses

        monkeypatch.setattr(Optimisation, "run", run)

    return spoil


@pytest.mark.parametrize("kind", SPOILED)
def test_a_collapsed_training_ends_in_an_error_and_no_final_checkpoint(
    kind: str,
    scene: Pair,
    make_config: MakeConfig,
    recorder: Any,
    monkeypatch: pytest.MonkeyPatch,
    spoil_training: Callable[[str], None],
) -> None:
    monkeypatch.setattr(collapse, "LEARNED_FROM_STEP", 2)
    spoil_training(kind)
    with pytest.raises(TrainingError) as caught:
        train(scene, make_config("osmis", 2), recorder, options=SELDOM)
    assert caught.value.code == "collapsed"
    assert SPOILED[kind][1] in caught.value.detail
    assert (recorder.checkpoints, recorder.warnings) == ([], [])


@pytest.mark.parametrize("kind", [k for k, (_, said) in SPOILED.items() if said != FLAT])
def test_one_that_was_too_short_to_be_judged_ends_with_a_warning(
    kind: str,
    scene: Pair,
    make_config: MakeConfig,
    recorder: Any,
    monkeypatch: pytest.MonkeyPatch,
    spoil_training: Callable[[str], None],
) -> None:
    monkeypatch.setattr(collapse, "LEARNED_FROM_STEP", 3)
    spoil_training(kind)
    result = train(scene, make_config("projected", 2), recorder, options=SELDOM)
    assert result.stopped_because == "completed"
    assert SPOILED[kind][1] in (result.finding or "")
    (warning,) = recorder.warnings
    assert warning.code == "undertrained"
    result.conclude(recorder)
    assert len(recorder.warnings) == 1
    assert "step 2" in warning.detail
    assert SPOILED[kind][1] in warning.detail
    for said in ("iterations", "max_runtime_seconds", "3 steps"):
        assert said in warning.hint
    assert "projected" not in warning.hint
    assert Checkpoint.read(recorder.checkpoints[-1]).extra["stopped_because"] == "completed"


def test_one_that_ran_out_of_time_too(
    scene: Pair,
    make_config: MakeConfig,
    recorder: Any,
    spoil_training: Callable[[str], None],
) -> None:
    spoil_training("one class")
    config = replace(make_config("osmis", LONG), budget_seconds=0.001)
    result = train(scene, config, recorder, options=SELDOM)
    assert result.stopped_because == "time_budget"
    assert [warning.code for warning in recorder.warnings] == ["undertrained"]
    assert "method=projected" in recorder.warnings[0].hint


def test_one_that_was_asked_to_stop_is_warned_of_only_where_it_will_not_go_on(
    scene: Pair,
    make_config: MakeConfig,
    recorder: Any,
    spoil_training: Callable[[str], None],
) -> None:
    spoil_training("one class")
    recorder.stop_at = 1
    result = train(scene, make_config("osmis", LONG), recorder, options=SELDOM)
    assert (result.stopped_because, recorder.warnings) == ("asked", [])
    result.conclude(recorder)
    assert [warning.code for warning in recorder.warnings] == ["undertrained"]


def test_a_collapse_that_lasts_ends_the_training_before_its_last_step(
    scene: Pair,
    make_config: MakeConfig,
    recorder: Any,
    monkeypatch: pytest.MonkeyPatch,
    spoil_training: Callable[[str], None],
) -> None:
    """Also when it is stopped meanwhile: the checks so far are in the checkpoint."""
    monkeypatch.setattr(collapse, "CHECK_STEPS", 1)
    monkeypatch.setattr(collapse, "LEARNED_FROM_STEP", 6)
    spoil_training("black")
    config = make_config("osmis", 12)
    recorder.stop_at = 7
    result = train(scene, config, recorder, options=SELDOM)
    assert (result.step, result.stopped_because) == (7, "asked")
    assert Checkpoint.read(recorder.checkpoints[-1]).extra["bad_checks"] == 1
    assert result.finding is not None
    with pytest.raises(TrainingError, match="flat colour"):
        result.conclude(recorder)
    recorder.stop_at = None
    with pytest.raises(TrainingError, match="after step 9"):
        train(scene, config, recorder, resume=recorder.checkpoints[-1], options=SELDOM)


def test_thirty_ugly_steps_are_no_collapse(
    scene: Pair, make_config: MakeConfig, recorder: Any
) -> None:
    config = replace(make_config("osmis", 30), batch_size=5)
    result = train(scene, config, recorder, options=SELDOM)
    assert (result.step, result.stopped_because) == (30, "completed")
    assert "flat colour" not in (result.finding or "")  # masks may be of one class as yet
