from __future__ import annotations

import torch

from osmis_core.augment.features import FeatureAugmentation


def _augmentation(probability: float, *, move_layout: bool = True) -> FeatureAugmentation:
    rng = torch.Generator().manual_seed(0)
    return FeatureAugmentation(probability, rng, move_layout=move_layout)


def test_probability_zero_changes_nothing() -> None:
    vectors, features = torch.randn(4, 3, 32), torch.randn(4, 8, 12, 16)
    mask = torch.full((4, 2, 12, 16), 0.5)
    assert torch.equal(_augmentation(0.0).content(vectors), vectors)
    assert torch.equal(_augmentation(0.0).layout(features, mask), features)


def test_content_is_only_mixed_within_a_class() -> None:
    """Class k's channels hold the value k, or 0 where dropped."""
    vectors = (torch.arange(3.0) + 1)[None, :, None].expand(5, 3, 200)
    mixed = _augmentation(1.0).content(vectors)
    for k in range(3):
        assert set(mixed[:, k].unique().tolist()) <= {0.0, k + 1.0}


def test_content_drops_a_tenth_to_a_third_of_the_channels_and_mixes_samples() -> None:
    vectors = (torch.arange(5.0) + 1)[:, None, None].expand(5, 2, 4000)
    mixed = _augmentation(1.0).content(vectors)
    dropped = (mixed == 0).float().mean(2)
    assert bool(((dropped > 0.08) & (dropped < 0.32)).all())
    others = ((mixed != 0) & (mixed != vectors)).float().mean((1, 2))
    assert float(others.max()) > 0.05


def test_layout_moves_act_on_every_sample_of_the_batch() -> None:
    features = torch.randn(4, 8, 24, 32)
    mask = torch.zeros(4, 2, 24, 32)
    mask[:, 0] = 1
    mask[:, :, 4:10, 4:12] = torch.tensor([0.0, 1.0])[None, :, None, None]
    moved = _augmentation(1.0).layout(features, mask)
    changed = (moved != features).any(1).flatten(1).any(1)
    assert bool(changed.all())
    # every feature vector of the result is one of the batch's own: nothing is invented
    own = features.permute(0, 2, 3, 1).reshape(-1, 8)
    for vector in moved.permute(0, 2, 3, 1).reshape(-1, 8)[::37]:
        assert bool((own == vector).all(1).any())


def test_the_input_is_left_as_it_was_and_gradients_pass() -> None:
    features = torch.randn(2, 4, 8, 8, requires_grad=True)
    before = features.detach().clone()
    mask = torch.zeros(2, 2, 8, 8)
    mask[:, 0] = 1
    _augmentation(1.0).layout(features, mask).sum().backward()
    assert torch.equal(features.detach(), before)
    assert features.grad is not None


def test_layout_moves_can_be_switched_off() -> None:
    features = torch.randn(2, 4, 8, 8)
    mask = torch.ones(2, 1, 8, 8)
    assert _augmentation(1.0, move_layout=False).layout(features, mask) is features
