from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from osmis_core.augment.features import FeatureAugmentation
from tests.draws import drawn_by


def _augmentation(
    probability: float, *, seed: int = 0, move_layout: bool = True
) -> FeatureAugmentation:
    rng = torch.Generator().manual_seed(seed)
    return FeatureAugmentation(probability, drawn_by(rng), move_layout=move_layout)


def _all(batch: int, classes: int) -> torch.Tensor:
    return torch.ones(batch, classes, dtype=torch.bool)


def _mask(batch: int) -> torch.Tensor:
    mask = torch.zeros(batch, 2, 24, 32)
    mask[:, 0] = 1
    mask[:, :, 4:10, 4:12] = torch.tensor([0.0, 1.0])[None, :, None, None]
    return mask


def test_probability_zero_changes_nothing() -> None:
    vectors, features = torch.randn(4, 3, 32), torch.randn(4, 8, 24, 32)
    assert torch.equal(_augmentation(0.0).content(vectors, _all(4, 3)), vectors)
    moved, mask = _augmentation(0.0).layout(features, _mask(4))
    assert torch.equal(moved, features)
    assert torch.equal(mask, _mask(4))


def test_content_is_only_mixed_within_a_class() -> None:
    """Class k's channels hold the value k, or 0 where dropped."""
    vectors = (torch.arange(3.0) + 1)[None, :, None].expand(5, 3, 200)
    mixed = _augmentation(1.0).content(vectors, _all(5, 3))
    for k in range(3):
        assert set(mixed[:, k].unique().tolist()) <= {0.0, k + 1.0}


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_every_vector_loses_a_tenth_to_three_tenths_and_mixes_up_to_half(seed: int) -> None:
    vectors = (torch.arange(5.0) + 1)[:, None, None].expand(5, 2, 100)
    changed = _augmentation(1.0, seed=seed).content(vectors, _all(5, 2))
    dropped = (changed == 0).float().mean(2)
    assert bool(((dropped > 0.0999) & (dropped < 0.3001)).all())
    foreign = (changed != 0) & (changed != vectors)
    assert bool(foreign.any(2).all())  # a sample is never its own partner
    assert float(foreign.float().mean(2).max()) <= 0.5
    for vector in torch.where(foreign, changed, 0.0).flatten(0, 1):
        assert len(vector[vector != 0].unique()) == 1  # one partner each


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_absent_classes_neither_give_nor_take(seed: int) -> None:
    """Vectors of absent classes are zero by attention; here they are marked instead."""
    present = torch.rand(5, 4, generator=torch.Generator().manual_seed(seed)) < 0.5
    vectors = torch.where(present, 1.0, -1.0)[:, :, None].expand(5, 4, 100)
    changed = _augmentation(1.0, seed=seed).content(vectors, present)
    assert bool((changed[present] >= 0).all())
    assert bool((changed[~present] <= 0).all())


def test_a_class_of_one_sample_alone_is_not_mixed() -> None:
    vectors = torch.randn(1, 3, 64)
    changed = _augmentation(1.0).content(vectors, _all(1, 3))
    assert torch.equal(changed[changed != 0], vectors[changed != 0])


@pytest.mark.parametrize("probability", [0.4, 1.0])
def test_content_changes_are_drawn_for_each_vector(probability: float) -> None:
    vectors = torch.randn(400, 2, 50)
    changed = _augmentation(probability).content(vectors, _all(400, 2))
    dropped = (changed == 0).any(2).float().mean()
    mixed = ((changed != 0) & (changed != vectors)).any(2).float().mean()
    assert float(dropped) == pytest.approx(probability, abs=0.05)
    assert float(mixed) == pytest.approx(probability, abs=0.05)


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_layout_moves_act_on_every_sample_and_invent_nothing(seed: int) -> None:
    features = torch.randn(4, 8, 24, 32)
    moved, mask = _augmentation(1.0, seed=seed).layout(features, _mask(4))
    assert bool((moved != features).any(1).flatten(1).any(1).all())
    own = {tuple(v) for v in features.permute(0, 2, 3, 1).reshape(-1, 8).tolist()}
    assert {tuple(v) for v in moved.permute(0, 2, 3, 1).reshape(-1, 8).tolist()} <= own
    assert torch.equal(mask.sum(1), torch.ones(4, 24, 32))


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_the_mask_goes_where_the_features_go(seed: int) -> None:
    """Features that are the mask stay the mask."""
    mask = _mask(5)
    mask[2, 0], mask[2, 1] = 1, 0  # a view that lost its object
    moved, moved_mask = _augmentation(0.6, seed=seed).layout(mask.clone(), mask)
    assert torch.equal(moved, moved_mask)


def test_an_object_can_come_from_another_sample() -> None:
    features = torch.arange(5.0)[:, None, None, None].expand(5, 1, 24, 32)
    mask = _mask(5)
    moved, moved_mask = _augmentation(1.0).layout(features, mask)
    foreign = moved != features
    assert bool(foreign.any())
    assert bool((moved_mask[:, 1:][foreign] == 1).all())  # background stays its own sample's


def test_masks_known_on_the_cpu_are_not_read_off_what_is_shown() -> None:
    features, mask = torch.randn(4, 8, 24, 32), _mask(4)
    asked: list[tuple[int, int]] = []

    def real_masks(height: int, width: int) -> torch.Tensor:
        asked.append((height, width))
        return mask

    rng = torch.Generator().manual_seed(0)
    told = FeatureAugmentation(1.0, drawn_by(rng), real_masks=real_masks)
    expected, expected_mask = _augmentation(1.0).layout(features, mask)
    moved, moved_mask = told.layout(features, mask)
    assert asked == [(24, 32)]
    assert torch.equal(moved, expected)
    assert torch.equal(moved_mask, expected_mask)


def test_layout_is_determined_by_the_generator() -> None:
    features = torch.randn(4, 8, 24, 32)
    first, second, third = (
        _augmentation(0.7, seed=seed).layout(features, _mask(4))[0] for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_the_input_is_left_as_it_was_and_gradients_pass() -> None:
    features = torch.randn(2, 4, 24, 32, requires_grad=True)
    before = features.detach().clone()
    moved, _ = _augmentation(1.0).layout(features, _mask(2))
    moved.sum().backward()
    assert torch.equal(features.detach(), before)
    assert features.grad is not None
    # each cell's gradient counts the places where its features stand now
    assert float(features.grad.sum()) == features.numel()
    assert float(features.grad.max()) >= 2


def test_layout_moves_can_be_switched_off() -> None:
    features, mask = torch.randn(2, 4, 8, 8), torch.ones(2, 1, 8, 8)
    moved, moved_mask = _augmentation(1.0, move_layout=False).layout(features, mask)
    assert moved is features
    assert moved_mask is mask


def test_generated_samples_before_the_first_real_one_stay_as_they_are() -> None:
    vectors, features = torch.randn(5, 2, 32), torch.randn(5, 8, 24, 32)
    seed = 3

    def augmentation(first: int) -> FeatureAugmentation:
        return FeatureAugmentation(1.0, drawn_by(torch.Generator().manual_seed(seed)), first=first)

    both = augmentation(2).content(vectors, _all(5, 2))
    assert torch.equal(both[:2], vectors[:2])
    assert torch.equal(both[2:], augmentation(0).content(vectors[2:], _all(3, 2)))
    both, mask = augmentation(2).layout(features, _mask(5))
    expected, expected_mask = augmentation(0).layout(features[2:], _mask(3))
    assert torch.equal(both, torch.cat((features[:2], expected)))
    assert torch.equal(mask, torch.cat((_mask(2), expected_mask)))
