from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from osmis_core.data.pair import Pair
from osmis_core.data.plan import TrainingOptions, plan_training
from osmis_core.data.size_plan import plan_size
from osmis_core.errors import CheckpointError, TrainingError
from osmis_core.generation import Sampler
from osmis_core.training import checkpoint, planning
from osmis_core.training.checkpoint import SCHEMA_VERSION, Checkpoint
from osmis_core.training.collapse import CollapseWatch
from osmis_core.training.config import TrainingConfig, config_from_plan
from osmis_core.training.ema import ema_decay
from osmis_core.training.health import MAX_ROLLBACKS
from osmis_core.training.trainer import RunOptions, train

MakeConfig = Callable[..., TrainingConfig]
OFTEN = RunOptions(device="cpu", progress_seconds=0.0, checkpoint_seconds=0.0)
SELDOM = RunOptions(device="cpu", progress_seconds=60.0, checkpoint_seconds=600.0)


def test_training_changes_both_networks_and_moves_the_average_after_them(
    scene: Pair, make_config: MakeConfig, recorder: Any
) -> None:
    train(scene, make_config("projected", 4), recorder, options=OFTEN)
    first, last = (Checkpoint.read(recorder.checkpoints[i]) for i in (0, -1))
    for part in ("generator", "average", "discriminator"):
        before, after = first.part(part), last.part(part)
        weights = [k for k in before if k.endswith("weight") and "mixers" not in k]
        assert weights
        assert any(not torch.equal(before[k], after[k]) for k in weights)
        for frozen in (k for k in before if "mixers" in k):
            assert torch.equal(before[frozen], after[frozen])


def test_hooks_hear_of_every_step_with_finite_losses(
    scene: Pair, make_config: MakeConfig, recorder: Any
) -> None:
    train(scene, make_config("osmis", 3), recorder, options=OFTEN)
    assert [p.step for p in recorder.progress] == [1, 2, 3]
    assert recorder.progress[-1].total == 3
    losses = recorder.progress[-1].losses
    assert set(losses) == {"generator", "discriminator_real", "discriminator_fake", "spread"}
    assert all(torch.isfinite(torch.tensor(v)) for v in losses.values())


def test_a_time_budget_becomes_planned_steps(
    scene: Pair, make_config: MakeConfig, recorder: Any
) -> None:
    config = make_config("osmis", 1, mask_sampling_share=0.3)
    config = replace(config, steps=None, budget_seconds=12.0)
    result = train(scene, config, recorder, options=OFTEN)
    assert result.config.steps is not None
    assert result.step <= result.config.steps
    assert result.seconds < 12.0 * 1.25 + 10
    stored = Checkpoint.read(recorder.checkpoints[-1]).config
    assert stored == result.config
    assert stored.mask_sampling_steps == round(0.3 * result.config.steps)


@pytest.fixture
def too_fine(scene: Pair, make_config: MakeConfig) -> TrainingConfig:
    """Of a training whose minutes are too few for its size."""
    config = make_config("projected", 1, coarser=plan_size(48, 64, longest_px=32))
    return replace(config, steps=None, budget_seconds=4.0)


