"""The compiled loops against the plain NumPy of ``reference``."""

from __future__ import annotations

import numpy as np
import pytest

from osmis_core.parallel import RowBands
from osmis_core.refinement import reference, verbatim_share
from osmis_core.refinement.exact import complete_matches, nearest_patches
from osmis_core.refinement.features import LANES, class_corners, pack, reflect_borders, resize
from osmis_core.refinement.field import carry_field, enlarge, improve_field
from osmis_core.refinement.vote import gaussian_patch, vote_features, vote_pair
from tests.unit.refinement.random_arrays import inside, random_features, random_field

CLASS_COUNTS = (1, 2, 4, 9, 32)


@pytest.mark.parametrize("class_count", CLASS_COUNTS)
def test_feature_distance_is_that_of_weighted_one_hot_masks(rng, class_count):
    beta = 1.7
    features, image, mask = random_features(rng, 7, 9, class_count, beta)
    plain = np.concatenate([image, beta * mask], axis=-1)
    vectors = inside(features)
    np.testing.assert_allclose(
        np.square(vectors[0, 0] - vectors[5, 7]).sum(),
        np.square(plain[0, 0] - plain[5, 7]).sum(),
        rtol=1e-4,
    )


@pytest.mark.parametrize("class_count", CLASS_COUNTS)
def test_exact_search_finds_the_nearest(rng, class_count):
    query = random_features(rng, 11, 13, class_count)[0]
    source = random_features(rng, 9, 17, class_count)[0]
    distances = reference.patch_distances(query, source)
    with RowBands(2) as bands:
        least, field = nearest_patches(bands, query, source)
    np.testing.assert_allclose(least.ravel(), distances.min(axis=1), rtol=1e-4)
    assert (field[..., 0] * 17 + field[..., 1]).ravel().tolist() == distances.argmin(
        axis=1
    ).tolist()


@pytest.mark.parametrize("alpha", [0.5, 20.0])
def test_completeness_weighs_rare_patches_up(rng, alpha):
    query = random_features(rng, 10, 12, 3)[0]
    source = random_features(rng, 12, 10, 3)[0]
    with RowBands(1) as bands:
        field = complete_matches(bands, query, source, alpha)
    np.testing.assert_array_equal(field, reference.complete_matches(query, source, alpha))


def test_equal_patches_give_the_first_in_reading_order():
    flat = pack(
        np.zeros((8, 9, 3), np.float32), np.ones((8, 9, 1), np.float32), class_corners(1, 1.0)
    )
    with RowBands(2) as bands:
        least, field = nearest_patches(bands, flat, flat)
    assert least.max() == 0
    assert field.max() == 0


@pytest.mark.parametrize("class_count", CLASS_COUNTS)
def test_feature_vote_is_the_weighted_mean(rng, class_count):
    source = random_features(rng, 12, 14, class_count)[0]
    field = random_field(rng, 19, 11, 12, 14)
    weights = gaussian_patch(1.0)
    with RowBands(2) as bands:
        voted = vote_features(bands, field, source, weights)
    expected = reference.vote(field, inside(source).astype(np.float64), weights)
    np.testing.assert_allclose(inside(voted), expected, atol=1e-5)
    bordered = voted.copy()
    reflect_borders(bordered)
    np.testing.assert_array_equal(voted, bordered)
    np.testing.assert_array_equal(voted[:, 0], voted[:, 4])
    np.testing.assert_array_equal(voted[:, 2:-2, :LANES], voted[:, 2:-2, 4 * LANES : 5 * LANES])


@pytest.mark.parametrize("class_count", [1, 3, 32])
def test_pair_vote_counts_labelled_votes_only(rng, class_count):
    image = rng.integers(0, 256, (12, 14, 3), dtype=np.uint8)
    labels = rng.integers(0, class_count, (12, 14), dtype=np.uint8)
    labels[rng.random((12, 14)) < 0.3] = 255
    field = random_field(rng, 17, 10, 12, 14)
    weights = gaussian_patch(0.8)
    with RowBands(2) as bands:
        voted, voted_labels = vote_pair(bands, field, image, labels, weights, class_count)
    expected = reference.vote(field, image.astype(np.float64), weights)
    assert np.abs(voted - expected).max() <= 0.5 + 1e-3
    one_hot = (labels[..., None] == np.arange(class_count)).astype(np.float64)
    ballots = reference.vote(field, one_hot, weights)
    chosen = np.take_along_axis(ballots, voted_labels[..., None].astype(np.int64), -1)[..., 0]
    np.testing.assert_allclose(chosen, ballots.max(axis=-1), atol=1e-6)


