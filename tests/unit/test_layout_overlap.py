"""Layouts' overlap: the measured IoU on hard masks, and a penalty that follows its mean."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor

from osmis_core.layout_overlap import LEAST_LIMIT, OverlapPenalty, layout_overlap
from osmis_core.masks import one_hot
from osmis_core.metrics.masks import foreground_iou


def hard_masks(labels_BHW: Tensor, classes: int) -> Tensor:
    return one_hot(labels_BHW, torch.zeros(1, classes, 1, 1))


@pytest.mark.parametrize("classes", [2, 4])
def test_is_the_measured_foreground_iou_of_hard_masks(classes: int) -> None:
    labels = torch.randint(classes, (5, 12, 16), generator=torch.Generator().manual_seed(1))
    arrays = labels.numpy().astype(np.uint8)
    expected = np.mean([foreground_iou(a, b) for a, b in combinations(arrays, 2)])
    assert float(layout_overlap(hard_masks(labels, classes))) == pytest.approx(expected)


def test_masks_without_any_object_share_nothing() -> None:
    empty = hard_masks(torch.zeros(3, 4, 4, dtype=torch.long), 3)
    assert float(layout_overlap(empty)) == 0
    assert float(layout_overlap(torch.ones(3, 1, 4, 4))) == 0  # images alone have one class


def test_its_gradient_parts_two_layouts() -> None:
    logits = torch.zeros(2, 2, 1, 4)
    logits[:, 1] = -2.0
    logits[0, 1, 0, :3] = logits[1, 1, 0, 1:] = 2.0
    logits.requires_grad_()
    layout_overlap(logits.softmax(1)).backward()
    assert logits.grad is not None
    assert (logits.grad[0, 1, 0, 1:3] > 0).all()  # descending, shared pixels become background
    assert logits.grad[0, 1, 0, 0] < 0  # and the first's own stay


def test_weighs_nothing_until_its_mean_exceeds_the_views() -> None:
    penalty = OverlapPenalty(0.5)
    same = hard_masks(torch.ones(5, 4, 4, dtype=torch.long), 2)
    apart = hard_masks(torch.zeros(5, 4, 4, dtype=torch.long), 2)
    assert float(penalty(apart)) == 0
    first = float(penalty(same))
    assert first < 0.1  # one batch that repeats weighs next to nothing
    for _ in range(50):
        last = float(penalty(same))
    assert last == 1  # its whole overlap, once that lasts
    for _ in range(200):
        penalty(apart)
    assert float(penalty(same)) == 0


def test_little_overlap_is_no_fault_however_little_views_have() -> None:
    penalty = OverlapPenalty(0.01)
    labels = torch.zeros(5, 1, 105, dtype=torch.long)
    labels[..., :5] = 1  # what all have in common
    for i in range(5):
        labels[i, 0, 5 + 20 * i : 25 + 20 * i] = 1
    masks = hard_masks(labels, 2)
    assert 0.05 < float(layout_overlap(masks)) < LEAST_LIMIT
    assert all(float(penalty(masks)) == 0 for _ in range(300))


def test_the_mean_learns_nothing() -> None:
    penalty = OverlapPenalty(0.2)
    masks = torch.rand(3, 2, 4, 4).softmax(1).requires_grad_()
    penalty(masks).backward()
    assert not penalty.mean.requires_grad
    assert masks.grad is not None