def test_where_steps_turn_out_slow_a_coarser_size_is_trained_at(
    scene: Pair, too_fine: TrainingConfig, recorder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a dozen steps, on a busy machine, are too few for pictures to be judged by
    monkeypatch.setattr(CollapseWatch, "find", lambda *_: None)
    result = train(scene, too_fine, recorder, options=OFTEN)
    (warning,) = [w for w in recorder.warnings if w.code == "coarser_size"]
    for size in (too_fine.size, too_fine.coarser):
        assert size is not None
        assert f"{size.train_w}×{size.train_h}" in warning.detail
    stored = [Checkpoint.read(path, prefixes=()).config for path in recorder.checkpoints]
    assert {config.size for config in stored} == {too_fine.coarser}
    assert result.config.size == too_fine.coarser
    # what was tried is taken off the budget; warm-ups are not
    assert 4.0 * 0.9 < result.seconds < 4.0 * 1.25 + 10


def test_a_training_at_the_coarser_size_goes_on_at_it(
    scene: Pair, too_fine: TrainingConfig, recorder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "FINER_WORTH_STEPS", 10**6)
    config = replace(too_fine, budget_seconds=100.0)
    recorder.stop_at = planning.CALIBRATION_STEPS + 5
    stopped = train(scene, config, recorder, options=OFTEN)
    recorder.stop_at = recorder.asked + 3
    result = train(scene, config, recorder, resume=recorder.checkpoints[-1], options=OFTEN)
    assert result.config.size == config.coarser
    assert result.step == stopped.step + 3
    assert [w.code for w in recorder.warnings if w.code == "coarser_size"] == ["coarser_size"]


def test_where_there_are_steps_enough_the_size_stands(
    scene: Pair, too_fine: TrainingConfig, recorder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "FINER_WORTH_STEPS", 1)
    recorder.stop_at = planning.CALIBRATION_STEPS + 5
    result = train(scene, replace(too_fine, budget_seconds=100.0), recorder, options=OFTEN)
    assert result.config.steps is not None
    assert result.config.size == too_fine.size
    assert result.config.coarser is None
    assert "coarser_size" not in {w.code for w in recorder.warnings}


def test_a_checkpoint_is_one_file_without_pickle(
    scene: Pair, make_config: MakeConfig, recorder: Any
) -> None:
    config = make_config("projected", 1)
    train(scene, config, recorder, options=SELDOM)
    with safe_open(recorder.checkpoints[0], framework="pt") as file:
        header = json.loads(file.metadata()["onepair"])
    assert header["schema_version"] == SCHEMA_VERSION
    assert TrainingConfig.from_dict(header["config"]) == config
    assert not list(recorder.folder.glob("*.partial"))


def test_a_damaged_checkpoint_is_refused(
    scene: Pair, make_config: MakeConfig, recorder: Any, tmp_path: Path
) -> None:
    config = make_config("projected", 1)
    train(scene, config, recorder, options=SELDOM)
    good = recorder.checkpoints[0]
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(good.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        Checkpoint.read(damaged)


@pytest.mark.parametrize(
    ("version", "hint"),
    [(SCHEMA_VERSION + 1, "Upgrade OnePair"), (1, "older version of OnePair: train anew")],
)
def test_checkpoints_of_other_versions_are_refused(
    version: int,
    hint: str,
    scene: Pair,
    make_config: MakeConfig,
    recorder: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = make_config("osmis", 1)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "SCHEMA_VERSION", version)
        train(scene, config, recorder, options=SELDOM)
    (path,) = recorder.checkpoints
    for use in (
        lambda: train(scene, config, recorder, resume=path, options=SELDOM),
        lambda: Sampler(path, "cpu"),
    ):
        with pytest.raises(CheckpointError, match=f"schema {version}") as caught:
            use()
        assert hint in caught.value.hint


@pytest.fixture
def resumed(
    scene: Pair, make_config: MakeConfig, recorder: Any
) -> Callable[[Pair, TrainingConfig], CheckpointError]:
    """What is said to who goes on with one step of ``osmis`` on the scene."""
    train(scene, make_config("osmis", 1), recorder, options=SELDOM)

    def resume(pair: Pair, config: TrainingConfig) -> CheckpointError:
        with pytest.raises(CheckpointError) as caught:
            train(pair, config, recorder, resume=recorder.checkpoints[-1], options=SELDOM)
        return caught.value

    return resume


def test_a_checkpoint_of_another_pair_is_refused(
    scene: Pair,
    image_alone: Pair,
    make_config: MakeConfig,
    resumed: Callable[[Pair, TrainingConfig], CheckpointError],
) -> None:
    square = replace(scene, image_HWC=scene.image_HWC[:, :48], mask_HW=scene.mask_HW[:, :48])
    plan = plan_training(square, TrainingOptions(method="osmis", max_size=48), has_gpu=False)
    others = [
        (image_alone, make_config("osmis", 1, supervision="none"), "2 classes.* 1 class "),
        (square, config_from_plan(square, plan), "48×36 px.* 48×48 px"),
    ]
    for pair, config, words in others:
        error = resumed(pair, config)
        assert re.search(words, error.detail)
        assert "Resume with the pair" in error.hint


def test_of_the_same_pair_but_other_networks_it_is_of_another_version(
    scene: Pair,
    make_config: MakeConfig,
    recorder: Any,
    resumed: Callable[[Pair, TrainingConfig], CheckpointError],
) -> None:
    whole = Checkpoint.read(recorder.checkpoints[-1])
    names = sorted(whole.tensors)
    renamed = {**whole.tensors, "generator.former": torch.zeros(3)}
    widened = {name: t.repeat(2) if t.dim() == 1 else t for name, t in whole.tensors.items()}
    fewer = {name: whole.tensors[name] for name in names if not name.endswith("bias")}
    for tensors in (renamed, widened, fewer):
        replace(whole, tensors=tensors).write(recorder.checkpoints[-1])
        error = resumed(scene, make_config("osmis", 1))
        assert "another version of OnePair: train anew" in error.hint
        assert "pair that" not in error.hint


def test_losses_that_are_not_finite_end_the_training_with_a_hint(
    scene: Pair, make_config: MakeConfig, recorder: Any
) -> None:
    config = make_config("projected", 60, learning_rate=float("inf"))
    with pytest.raises(TrainingError) as caught:
        train(scene, config, recorder, options=SELDOM)
    assert caught.value.code == "diverged"
    assert caught.value.hint
    assert len(recorder.warnings) == MAX_ROLLBACKS


@pytest.mark.parametrize("method", ["projected", "osmis"])
def test_the_largest_seed_trains(
    method: str, scene: Pair, make_config: MakeConfig, recorder: Any
) -> None:
    config = replace(make_config(method, 2), seed=2**63 - 1)
    assert train(scene, config, recorder, options=SELDOM).step == 2


def test_no_checkpoint_is_made_of_a_network_that_has_diverged(
    scene: Pair, make_config: MakeConfig, recorder: Any
) -> None:
    with pytest.raises(TrainingError):
        train(scene, make_config("projected", 7, learning_rate=1e38), recorder, options=SELDOM)
    assert recorder.checkpoints == []


def test_the_averages_half_life_grows_with_the_run() -> None:
    assert ema_decay(0, 5, 0.05) == 0.5
    assert ema_decay(10_000_000, 5, 0.05) == pytest.approx(0.9999, abs=1e-6)
    decays = [ema_decay(n, 5, 0.05) for n in (100, 1000, 10_000)]
    assert decays == sorted(decays)
    assert decays[1] == pytest.approx(0.5 ** (5 / 50))


def test_100_samples_are_the_first_of_200_whatever_the_range(
    scene: Pair, make_config: MakeConfig, recorder: Any
) -> None:
    train(scene, make_config("projected", 2), recorder, options=SELDOM)
    sampler = Sampler(recorder.checkpoints[-1], "cpu")
    long = list(sampler.sample(9, range(20)))
    short = list(sampler.sample(9, range(11)))
    later = list(sampler.sample(9, range(13, 17)))
    for some, start in ((short, 0), (later, 13)):
        for i, sample in enumerate(some):
            assert (sample.image_HWC == long[start + i].image_HWC).all()
            assert (sample.mask_HWK == long[start + i].mask_HWK).all()
    other = next(iter(sampler.sample(10, range(1))))
    assert not (other.image_HWC == long[0].image_HWC).all()
    assert long[0].image_HWC.shape[:2] == (
        sampler.config.size.content_h,
        sampler.config.size.content_w,
    )
