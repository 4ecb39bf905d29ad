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
    of_classes = [layer for layer in judgement.content if isinstance(layer, ContentLogits)]
    of_images = [layer for layer in judgement.content if isinstance(layer, Tensor)]
    return AdversarialLoss(
        object=(
            object_loss(of_classes, side, class_weights_K)
            if of_classes
            else _binary(of_images, side)
        ),
        layout=_binary(judgement.layout, side),
        low_level=_binary(judgement.low_level, side),
        pairs=_binary(judgement.pairs, side) if judgement.pairs else None,
    )


def object_loss(layers: list[ContentLogits], side: Side, class_weights_K: Tensor) -> Tensor:
    """Cross-entropy over K identities and "fake" (equations (2), (3) and (5)), the layers' mean.

    Real: Σ_k α_k CE(v_k, k) over the classes present in the view. Fake, for the discriminator:
    the mean over k of CE(v_k, fake). For the generator: CE(v_k, k) weighted as for real, with
    classes that the sample lacks staying in, so that a vanished class is missed.
    """
    logits_LBKN = torch.stack([layer.logits_BKN for layer in layers])
    log_shares_LBKN = F.log_softmax(logits_LBKN, -1)
    resolvable_LK = torch.stack([layer.resolvable_K for layer in layers])
    weight_LBK = resolvable_LK[:, None].to(log_shares_LBKN).expand(logits_LBKN.shape[:3])
    if side == "fake":
        agreement_LBK = log_shares_LBKN[..., -1]
    else:
        agreement_LBK = log_shares_LBKN.diagonal(dim1=2, dim2=3)
        weight_LBK = weight_LBK * class_weights_K.to(log_shares_LBKN)
    if side == "real":
        weight_LBK = weight_LBK * torch.stack([layer.present_BK for layer in layers])
    total_L = weight_LBK.sum((1, 2)).clamp_min(torch.finfo(torch.float32).tiny)
    return -((agreement_LBK * weight_LBK).sum((1, 2)) / total_L).mean()


def class_weights(area_fractions_K: Tensor, method: str) -> Tensor:
    """α_k, summing to 1: ∝ 1 / area in the source for ``osmis``, 1 / K each for ``projected``."""
    if method == "osmis":
        inverse = torch.where(area_fractions_K > 0, 1 / area_fractions_K.clamp_min(1e-9), 0.0)
        return inverse / inverse.sum()
    return torch.full_like(area_fractions_K, 1 / len(area_fractions_K))


def _binary(layers: list[Tensor], side: Side) -> Tensor:
    """Mean over layers of the binary cross-entropy with 1, or with 0 for the fake side."""
    sign = 1 if side == "fake" else -1
    # −log sigmoid(x) = softplus(−x), −log(1 − sigmoid(x)) = softplus(x)
    return torch.stack([F.softplus(sign * logits).mean() for logits in layers]).mean()
