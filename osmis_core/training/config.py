"""What one training is made of: everything that decides its result, as plain JSON-able values."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from osmis_core.data.pair import Pair
from osmis_core.data.plan import TrainingPlan
from osmis_core.data.size_plan import SizePlan
from osmis_core.data.supervision import MaskSupervisionName
from osmis_core.models.generator import GeneratorConfig

Method = Literal["projected", "osmis"]


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """All that decides a training's result, with the pair.

    Attributes:
        method: which discriminator: on frozen features, or as published.
        size: training size and blocks.
        coarser: trained at instead where the calibration finds too few steps for ``size``; None
            where that is decided.
        class_count: K, background included; 1: images alone.
        mask_supervision: what the discriminator does with masks.
        low_level_blocks: of the published discriminator; the size plan's if None.
        seed: of everything random.
        steps: planned steps; None until the calibration has turned the time budget into steps.
        budget_seconds: the time budget that ``steps`` comes from, if any.
        batch_size: B.
        learning_rate: Adam's, at its height.
        discriminator_warm_up: steps in which the discriminator's rises from a quarter of it.
        rate_decay_share: of the planned steps, the last, in which both rates fall.
        betas: Adam's.
        diversity_weight: λ, at an adversarial weight of 1.
        overlap_weight: of the penalty on layouts that repeat more than views' do, at its height.
        augmentation_probability: p of each differentiable augmentation of both sides.
        geometric_augmentation: whether the differentiable augmentation moves pixels, too.
        feature_augmentation_probability: p of each feature augmentation of real pairs.
        layout_feature_augmentation: whether layout features are among them.
        layout_views: real pairs are views of the source with its objects elsewhere.
        mask_sampling_share: P₀ as a share of the planned steps.
        width_multiplier: of the generator.
        masked_mean: content vectors divided by the class's area instead of by all positions;
            ``projected`` knows no other.
        noise_map: one latent a grid cell beside z.
        ema_ramp: half-life of the generator's average, as a share of the samples seen.
    """

    method: Method
    size: SizePlan
    class_count: int
    coarser: SizePlan | None = None
    mask_supervision: MaskSupervisionName = "mca"
    low_level_blocks: int | None = None
    seed: int = 0
    steps: int | None = None
    budget_seconds: float | None = None
    batch_size: int = 5
    learning_rate: float = 2e-4
    discriminator_warm_up: int = 0
    rate_decay_share: float = 0.0
    betas: tuple[float, float] = (0.5, 0.999)
    diversity_weight: float = 0.5
    overlap_weight: float = 0.0
    augmentation_probability: float = 0.3
    geometric_augmentation: bool = True
    feature_augmentation_probability: float = 0.4
    layout_feature_augmentation: bool = True
    layout_views: bool = False
    mask_sampling_share: float = 0.1
    width_multiplier: float = 1.0
    masked_mean: bool = False
    noise_map: bool = False
    ema_ramp: float = 0.05

    @property
    def generator(self) -> GeneratorConfig:
        """The generator's shape."""
        return GeneratorConfig(
            class_count=self.class_count,
            grid_h=self.size.grid_h,
            grid_w=self.size.grid_w,
            blocks=self.size.generator_blocks,
            width_multiplier=self.width_multiplier,
            noise_map=self.noise_map,
            multi_scale=self.method == "osmis",
        )

    @property
    def mask_sampling_steps(self) -> int:
        """P₀ in steps: before it the discriminator sees drawn masks, after it argmax."""
        return round(self.mask_sampling_share * (self.steps or 0))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainingConfig:
        """The inverse of ``to_dict``."""
        known = {f.name for f in fields(cls)}
        plain = {k: v for k, v in values.items() if k in known}
        size = SizePlan.from_dict(plain.pop("size"))
        coarser = plain.pop("coarser", None)
        nested = {"size": size, "coarser": coarser and SizePlan.from_dict(coarser)}
        return cls(**{**plain, **nested, "betas": tuple(plain["betas"])})


PROJECTED: dict[str, Any] = {
    "learning_rate": 4e-4,
    "discriminator_warm_up": 400,
    "rate_decay_share": 0.3,
    "betas": (0.0, 0.99),
    "overlap_weight": 2.0,
    "augmentation_probability": 0.0,
    "geometric_augmentation": False,
    "layout_feature_augmentation": False,
    "layout_views": True,
    "masked_mean": True,
    "mask_sampling_share": 0.3,
    "width_multiplier": 0.5,
}
"""What ``projected`` changes; ``osmis`` is the defaults, as published."""


def config_from_plan(pair: Pair, plan: TrainingPlan, **overrides: Any) -> TrainingConfig:
    """The method's settings for this pair and plan; ``overrides`` are for experiments."""
    method_settings = PROJECTED if plan.method == "projected" else {}
    return TrainingConfig(
        **{
            "method": plan.method,
            "size": plan.size,
            "coarser": plan.coarser,
            "class_count": pair.class_count,
            "mask_supervision": plan.mask_supervision,
            "low_level_blocks": plan.low_level_blocks,
            "seed": plan.seed,
            "steps": plan.iterations,
            "budget_seconds": plan.training_seconds,
            **method_settings,
            **overrides,
        }
    )
