"""One optimisation step: the generator against a frozen discriminator, then the discriminator.

Both learn from the same generated pairs, which the discriminator judges once: its weights do not
change in between, so the generator's loss and its own start from the same decisions.
"""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from osmis_core.augment.differentiable import (
    AugmentationOptions,
    augment_images,
    augment_mask,
    draw,
)
from osmis_core.augment.features import FeatureAugmentation
from osmis_core.data.pair import Pair
from osmis_core.diversity import diversity_loss
from osmis_core.gradients import going_on
from osmis_core.losses import Side, adversarial_loss, class_weights
from osmis_core.masks import argmax_one_hot
from osmis_core.models.discriminator import DiscriminatorConfig, OsmisDiscriminator
from osmis_core.models.generator import Generator, GeneratorOutput, draw_latents
from osmis_core.models.judgement import Judgement
from osmis_core.models.projected import ProjectedDiscriminator
from osmis_core.models.straight_through import (
    bernoulli_mask,
    categorical_one_hot,
    straight_through,
)
from osmis_core.models.supervision.choice import osmis_supervision, projected_supervision
from osmis_core.training.adam import Adam
from osmis_core.training.config import TrainingConfig
from osmis_core.training.ema import ema_decay, update_ema
from osmis_core.training.fast_paths import Compiled, FastPaths
from osmis_core.training.look import Onlooker
from osmis_core.training.rates import learning_rates
from osmis_core.training.real_pairs import RealPairs, SourcePairs, ViewPairs, source_tensors
from osmis_core.training.seeds import stream

FAKE_STREAM = 5


@dataclass(frozen=True)
class StepLosses:
    """Scalars of one step, still on the device."""

    generator: Tensor
    discriminator_real: Tensor
    discriminator_fake: Tensor
    spread: Tensor

    def to_floats(self) -> dict[str, float]:
        """By name, for people; waits for the device."""
        return {name: float(value) for name, value in vars(self).items()}


class Networks:
    """The three networks of a training and their optimisers."""

    def __init__(self, config: TrainingConfig, area_K: Tensor, device: torch.device) -> None:
        torch.manual_seed(config.seed)
        self.generator = Generator(config.generator)
        self.discriminator: OsmisDiscriminator | ProjectedDiscriminator
        if config.method == "projected":
            supervision = projected_supervision(config.mask_supervision, config.class_count)
            self.discriminator = ProjectedDiscriminator(config.class_count, area_K, supervision)
        else:
            shape = DiscriminatorConfig(
                class_count=config.class_count,
                blocks=config.size.discriminator_blocks,
                low_level_blocks=config.low_level_blocks or config.size.low_level_blocks,
                masked_mean=config.masked_mean,
            )
            supervision = osmis_supervision(config.mask_supervision, shape)
            self.discriminator = OsmisDiscriminator(shape, area_K, supervision)
        for network in (self.generator, self.discriminator):
            network.to(device)
        self.average = copy.deepcopy(self.generator).requires_grad_(requires_grad=False)
        self.trainable = [p for p in self.discriminator.parameters() if p.requires_grad]
        self.learning_rate = config.learning_rate
        self.adam_generator = Adam(
            self.generator.parameters(), self.learning_rate, config.betas, fused=True
        )
        self.adam_discriminator = Adam(self.trainable, self.learning_rate, config.betas, fused=True)

    def set_rates(self, config: TrainingConfig, step: int) -> None:
        """Both optimisers' for one step; ``learning_rate`` is their height."""
        rates = learning_rates(config, step, self.learning_rate)
        for adam, rate in zip((self.adam_generator, self.adam_discriminator), rates, strict=True):
            for group in adam.param_groups:
                group["lr"] = rate


