"""The adversarial losses over three parts.

The adversarial loss is ¼ (L_object + L_layout + 2 L_low), each part the mean over its layers:
equation (1), scaled so that the adversarial weight is 1 for any number of blocks. A separate
discriminator of pairs (``mask_discriminator``) has a loss of its own, added with weight 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from osmis_core.models.judgement import ContentLogits, Judgement

PART_WEIGHTS = {"object": 0.25, "layout": 0.25, "low_level": 0.5}

Side = Literal["real", "fake", "generator"]


@dataclass(frozen=True)
class AdversarialLoss:
    """The three parts and the separate discriminator of pairs, if any: each a scalar."""

    object: Tensor
    layout: Tensor
    low_level: Tensor
    pairs: Tensor | None = None

    @property
    def total(self) -> Tensor:
        """Equation (1), weights summing to 1, and the loss of pairs."""
        parts = (
            PART_WEIGHTS["object"] * self.object
            + PART_WEIGHTS["layout"] * self.layout
            + PART_WEIGHTS["low_level"] * self.low_level
        )
        return parts if self.pairs is None else parts + self.pairs


def adversarial_loss(judgement: Judgement, side: Side, class_weights_K: Tensor) -> AdversarialLoss:
    """The loss of one pass.

    Args:
        judgement: the discriminator's output.
        side: ``real`` and ``fake`` for the discriminator's step, ``generator`` for the
            generator's, which wants its pairs taken for real ones of their classes.
        class_weights_K: α_k of the source, summing to 1 (``class_weights``).
    """
    target = 0.0 if side == "fake" else 1.0
    content = [
        object_loss(layer, side, class_weights_K)
        if isinstance(layer, ContentLogits)
        else _binary(layer, target)
        for layer in judgement.content
    ]
    return AdversarialLoss(
        object=torch.stack(content).mean(),
        layout=_mean_binary(judgement.layout, target),
        low_level=_mean_binary(judgement.low_level, target),
        pairs=_mean_binary(judgement.pairs, target) if judgement.pairs else None,
    )


def object_loss(layer: ContentLogits, side: Side, class_weights_K: Tensor) -> Tensor:
    """Cross-entropy over K identities and "fake" (equations (2), (3) and (5)).

    Real: Σ_k α_k CE(v_k, k) over the classes present in the view. Fake, for the discriminator:
    the mean over k of CE(v_k, fake). For the generator: CE(v_k, k) weighted as for real, with
    classes that the sample lacks staying in, so that a vanished class is missed.
    """
    batch, classes, outcomes = layer.logits_BKN.shape
    fake = side == "fake"
    identity_K = torch.arange(classes, device=layer.logits_BKN.device)
    target_K = torch.full_like(identity_K, classes) if fake else identity_K
    entropy_BK = F.cross_entropy(
        layer.logits_BKN.reshape(-1, outcomes), target_K.repeat(batch), reduction="none"
    ).view(batch, classes)
    weight_BK = layer.resolvable_K.to(entropy_BK)[None].expand(batch, -1)
    if not fake:
        weight_BK = weight_BK * class_weights_K.to(entropy_BK)
    if side == "real":
        weight_BK = weight_BK * layer.present_BK
    total = weight_BK.sum().clamp_min(torch.finfo(torch.float32).tiny)
    return (entropy_BK * weight_BK).sum() / total


def class_weights(area_fractions_K: Tensor, method: str) -> Tensor:
    """α_k, summing to 1: ∝ 1 / area in the source for ``osmis``, 1 / K each for ``projected``."""
    if method == "osmis":
        inverse = torch.where(area_fractions_K > 0, 1 / area_fractions_K.clamp_min(1e-9), 0.0)
        return inverse / inverse.sum()
    return torch.full_like(area_fractions_K, 1 / len(area_fractions_K))


def _mean_binary(layers: list[Tensor], target: float) -> Tensor:
    return torch.stack([_binary(logits, target) for logits in layers]).mean()


def _binary(logits: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))
