from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from osmis_core.data.size_plan import BLOCK_TABLE
from osmis_core.losses import (
    PART_WEIGHTS,
    Side,
    adversarial_loss,
    class_weights,
    object_loss,
)
from osmis_core.models.judgement import ContentLogits, Judgement

EVEN = torch.tensor([0.5, 0.5])


def _content(
    logits: torch.Tensor, present: list[bool] | None = None, resolvable: list[bool] | None = None
) -> ContentLogits:
    classes = logits.shape[1]
    return ContentLogits(
        logits,
        torch.tensor([present or [True] * classes] * logits.shape[0]),
        torch.tensor(resolvable or [True] * classes),
    )


@pytest.mark.parametrize("blocks", [row[1] for row in BLOCK_TABLE])
def test_part_weights_sum_to_one_for_any_number_of_layers(blocks: tuple[int, int, int]) -> None:
    """All logits 0: each part's loss is known, so the total shows the weights."""
    _, total, low = blocks
    judged = Judgement(
        low_level=[torch.zeros(2, 1, 4, 4)] * low,
        layout=[torch.zeros(2, 1, 2, 2)] * (total - low),
        content=[_content(torch.zeros(2, 2, 3))] * (total - low),
    )
    loss = adversarial_loss(judged, "fake", EVEN)
    expected = 0.25 * math.log(3) + 0.75 * math.log(2)
    assert float(loss.total) == pytest.approx(expected)
    assert sum(PART_WEIGHTS.values()) == 1
    assert PART_WEIGHTS["low_level"] == 2 * PART_WEIGHTS["object"]


def test_real_pairs_ignore_classes_that_the_view_has_lost() -> None:
    logits = torch.tensor([[[5.0, 0.0, 0.0], [9.0, -9.0, 0.0]]])
    lost = object_loss([_content(logits, present=[True, False])], "real", EVEN)
    expected = -torch.log_softmax(logits[0, 0], 0)[0]
    torch.testing.assert_close(lost, expected)


def test_the_generator_is_told_of_a_class_that_its_sample_lacks() -> None:
    logits = torch.zeros(1, 2, 3, requires_grad=True)
    layer = _content(logits, present=[True, False])
    object_loss([layer], "generator", EVEN).backward()
    assert logits.grad is not None
    assert float(logits.grad[0, 1].abs().sum()) > 0


def test_a_class_below_half_a_cell_is_left_out_on_both_sides() -> None:
    logits = torch.randn(1, 2, 3)
    layer = _content(logits, resolvable=[True, False])
    for side, target in (("real", 0), ("fake", 2), ("generator", 0)):
        expected = -torch.log_softmax(logits[0, 0], 0)[target]
        torch.testing.assert_close(object_loss([layer], side, EVEN), expected)


def test_fakes_are_the_mean_over_classes_whatever_the_weights() -> None:
    logits = torch.randn(3, 2, 3)
    expected = -torch.log_softmax(logits, 2)[:, :, 2].mean()
    uneven = torch.tensor([0.99, 0.01])
    torch.testing.assert_close(object_loss([_content(logits)], "fake", uneven), expected)


def test_layers_of_classes_count_the_same_whatever_they_resolve() -> None:
    """Each is averaged over its own classes first."""
    layers = [
        _content(torch.randn(2, 2, 3), present=[True, True], resolvable=[True, False]),
        _content(torch.randn(2, 2, 3), present=[True, False]),
        _content(torch.randn(2, 2, 3)),
    ]
    uneven = torch.tensor([0.7, 0.3])
    sides: tuple[Side, ...] = ("real", "fake", "generator")
    for side in sides:
        alone = [object_loss([layer], side, uneven) for layer in layers]
        torch.testing.assert_close(object_loss(layers, side, uneven), torch.stack(alone).mean())


@pytest.mark.parametrize("side", ["real", "fake", "generator"])
def test_maps_are_judged_by_binary_cross_entropy(side: Side) -> None:
    """Every part that says real or fake, values and gradients, with layers of several sizes."""
    shapes = [(2, 1, 4, 4), (2, 1, 2, 3)]
    parts = [[3 * torch.randn(s, requires_grad=True) for s in shapes] for _ in range(4)]
    low_level, layout, content, pairs = parts
    found = adversarial_loss(Judgement(low_level, layout, content, pairs), side, EVEN)
    target = 0.0 if side == "fake" else 1.0
    lost = (found.low_level, found.layout, found.object, found.pairs)
    for part, value in zip(parts, lost, strict=True):
        each = [F.binary_cross_entropy_with_logits(x, torch.full_like(x, target)) for x in part]
        expected = torch.stack(each).mean()
        torch.testing.assert_close(value, expected)
        gradients = (torch.autograd.grad(y, part, retain_graph=True) for y in (value, expected))
        for gradient, plain in zip(*gradients, strict=True):
            torch.testing.assert_close(gradient, plain)


def test_class_weights_are_inverse_to_area_or_even() -> None:
    area = torch.tensor([0.8, 0.2, 0.0])
    torch.testing.assert_close(class_weights(area, "osmis"), torch.tensor([0.2, 0.8, 0.0]))
    torch.testing.assert_close(class_weights(area, "projected"), torch.full((3,), 1 / 3))