class Optimisation:
    """Runs optimisation steps on one pair.

    Args:
        pair: the source.
        config: ``steps`` must be known for the mask phase; until then it counts as not over.
        device: where to compute.
        fast: which of the faster ways are taken; those that suit the device if None.
        compiled: goes with no ``fast``: the generator's, on a GPU.
    """

    def __init__(
        self,
        pair: Pair,
        config: TrainingConfig,
        device: torch.device,
        fast: FastPaths | None = None,
        *,
        compiled: Compiled = "no",
    ) -> None:
        self.config = config
        size = config.size
        self.fast = fast or FastPaths.of(device, size.train_h * size.train_w, compiled=compiled)
        self.device = device
        source = source_tensors(pair, config.size)
        area_K = source[1].mean((1, 2))
        self.class_weights_K = class_weights(area_K, config.method).to(device)
        self.networks = Networks(config, area_K, device)
        self.generator_weights = self.fast.prepare(self.networks.generator)
        self.discriminator_weights = self.fast.prepare(self.networks.discriminator)
        self.augmentation = AugmentationOptions(
            probability=config.augmentation_probability,
            geometry=config.geometric_augmentation,
        )
        self._has_run = False
        self.real_pairs = self._real_pairs(pair, (source[0].to(device), source[1].to(device)))

    def _real_pairs(self, pair: Pair, source: tuple[Tensor, Tensor]) -> RealPairs:
        config = self.config
        if not config.layout_views:
            return SourcePairs(
                source,
                config.batch_size,
                config.size.generator_blocks,
                self.augmentation,
                config.seed,
            )
        return ViewPairs(
            pair,
            config.size,
            batch_size=config.batch_size,
            perceive=lambda images: self.networks.discriminator.perceive(
                [image.to(self.device) for image in images]
            ),
            seed=config.seed,
        )

    def onlooker(self) -> Onlooker | None:
        """Who looks at this training's samples; None where it is shown no views to compare with."""
        if not isinstance(self.real_pairs, ViewPairs):
            return None

        def perceive(images: list[Tensor]) -> list[Tensor]:
            with self._autocast():
                return self.networks.discriminator.perceive(images)

        return Onlooker(perceive, self.real_pairs.views, self.config, self.device)

    def run(self, step: int) -> StepLosses:
        """Step number ``step``, from 0; all randomness comes from the seed and the step."""
        rng = stream(self.config.seed, FAKE_STREAM, step)
        nets = self.networks
        nets.set_rates(self.config, step)
        self.generator_weights.renew()
        self.discriminator_weights.renew()
        with self._autocast():
            percept, mask_BKHW, made = self._generate(step, rng)
            spread = -diversity_loss(made.features_BCHW)
        shown = [x.detach().requires_grad_() for x in (*percept, mask_BKHW)]
        judged, judged_real = self._judge(shown, step, rng)
        fooled = self._loss(judged, "generator")
        gradients = self._gradients(fooled, shown)
        if not (self.fast.judged_once or judged_real):
            judged, _ = self._judge(shown, step, rng)
        # before the generator learns: one graph less while its own is walked
        nets.adam_discriminator.zero_grad(set_to_none=True)
        fake = self._loss(judged, "fake")
        real = self._loss(judged_real, "real") if judged_real else fake.new_zeros(())
        torch.autograd.backward(fake + real, inputs=self.discriminator_weights.leaves)
        del judged, judged_real
        taught = [
            (x, gradient)
            for x, gradient in zip((*percept, mask_BKHW), gradients, strict=True)
            if gradient is not None and x.requires_grad
        ]
        nets.adam_generator.zero_grad(set_to_none=True)
        from_discriminator = going_on([x for x, _ in taught], [g for _, g in taught])
        torch.autograd.backward(from_discriminator - self.config.diversity_weight * spread)
        del made, percept, mask_BKHW, taught, from_discriminator
        self.generator_weights.hand_back()
        nets.adam_generator.step()
        if not self.fast.together:
            real = self._learn_real_pairs(step, rng)
        self.discriminator_weights.hand_back()
        nets.adam_discriminator.step()
        samples_seen = (step + 1) * self.config.batch_size
        decay = ema_decay(samples_seen, self.config.batch_size, self.config.ema_ramp)
        update_ema(nets.average, nets.generator, decay)
        if not self._has_run:
            self._has_run = True
            self.fast.compile(nets.generator)
        return StepLosses(fooled.detach(), real.detach(), fake.detach(), spread.detach())

    def _generate(
        self, step: int, rng: torch.Generator
    ) -> tuple[list[Tensor], Tensor, GeneratorOutput]:
        """A batch of generated pairs as the discriminator perceives them."""
        batch = self.config.batch_size
        first = step * batch
        latents = draw_latents(
            self.config.generator, self.config.seed + 1, range(first, first + batch)
        )
        made = self.networks.generator(latents.to(self.device))
        soft_BKHW = made.mask_BKHW
        if self.config.steps is not None and step >= self.config.mask_sampling_steps:
            hard_BKHW = argmax_one_hot(soft_BKHW)
        elif self.config.method == "projected":
            hard_BKHW = categorical_one_hot(soft_BKHW, rng)
        else:
            hard_BKHW = bernoulli_mask(soft_BKHW, rng)
        mask_BKHW = straight_through(soft_BKHW, hard_BKHW)
        height, width = mask_BKHW.shape[2:]
        drawn = draw(self.augmentation, batch, height, width, rng)
        images = augment_images(made.images_BCHW, drawn)
        percept = self.networks.discriminator.perceive(images)
        return percept, augment_mask(mask_BKHW, drawn), made

    def _judge(
        self, shown: list[Tensor], step: int, rng: torch.Generator
    ) -> tuple[Judgement, Judgement | None]:
        """Decisions on what was perceived of generated images, and their masks, the last.

        Returns:
            And on a batch of real pairs, where both are judged together.
        """
        discriminator, batch = self.networks.discriminator, self.config.batch_size
        with self._autocast():
            if not self.fast.together:
                return discriminator.judge(shown[:-1], shown[-1]), None
            percept, mask_BKHW = self.real_pairs.batch(step)
            both = [torch.cat(pair) for pair in zip(shown, (*percept, mask_BKHW), strict=True)]
            augmentation = self._feature_augmentation(rng, first=batch)
            judged = discriminator.judge(both[:-1], both[-1], augmentation, group=batch)
        fake, real = judged.split(batch)
        return fake, real

    def _loss(self, judged: Judgement, side: Side) -> Tensor:
        with self._autocast():
            return adversarial_loss(judged, side, self.class_weights_K).total

    def _gradients(self, fooled: Tensor, shown: list[Tensor]) -> tuple[Tensor | None, ...]:
        """Of the generator's loss in what the discriminator was shown; its weights get none."""
        wanted = shown if self.fast.frozen else [*shown, *self.discriminator_weights.leaves]
        found = torch.autograd.grad(
            fooled,
            wanted,
            retain_graph=self.fast.judged_once or self.fast.together,
            allow_unused=True,
        )
        return found[: len(shown)]

    def _learn_real_pairs(self, step: int, rng: torch.Generator) -> Tensor:
        """Adds the gradients of the discriminator's loss on real pairs; its value."""
        with self._autocast():
            percept, mask_BKHW = self.real_pairs.batch(step)
            augmentation = self._feature_augmentation(rng)
            judged = self.networks.discriminator.judge(percept, mask_BKHW, augmentation)
        real = self._loss(judged, "real")
        torch.autograd.backward(real, inputs=self.discriminator_weights.leaves)
        return real

    def _feature_augmentation(self, rng: torch.Generator, first: int = 0) -> FeatureAugmentation:
        return FeatureAugmentation(
            self.config.feature_augmentation_probability,
            rng,
            move_layout=self.config.layout_feature_augmentation,
            first=first,
        )

    def _autocast(self) -> AbstractContextManager[None]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.fast.bfloat16)
