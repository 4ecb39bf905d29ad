"""The distance within classes: a mask that does not fit its image is further from the source."""

from __future__ import annotations

import numpy as np
import pytest

from osmis_core.metrics import SourceScorer, load_scoring_network


@pytest.fixture(scope="module")
def scene() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    image = rng.integers(60, 90, (96, 128, 3)).astype(np.uint8)
    mask = np.zeros((96, 128), np.uint8)
    mask[20:60, 30:80] = 1
    image[mask == 1] = rng.integers(150, 255, (int(mask.sum()), 3))
    return image, mask


@pytest.fixture(scope="module")
def scorer(scene: tuple[np.ndarray, np.ndarray]) -> SourceScorer:
    return SourceScorer(load_scoring_network(), *scene)


def test_the_layer_is_named_after_its_network_layer(scorer: SourceScorer) -> None:
    assert scorer.layer_names[-1] == f"{scorer.network.layer_names[1]} within classes"


def test_a_displaced_mask_is_far_and_moves_no_other_layer(
    scorer: SourceScorer, scene: tuple[np.ndarray, np.ndarray]
) -> None:
    image, mask = scene
    fitting = scorer.distances(image, mask)
    displaced = scorer.distances(image, np.roll(mask, 40, axis=1))
    np.testing.assert_allclose(displaced[:-1], fitting[:-1])
    assert displaced[-1] > 100 * max(fitting[-1], 1e-6)


def test_a_missing_class_is_further_than_a_displaced_one(
    scorer: SourceScorer, scene: tuple[np.ndarray, np.ndarray]
) -> None:
    image, mask = scene
    displaced = scorer.distances(image, np.roll(mask, 40, axis=1))[-1]
    missing = scorer.distances(image, np.zeros_like(mask))[-1]
    assert missing > displaced


def test_ignored_pixels_belong_to_no_class(scene: tuple[np.ndarray, np.ndarray]) -> None:
    image, mask = scene
    ignored = mask.copy()
    ignored[:, 100:] = 255
    own = SourceScorer(load_scoring_network(), image, ignored)
    assert np.isfinite(own.distances(image, mask)).all()
    assert own.distances(image, ignored)[-1] < 1e-3


def test_a_sample_without_a_mask_is_refused(
    scorer: SourceScorer, scene: tuple[np.ndarray, np.ndarray]
) -> None:
    with pytest.raises(ValueError, match="needs one"):
        scorer.distances(scene[0])
