"""One optimisation step: the generator against a frozen discriminator, then the discriminator.

The generated pairs of the generator's step are shown, detached, to the discriminator too; for
``projected`` so are their frozen features, which are computed once.
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
from osmis_core.losses import adversarial_loss, class_weights, diversity_loss
from osmis_core.models.discriminator import DiscriminatorConfig, OsmisDiscriminator
from osmis_core.models.generator import Generator, GeneratorOutput, draw_latents
from osmis_core.models.projected import ProjectedDiscriminator
from osmis_core.models.spectral import update_spectral_norms
from osmis_core.models.straight_through import (
    argmax_one_hot,
    bernoulli_mask,
    categorical_one_hot,
    straight_through,
)
from osmis_core.models.supervision.choice import osmis_supervision, projected_supervision
from osmis_core.precision import has_fast_bfloat16
from osmis_core.training.config import TrainingConfig
from osmis_core.training.ema import ema_decay, update_ema
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
            )
            supervision = osmis_supervision(config.mask_supervision, shape)
            self.discriminator = OsmisDiscriminator(shape, area_K, supervision)
        for network in (self.generator, self.discriminator):
            network.to(device)
        self.average = copy.deepcopy(self.generator).requires_grad_(requires_grad=False)
        self.trainable = [p for p in self.discriminator.parameters() if p.requires_grad]
        self.adam_generator = torch.optim.Adam(
            self.generator.parameters(), config.learning_rate, config.betas, fused=True
        )
        self.adam_discriminator = torch.optim.Adam(
            self.trainable, config.learning_rate, config.betas, fused=True
        )

    def freeze_discriminator(self, *, frozen: bool) -> None:
        """Whether the discriminator's weights gather gradients."""
        for parameter in self.trainable:
            parameter.requires_grad_(not frozen)


class Optimisation:
    """Runs optimisation steps on one pair.

    Args:
        pair: the source.
        config: ``steps`` must be known for the mask phase; until then it counts as not over.
        device: where to compute.
    """

    def __init__(self, pair: Pair, config: TrainingConfig, device: torch.device) -> None:
        self.config = config
        self.device = device
        source = source_tensors(pair, config.size)
        area_K = source[1].mean((1, 2))
        self.class_weights_K = class_weights(area_K, config.method).to(device)
        self.networks = Networks(config, area_K, device)
        self.augmentation = AugmentationOptions(
            probability=config.augmentation_probability,
            geometry=config.geometric_augmentation,
        )
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

    def run(self, step: int) -> StepLosses:
        """Step number ``step``, from 0; all randomness comes from the seed and the step."""
        rng = stream(self.config.seed, FAKE_STREAM, step)
        nets = self.networks
        nets.freeze_discriminator(frozen=True)
        update_spectral_norms(nets.generator)
        update_spectral_norms(nets.discriminator)
        with self._autocast():
            percept, mask_BKHW, made = self._generate(step, rng)
            judged = nets.discriminator.judge(percept, mask_BKHW)
            fooled = adversarial_loss(judged, "generator", self.class_weights_K).total
            spread = -diversity_loss(made.features_BCHW)
        nets.adam_generator.zero_grad(set_to_none=True)
        torch.autograd.backward(fooled - self.config.diversity_weight * spread)
        nets.adam_generator.step()
        nets.freeze_discriminator(frozen=False)
        real, fake = self._discriminate(
            [p.detach() for p in percept], mask_BKHW.detach(), step, rng
        )
        samples_seen = (step + 1) * self.config.batch_size
        decay = ema_decay(samples_seen, self.config.batch_size, self.config.ema_ramp)
        update_ema(nets.average, nets.generator, decay)
        return StepLosses(fooled.detach(), real, fake, spread.detach())

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

    def _discriminate(
        self, fake_percept: list[Tensor], fake_mask_BKHW: Tensor, step: int, rng: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        nets, config = self.networks, self.config
        augmentation = FeatureAugmentation(
            config.feature_augmentation_probability,
            rng,
            move_layout=config.layout_feature_augmentation,
        )
        nets.adam_discriminator.zero_grad(set_to_none=True)
        with self._autocast():
            real_percept, real_mask_BKHW = self.real_pairs.batch(step)
            real = adversarial_loss(
                nets.discriminator.judge(real_percept, real_mask_BKHW, augmentation),
                "real",
                self.class_weights_K,
            ).total
        torch.autograd.backward(real)  # one graph at a time: half the memory
        with self._autocast():
            fake = adversarial_loss(
                nets.discriminator.judge(fake_percept, fake_mask_BKHW),
                "fake",
                self.class_weights_K,
            ).total
        torch.autograd.backward(fake)
        nets.adam_discriminator.step()
        return real.detach(), fake.detach()

    def _autocast(self) -> AbstractContextManager[None]:
        return torch.autocast(
            self.device.type, torch.bfloat16, enabled=has_fast_bfloat16(self.device)
        )