def test_pair_vote_without_any_label_says_so(rng):
    labels = np.full((8, 8), 255, dtype=np.uint8)
    field = random_field(rng, 8, 8, 8, 8)
    with RowBands(1) as bands:
        _, voted = vote_pair(
            bands, field, np.zeros((8, 8, 3), np.uint8), labels, gaussian_patch(1.0), 4
        )
    assert (voted == 255).all()


@pytest.mark.parametrize("class_count", [2, 9])
def test_improvement_keeps_true_distances_and_never_worsens(rng, class_count):
    query = random_features(rng, 21, 23, class_count)[0]
    source = random_features(rng, 20, 18, class_count)[0]
    start = random_field(rng, 21, 23, 20, 18)
    with RowBands(2) as bands:
        field, distance = improve_field(
            bands, query, source, start, radii_px=(3, 1), coherence=0.0, seed=5
        )
    everything = reference.patch_distances(query, source)
    pixel = np.arange(21 * 23)
    before = everything[pixel, (start[..., 0] * 18 + start[..., 1]).ravel()]
    after = everything[pixel, (field[..., 0] * 18 + field[..., 1]).ravel()]
    np.testing.assert_allclose(distance.ravel(), after, rtol=1e-4)
    assert (after <= before * (1 + 1e-5)).all()
    assert after.mean() < 0.95 * before.mean()


def test_propagation_repairs_a_shifted_copy(scene):
    image, mask = scene
    shares = np.eye(3, dtype=np.float32)[mask]
    unit = image.astype(np.float32) / 127.5 - 1
    corners = class_corners(3, 1.0)
    source = pack(unit, shares, corners)
    query = pack(unit[6:70, 9:95].copy(), shares[6:70, 9:95].copy(), corners)
    truth = np.stack(np.indices((64, 86)), axis=-1) + np.array([6, 9])
    noisy = np.clip(truth + np.random.default_rng(0).integers(-4, 5, truth.shape), 0, (74, 100))
    with RowBands(2) as bands:
        field = noisy.astype(np.int32)
        for seed in range(2):
            field, _ = improve_field(
                bands, query, source, field, radii_px=(3, 1), coherence=0.0, seed=seed
            )
    assert (field[2:-2, 2:-2] == truth[2:-2, 2:-2]).all()


def test_carried_identity_stays_identity():
    identity = np.stack(np.indices((20, 31)), axis=-1).astype(np.int32)
    carried = carry_field(identity, (20, 31), (30, 47))
    truth = np.stack(np.indices((30, 47)), axis=-1)
    assert np.abs(carried - truth).max() <= 1
    assert carried.min() == 0
    assert carried[..., 0].max() == 29
    assert carried[..., 1].max() == 46


@pytest.mark.parametrize(("height", "width"), [(12, 15), (13, 40), (9, 11)])
def test_enlarging_agrees_with_the_matrix_form(rng, height, width):
    features, image, mask = random_features(rng, 9, 11, 8)
    with RowBands(2) as bands:
        larger = enlarge(bands, features, (height, width))
    expected = pack(
        resize(image, height, width), resize(mask, height, width), class_corners(8, 1.0)
    )
    np.testing.assert_allclose(larger, expected, atol=1e-5)


def test_resize_keeps_means_and_constants(rng):
    image = rng.random((40, 60, 2)).astype(np.float32)
    np.testing.assert_allclose(
        resize(image, 10, 15), image.reshape(10, 4, 15, 4, 2).mean((1, 3)), atol=1e-6
    )
    np.testing.assert_allclose(resize(np.ones((7, 9, 1), np.float32), 23, 5), 1, atol=1e-6)


def test_verbatim_share_counts_coherent_pixels():
    copied = np.stack(np.indices((10, 12)), axis=-1).astype(np.int32) + 3
    assert verbatim_share(copied) == 1.0
    seam = copied.copy()
    seam[:, 6:, 1] += 5
    assert verbatim_share(seam) == pytest.approx(10 / 12)
    one_off = copied.copy()
    one_off[5, 5] += 1
    assert verbatim_share(one_off) == pytest.approx(1 - 5 / 120)
