"""The training plan: what a job will do, decided without loading the method itself."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

from osmis_core.data.estimates import job_seconds, step_seconds
from osmis_core.data.pair import IGNORE, Notice, Pair
from osmis_core.data.presets import PRESETS, Method, PresetName
from osmis_core.data.size_plan import (
    ASPECT_TOLERANCE,
    MAX_SIDE_PX,
    MIN_SIDE_PX,
    SizePlan,
    plan_size,
)
from osmis_core.data.supervision import (
    LOW_LEVEL_BLOCKS,
    MaskSupervisionName,
    check_low_level_blocks,
    check_supervision,
)
from osmis_core.errors import OsmisError, PairError

FOREGROUND_PX = 600
"""At training size: what all objects together should cover (ADR 9)."""
FINER_FROM_STEPS = 2000
"""Fewer steps are spent better at the preset's own size."""


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What the user may choose.

    Attributes:
        method: ``projected`` (frozen features) or ``osmis`` (as published); the preset's if None.
        preset: sets length and size.
        max_size: upper bound in pixels for the longest side of the training frame.
        output_size: ``native``, ``train`` or ``WxH`` in pixels.
        iterations: training steps; where given, no time budget applies.
        max_runtime_seconds: the training's time budget, instead of the preset's.
        seed: of everything random.
        allow_slow: train the paper preset without a GPU although it takes days.
        mask_supervision: what the discriminator does with masks; ``none`` for an image alone.
        low_level_blocks: of the published discriminator, 1 to 5; the size plan's if None.
    """

    method: Method | None = None
    preset: PresetName = "standard"
    max_size: int | None = None
    output_size: str = "native"
    iterations: int | None = None
    max_runtime_seconds: int | None = None
    seed: int = 0
    allow_slow: bool = False
    mask_supervision: MaskSupervisionName = "mca"
    low_level_blocks: int | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """What will be done.

    Attributes:
        method: which discriminator is trained.
        preset: the preset it came from.
        size: training size and blocks.
        coarser: the preset's own size, trained at instead where a time budget turns out to leave
            too few steps at ``size``; None: ``size`` stands.
        output_h: height of the delivered images in pixels.
        output_w: width of the delivered images in pixels.
        iterations: planned steps; None where the time budget decides.
        training_seconds: time budget of the training; None where ``iterations`` decides.
        estimated_seconds: whole job, the default set of 100 samples included; an estimate.
        seed: of everything random.
        mask_supervision: what the discriminator does with masks.
        low_level_blocks: where they are not the size plan's.
        notices: what the user should know.
    """

    method: Method
    preset: PresetName
    size: SizePlan
    output_h: int
    output_w: int
    iterations: int | None
    training_seconds: float | None
    estimated_seconds: float
    seed: int
    coarser: SizePlan | None = None
    mask_supervision: MaskSupervisionName = "mca"
    low_level_blocks: int | None = None
    notices: tuple[Notice, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain JSON values."""
        return {**asdict(self), "notices": [asdict(notice) for notice in self.notices]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainingPlan:
        """The inverse of ``to_dict``."""
        coarser = values.get("coarser")
        nested = {
            "size": SizePlan.from_dict(values["size"]),
            "coarser": coarser and SizePlan.from_dict(coarser),
            "notices": tuple(Notice(**notice) for notice in values["notices"]),
        }
        return cls(**{**values, **nested})


def plan_training(
    pair: Pair, options: TrainingOptions, *, has_gpu: bool, max_output_px: int = MAX_SIDE_PX
) -> TrainingPlan:
    """Turns a pair and the user's options into a plan.

    Args:
        pair: the pair as read.
        options: what the user chose.
        has_gpu: whether the worker has one.
        max_output_px: longest side of what may be delivered.

    Returns:
        The plan; what the pair's reader noticed is not repeated in its notices.

    Raises:
        OsmisError: ``bad_option``, ``bad_output_size``, ``needs_osmis`` or
            ``too_many_low_level_blocks``.
        PairError: ``needs_gpu``, ``too_small``, ``bad_aspect``, ``mask_missing`` or
            ``mask_not_used``.
    """
    _check_options(options)
    preset = PRESETS[options.preset]
    method = options.method or preset.method
    check_supervision(pair, options.mask_supervision, method)
    size, coarser = _choose_size(pair, options, method, has_gpu=has_gpu)
    check_low_level_blocks(options.low_level_blocks, method, size)
    notices = _size_notices(options, size)
    (output_h, output_w), output_notices = _output_size(
        pair, size, options.output_size, max_output_px
    )
    iterations, training_seconds = _length(options)
    if iterations is not None and options.max_runtime_seconds is not None:
        notices.append(
            Notice(
                code="max_runtime_ignored",
                detail="Both iterations and max_runtime_seconds were given; iterations decide.",
            )
        )
    plan = TrainingPlan(
        method=method,
        preset=options.preset,
        size=size,
        coarser=coarser,
        output_h=output_h,
        output_w=output_w,
        iterations=iterations,
        training_seconds=training_seconds,
        estimated_seconds=0.0,
        seed=options.seed,
        mask_supervision=options.mask_supervision,
        low_level_blocks=options.low_level_blocks,
        notices=(*notices, *output_notices),
    )
    plan = replace(plan, estimated_seconds=estimate_seconds(plan, has_gpu=has_gpu))
    if preset.needs_gpu and not has_gpu and options.iterations is None and not options.allow_slow:
        raise _needs_gpu(plan)
    return plan


def estimate_seconds(plan: TrainingPlan, *, has_gpu: bool) -> float:
    """Estimated seconds for the whole job: training, then 100 samples refined and scored."""
    return job_seconds(
        plan.method,
        train_px=plan.size.train_h * plan.size.train_w,
        output_px=plan.output_h * plan.output_w,
        iterations=plan.iterations,
        training_seconds=plan.training_seconds,
        has_gpu=has_gpu,
    )


def _choose_size(
    pair: Pair, options: TrainingOptions, method: Method, *, has_gpu: bool
) -> tuple[SizePlan, SizePlan | None]:
    """The preset's size, or a larger one for small objects where there are steps to learn it.

    With what to fall back to where the number of steps is an estimate.
    """
    preset = PRESETS[options.preset]
    longest_px = options.max_size or preset.longest_px
    size = plan_size(pair.height, pair.width, longest_px=longest_px, shorter_px=preset.shorter_px)
    if method == "osmis" or preset.shorter_px is None or preset.finest_shorter_px is None:
        return size, None
    foreground_px = int(((pair.mask_HW > 0) & (pair.mask_HW != IGNORE)).sum())
    if foreground_px == 0:
        return size, None
    wanted_px = round(math.sqrt(FOREGROUND_PX / foreground_px) * min(pair.height, pair.width))
    if wanted_px <= preset.shorter_px:
        return size, None
    finer_px = min(wanted_px, preset.finest_shorter_px)
    finer = plan_size(pair.height, pair.width, longest_px=longest_px, shorter_px=finer_px)
    steps, budget_seconds = _length(options)
    coarser = None
    if steps is None and budget_seconds is not None:
        train_px = finer.train_h * finer.train_w
        steps = int(budget_seconds / step_seconds(method, train_px, has_gpu=has_gpu))
        coarser = size
    if steps is None or steps < FINER_FROM_STEPS or finer == size:
        return size, None
    return finer, coarser


def _check_options(options: TrainingOptions) -> None:
    problems = {
        "preset": options.preset not in PRESETS,
        "method": options.method is not None and options.method not in get_args(Method),
        "max_size": options.max_size is not None
        and not MIN_SIDE_PX <= options.max_size <= MAX_SIDE_PX,
        "iterations": options.iterations is not None and options.iterations < 1,
        "max_runtime_seconds": options.max_runtime_seconds is not None
        and options.max_runtime_seconds < 1,
        "seed": not 0 <= options.seed < 2**63,
        "mask_supervision": options.mask_supervision not in get_args(MaskSupervisionName),
        "low_level_blocks": options.low_level_blocks is not None
        and options.low_level_blocks not in LOW_LEVEL_BLOCKS,
    }
    for name, is_wrong in problems.items():
        if is_wrong:
            raise OsmisError(
                f"{name} can't be {getattr(options, name)!r}",
                hint=f"max_size is {MIN_SIDE_PX}–{MAX_SIDE_PX} pixels; iterations, "
                "max_runtime_seconds are at least 1; the seed is not negative; low_level_blocks "
                f"is {LOW_LEVEL_BLOCKS[0]}–{LOW_LEVEL_BLOCKS[-1]}.",
                code="bad_option",
            )


def _length(options: TrainingOptions) -> tuple[int | None, float | None]:
    """Steps or seconds: exactly one of them decides."""
    if options.iterations is not None:
        return options.iterations, None
    if options.max_runtime_seconds is not None:
        return None, float(options.max_runtime_seconds)
    preset = PRESETS[options.preset]
    return preset.iterations, preset.training_seconds


def _size_notices(options: TrainingOptions, size: SizePlan) -> list[Notice]:
    longest_px = max(size.train_h, size.train_w)
    if options.max_size is None or longest_px <= options.max_size:
        return []
    return [
        Notice(
            code="max_size_raised",
            detail=f"max_size={options.max_size} would leave too little of the shorter side; "
            f"training at {size.train_w}×{size.train_h}.",
        )
    ]


def _output_size(
    pair: Pair, size: SizePlan, wanted: str, max_output_px: int
) -> tuple[tuple[int, int], list[Notice]]:
    """Height and width of the deliverables."""
    if wanted == "train":
        return (size.content_h, size.content_w), []
    height, width = pair.height, pair.width
    if wanted != "native":
        height, width = _parse_output_size(pair, wanted)
    longest = max(height, width)
    if longest <= max_output_px:
        return (height, width), []
    scale = max_output_px / longest
    scaled = max(1, round(height * scale)), max(1, round(width * scale))
    notice = Notice(
        code="downscaled",
        detail=f"{width}×{height} is larger than this service delivers; the pairs will have "
        f"{scaled[1]}×{scaled[0]} pixels.",
    )
    return scaled, [notice]


def _parse_output_size(pair: Pair, wanted: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d{0,4})[x×]([1-9]\d{0,4})", wanted)
    example = f"{pair.width}x{pair.height}"
    if match is None:
        raise OsmisError(
            f"output_size can't be {wanted!r}",
            hint=f"Use native, train, or width x height in pixels, such as {example}.",
            code="bad_output_size",
        )
    width, height = int(match[1]), int(match[2])
    # Half a pixel on the shorter side is rounding, not a change of aspect.
    tolerance = ASPECT_TOLERANCE + 0.5 / min(height, width)
    if abs(math.log(width * pair.height / (height * pair.width))) > tolerance:
        raise OsmisError(
            f"output_size {wanted} has another aspect than the image ({example})",
            hint=f"For a width of {width} the height is {round(width * pair.height / pair.width)}.",
            code="bad_output_size",
        )
    if min(height, width) < MIN_SIDE_PX:
        raise OsmisError(
            f"output_size {wanted} is below {MIN_SIDE_PX} pixels",
            hint=f"Use native ({example}) or anything down to {MIN_SIDE_PX} pixels a side.",
            code="bad_output_size",
        )
    return height, width


def _needs_gpu(plan: TrainingPlan) -> PairError:
    days = plan.estimated_seconds / 86_400
    return PairError(
        f"the paper preset would take about {days:.1f} days here: this service has no GPU",
        hint="Use preset=standard (about ten minutes), or say how long you will wait with "
        "iterations, or set allow_slow=true.",
        code="needs_gpu",
    )
