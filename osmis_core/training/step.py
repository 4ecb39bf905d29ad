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
from osmis_core.layout_overlap import OverlapPenalty
from osmis_core.losses import Side, adversarial_loss, class_weights
from osmis_core.masks import argmax_one_hot
from osmis_core.models.attention import resize_mask
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
from osmis_core.training.captured import Captured
from osmis_core.training.config import TrainingConfig
from osmis_core.training.ema import ema_decay, update_ema
from osmis_core.training.fast_paths import FastPaths
from osmis_core.training.host_inputs import HostInputs
from osmis_core.training.look import Onlooker
from osmis_core.training.rates import learning_rates
from osmis_core.training.real_pairs import (
    ChosenPairs,
    RealPairs,
    SourcePairs,
    ViewPairs,
    source_tensors,
)
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
    """The networks of a training and their optimisers, and what else goes from step to step.

    Args:
        config: of the training.
        area_K: every class's share of the source.
        real_overlap: of the real pairs' layouts, in [0, 1]; more than that is penalised.
        device: where they compute.
    """

    def __init__(
        self, config: TrainingConfig, area_K: Tensor, real_overlap: float, device: torch.device
    ) -> None:
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
        self.overlap_penalty = OverlapPenalty(real_overlap)
        for network in (self.generator, self.discriminator, self.overlap_penalty):
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
        cuda_graphs: goes with no ``fast``: whether a GPU replays the step as a graph.
    """

    def __init__(
        self,
        pair: Pair,
        config: TrainingConfig,
        device: torch.device,
        fast: FastPaths | None = None,
        *,
        cuda_graphs: bool = True,
    ) -> None:
        self.config = config
        size = config.size
        pixels = size.train_h * size.train_w
        self.fast = fast or FastPaths.of(device, pixels, cuda_graphs=cuda_graphs)
        self.device = device
        source = source_tensors(pair, config.size)
        area_K = source[1].mean((1, 2))
        self.class_weights_K = class_weights(area_K, config.method).to(device)
        self.augmentation = AugmentationOptions(
            probability=config.augmentation_probability,
            geometry=config.geometric_augmentation,
        )
        self.real_pairs = self._real_pairs(pair, source)
        overlap = self.real_pairs.layout_overlap() if config.overlap_weight else 1.0
        self.networks = Networks(config, area_K, overlap, device)
        self.generator_weights = self.fast.prepare(self.networks.generator)
        self.discriminator_weights = self.fast.prepare(self.networks.discriminator)
        self.inputs = HostInputs(device)
        self._captured = (
            Captured(self._find_gradients, self.inputs, device) if self.fast.captured else None
        )
        self._step = 0
        self._real_mask_BKHW = source[1][None]

    def _real_pairs(self, pair: Pair, source: tuple[Tensor, Tensor]) -> RealPairs:
        config = self.config
        if not config.layout_views:
            return SourcePairs(
                source,
                config.batch_size,
                config.size.generator_blocks,
                self.augmentation,
                config.seed,
                self.device,
                same_shapes=self.fast.captured,
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
        self._step = step
        if self._captured is None:
            self.inputs.begin(rng)
            losses = self._find_gradients()
        else:
            losses = self._captured.run(rng, kind=self._is_sampling_over())
        nets.adam_generator.step()
        nets.adam_discriminator.step()
        samples_seen = (step + 1) * self.config.batch_size
        decay = ema_decay(samples_seen, self.config.batch_size, self.config.ema_ramp)
        update_ema(nets.average, nets.generator, decay)
        return StepLosses(*losses)

    def _find_gradients(self) -> list[Tensor]:
        """Both networks' gradients; all that changes from step to step comes from ``inputs``.

        Returns:
            The values of ``StepLosses``.
        """
        nets = self.networks
        self.generator_weights.renew()
        self.discriminator_weights.renew()
        with self._autocast():
            percept, mask_BKHW, made = self._generate()
            spread = -diversity_loss(made.features_BCHW)
        sameness = self._sameness(spread, made.mask_BKHW)
        shown = [x.detach().requires_grad_() for x in (*percept, mask_BKHW)]
        judged, judged_real = self._judge(shown)
        fooled = self._loss(judged, "generator")
        gradients = self._gradients(fooled, shown)
        if not (self.fast.judged_once or judged_real):
            judged, _ = self._judge(shown)
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
        torch.autograd.backward(from_discriminator + sameness)
        del made, percept, mask_BKHW, taught, from_discriminator, sameness
        self.generator_weights.hand_back()
        if not self.fast.together:
            real = self._learn_real_pairs()
        self.discriminator_weights.hand_back()
        return [loss.detach() for loss in (fooled, real, fake, spread)]

    def _generate(self) -> tuple[list[Tensor], Tensor, GeneratorOutput]:
        """A batch of generated pairs as the discriminator perceives them."""
        made = self.networks.generator(self.inputs.take(self._draw_latents))
        mask_BKHW = straight_through(made.mask_BKHW, self._hard_mask(made.mask_BKHW))
        batch, _, height, width = mask_BKHW.shape
        drawn = self.inputs.take(
            lambda rng: draw(
                self.augmentation,
                batch,
                height,
                width,
                rng,
                same_shapes=self.fast.captured,
            )
        )
        images = augment_images(made.images_BCHW, drawn)
        percept = self.networks.discriminator.perceive(images)
        return percept, augment_mask(mask_BKHW, drawn), made

    def _sameness(self, spread: Tensor, mask_BKHW: Tensor) -> Tensor:
        """The generator's loss for samples that are alike, in features and in layout."""
        loss = -self.config.diversity_weight * spread
        if self.config.overlap_weight:
            penalty: Tensor = self.networks.overlap_penalty(mask_BKHW)
            loss = loss + self.config.overlap_weight * penalty
        return loss

    def _draw_latents(self, _: torch.Generator) -> Tensor:
        batch = self.config.batch_size
        indices = range(self._step * batch, (self._step + 1) * batch)
        return draw_latents(self.config.generator, self.config.seed + 1, indices)

    def _hard_mask(self, soft_BKHW: Tensor) -> Tensor:
        """Drawn from the soft mask, or, past P₀, its likeliest classes."""
        if self._is_sampling_over():
            return argmax_one_hot(soft_BKHW)
        batch, classes, height, width = soft_BKHW.shape
        is_categorical = self.config.method == "projected"
        shape = (batch, 1 if is_categorical else classes, height, width)
        uniform = self.inputs.take(lambda rng: torch.rand(shape, generator=rng))
        return (categorical_one_hot if is_categorical else bernoulli_mask)(soft_BKHW, uniform)

    def _is_sampling_over(self) -> bool:
        return self.config.steps is not None and self._step >= self.config.mask_sampling_steps

    def _judge(self, shown: list[Tensor]) -> tuple[Judgement, Judgement | None]:
        """Decisions on what was perceived of generated images, and their masks, the last.

        Returns:
            And on a batch of real pairs, where both are judged together.
        """
        discriminator, batch = self.networks.discriminator, self.config.batch_size
        with self._autocast():
            if not self.fast.together:
                return discriminator.judge(shown[:-1], shown[-1]), None
            percept, mask_BKHW = self._real_batch()
            both = [torch.cat(pair) for pair in zip(shown, (*percept, mask_BKHW), strict=True)]
            augmentation = self._feature_augmentation(first=batch)
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

    def _learn_real_pairs(self) -> Tensor:
        """Adds the gradients of the discriminator's loss on real pairs; its value."""
        with self._autocast():
            percept, mask_BKHW = self._real_batch()
            augmentation = self._feature_augmentation()
            judged = self.networks.discriminator.judge(percept, mask_BKHW, augmentation)
        real = self._loss(judged, "real")
        torch.autograd.backward(real, inputs=self.discriminator_weights.leaves)
        return real

    def _real_batch(self) -> tuple[list[Tensor], Tensor]:
        """What the discriminator perceives of real images, and their masks."""
        chosen = self.inputs.take(self._choose_real_pairs)
        return self.real_pairs.show(chosen), chosen.mask_BKHW

    def _choose_real_pairs(self, _: torch.Generator) -> ChosenPairs:
        with self._autocast():
            chosen = self.real_pairs.choose(self._step)
        self._real_mask_BKHW = chosen.mask_BKHW
        return chosen

    def _feature_augmentation(self, first: int = 0) -> FeatureAugmentation:
        return FeatureAugmentation(
            self.config.feature_augmentation_probability,
            self.inputs.take,
            move_layout=self.config.layout_feature_augmentation,
            first=first,
            real_masks=lambda height, width: resize_mask(self._real_mask_BKHW, height, width),
        )

    def _autocast(self) -> AbstractContextManager[None]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.fast.bfloat16)
