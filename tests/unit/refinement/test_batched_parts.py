"""The tensor code for batches, on the CPU, against the compiled loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from osmis_core.parallel import RowBands
from osmis_core.refinement import batched_search as search
from osmis_core.refinement import batched_vote as voting
from osmis_core.refinement import reference, verbatim_share
from osmis_core.refinement.exact import complete_matches
from osmis_core.refinement.features import LANES, class_corners, pack, reflect_borders, resize
from osmis_core.refinement.field import (
    _hash,
    carry_field,
    continue_to_borders,
    enlarge,
    improve_field,
)
from osmis_core.refinement.vote import gaussian_patch, vote_features, vote_pair
from tests.unit.refinement.random_arrays import inside, random_features, random_field

CLASS_COUNTS = (1, 2, 9, 32)
MANY = 2**24


def unpacked(features, class_count):
    return search.unpack(features, 3 + max(1, class_count - 1))


def batch(*fields):
    return torch.from_numpy(np.stack(fields)).long()


@pytest.fixture(scope="module")
def mirrored(scene):
    """Features of the scene mirrored and blurred and of the scene itself, and a carried field."""
    image, mask = scene
    unit, shares = image.astype(np.float32) / 127.5 - 1, np.eye(3, dtype=np.float32)[mask]
    corners = class_corners(3, 1.5)
    small = [resize(array[:, ::-1], 50, 67) for array in (unit, shares)]
    coarse_query, coarse_source = (
        pack(*(resize(a, 50, 67) for a in pair), corners) for pair in (small, (unit, shares))
    )
    with RowBands(1) as bands:
        coarse = complete_matches(bands, coarse_query, coarse_source, 50.0)
    query = pack(*(resize(array, 75, 101) for array in small), corners)
    return query, pack(unit, shares, corners), carry_field(coarse, (50, 67), (75, 101))


@pytest.mark.parametrize("class_count", CLASS_COUNTS)
def test_unpacking_keeps_the_used_channels(rng, class_count):
    features = random_features(rng, 6, 7, class_count)[0]
    channels = 3 + max(1, class_count - 1)
    unpacked_HWC = unpacked(features, class_count).numpy()
    np.testing.assert_array_equal(unpacked_HWC[2:-2, 2:-2], inside(features)[..., :channels])
    assert not inside(features)[..., channels:].any()
    groups, padded_h, row = features.shape
    assert groups * LANES >= channels
    assert unpacked_HWC.shape == (padded_h, row // LANES, channels)


@pytest.mark.parametrize("values_at_once", [MANY, 500])
@pytest.mark.parametrize("class_count", CLASS_COUNTS)
def test_the_exact_search_finds_the_same_matches(rng, class_count, values_at_once):
    source = random_features(rng, 12, 10, class_count)[0]
    queries = [random_features(rng, 11, 13, class_count)[0] for _ in range(3)]
    found = search.complete_matches(
        torch.stack([unpacked(query, class_count) for query in queries]),
        unpacked(source, class_count),
        20.0,
        values_at_once,
    )
    with RowBands(1) as bands:
        expected = [complete_matches(bands, query, source, 20.0) for query in queries]
    np.testing.assert_array_equal(found, np.stack(expected))


def test_of_equal_patches_the_first_in_reading_order_is_found():
    flat = pack(
        np.zeros((8, 9, 3), np.float32), np.ones((8, 9, 1), np.float32), class_corners(1, 1.0)
    )
    flat_HWC = unpacked(flat, 1)
    assert not search.complete_matches(flat_HWC[None], flat_HWC, 1.0, MANY).any()


@pytest.mark.parametrize("values_at_once", [MANY, 1])
def test_distances_are_those_of_the_patches(rng, values_at_once):
    source = random_features(rng, 12, 10, 9)[0]
    queries = [random_features(rng, 11, 13, 9)[0] for _ in range(2)]
    fields = [random_field(rng, 11, 13, 12, 10) for _ in range(2)]
    stacked = torch.stack([unpacked(query, 9) for query in queries])
    found = search.PatchDistances(stacked, unpacked(source, 9), values_at_once).at(batch(*fields))
    for distance_HW, query, field in zip(found, queries, fields, strict=True):
        matches = (field[..., 0] * 10 + field[..., 1]).ravel()
        everything = reference.patch_distances(query, source)
        expected = everything[np.arange(11 * 13), matches]
        np.testing.assert_allclose(distance_HW.flatten(), expected, rtol=1e-4)


@pytest.mark.parametrize("radius_px", [1, 3])
def test_random_tries_are_those_of_the_loops(radius_px):
    keys = [0, 77, 2**32 - 1]
    offsets = search.random_offsets(keys, 1, radius_px, torch.zeros(3, 40, 700, 2))
    assert offsets.min() == -radius_px
    assert offsets.max() == radius_px
    for i, y, x in ((0, 0, 0), (0, 39, 699), (1, 17, 401), (1, 3, 2), (2, 39, 699), (2, 1, 5)):
        bits = int(_hash(np.uint32((keys[i] + 1) % 2**32), y, x))
        span = 2 * radius_px + 1
        expected = [(bits & 0xFFFF) % span - radius_px, (bits >> 16) % span - radius_px]
        assert offsets[i, y, x].tolist() == expected


def test_improvement_ends_where_the_loops_do(mirrored):
    query, source, start = mirrored
    with RowBands(1) as bands:
        _, theirs = improve_field(
            bands, query, source, start, radii_px=(3, 1), coherence=0.0, seed=5
        )
    query_BHWC, source_HWC = unpacked(query, 3)[None], unpacked(source, 3)
    field, ours = search.improve_field(
        query_BHWC,
        source_HWC,
        batch(start),
        radii_px=(3, 1),
        coherence=0.0,
        seeds=[5],
        values_at_once=MANY,
    )
    distances = search.PatchDistances(query_BHWC, source_HWC, MANY)
    before = distances.at(batch(start))
    torch.testing.assert_close(ours, distances.at(field))
    assert (ours <= before).all()
    assert theirs.mean() < 0.8 * before.mean()
    assert ours.mean().item() == pytest.approx(theirs.mean(), rel=0.03)


def test_propagation_repairs_a_shifted_copy(scene):
    image, mask = scene
    shares = np.eye(3, dtype=np.float32)[mask]
    unit = image.astype(np.float32) / 127.5 - 1
    corners = class_corners(3, 1.0)
    source = unpacked(pack(unit, shares, corners), 3)
    query = unpacked(pack(unit[6:70, 9:95].copy(), shares[6:70, 9:95].copy(), corners), 3)
    truth = np.stack(np.indices((64, 86)), axis=-1) + np.array([6, 9])
    noisy = np.clip(truth + np.random.default_rng(0).integers(-4, 5, truth.shape), 0, (74, 100))
    field = batch(noisy)
    for seed in range(2):
        field, _ = search.improve_field(
            query[None],
            source,
            field,
            radii_px=(3, 1),
            coherence=0.0,
            seeds=[seed],
            values_at_once=MANY,
        )
    assert (field[0, 2:-2, 2:-2].numpy() == truth[2:-2, 2:-2]).all()


@pytest.mark.parametrize("class_count", CLASS_COUNTS)
def test_feature_vote_agrees(rng, class_count):
    source = random_features(rng, 12, 14, class_count)[0]
    fields = [random_field(rng, 19, 11, 12, 14) for _ in range(3)]
    weights = gaussian_patch(1.4)
    voted = voting.reflected(
        voting.vote_features(batch(*fields), unpacked(source, class_count), weights)
    )
    with RowBands(1) as bands:
        for ours_HWC, field in zip(voted, fields, strict=True):
            expected = unpacked(vote_features(bands, field, source, weights), class_count)
            torch.testing.assert_close(ours_HWC, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("class_count", [1, 3, 32])
def test_pair_vote_agrees(rng, class_count):
    image = rng.integers(0, 256, (12, 14, 3), dtype=np.uint8)
    labels = rng.integers(0, class_count, (12, 14), dtype=np.uint8)
    labels[rng.random((12, 14)) < 0.3] = 255
    labels[:, :6] = 255
    fields = [random_field(rng, 17, 10, 12, 14), random_field(rng, 17, 10, 12, 2)]
    weights = gaussian_patch(0.8)
    images, classes = voting.vote_pair(
        batch(*fields), torch.from_numpy(image), torch.from_numpy(labels), weights, class_count
    )
    assert images.dtype == classes.dtype == torch.uint8
    with RowBands(1) as bands:
        for i, field in enumerate(fields):
            expected = vote_pair(bands, field, image, labels, weights, class_count)
            assert np.abs(images[i].numpy().astype(int) - expected[0]).max() <= 1
            np.testing.assert_array_equal(classes[i], expected[1])
    assert (classes[1] == 255).all()


@pytest.mark.parametrize("to_hw", [(12, 15), (13, 40), (9, 11)])
def test_enlarging_agrees(rng, to_hw):
    features = random_features(rng, 9, 11, 8)[0]
    reflect_borders(features)
    with RowBands(1) as bands:
        expected = unpacked(enlarge(bands, features, to_hw), 8)
    ours = voting.reflected(voting.enlarge(unpacked(features, 8)[None, 2:-2, 2:-2], to_hw))
    torch.testing.assert_close(ours[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("to_hw", [(30, 47), (31, 31), (17, 20)])
def test_carried_fields_are_the_same(rng, to_hw):
    fields = [random_field(rng, 20, 31, 20, 31) for _ in range(2)]
    expected = np.stack([carry_field(field, (20, 31), to_hw) for field in fields])
    np.testing.assert_array_equal(search.carry_field(batch(*fields), to_hw), expected)


def test_matches_at_the_borders_are_carried_on_from_inside(rng):
    field = random_field(rng, 9, 12, 9, 12)
    carried = continue_to_borders(field)
    inner = (slice(2, -2), slice(2, -2))
    np.testing.assert_array_equal(carried[inner], field[inner])
    expected = np.clip(field[2, 9] + np.array([-2, 1]), 0, [8, 11])
    np.testing.assert_array_equal(carried[0, 10], expected)
    assert carried.min() >= 0
    assert (carried <= [8, 11]).all()
    batched = search.continue_to_borders(batch(field, field[::-1]))
    np.testing.assert_array_equal(batched[0].numpy(), carried)
    np.testing.assert_array_equal(batched[1].numpy(), continue_to_borders(field[::-1]))
    small = random_field(rng, 4, 12, 4, 12)
    np.testing.assert_array_equal(continue_to_borders(small), small)
    np.testing.assert_array_equal(search.continue_to_borders(batch(small))[0].numpy(), small)


def test_verbatim_shares_are_the_same(rng):
    copied = np.stack(np.indices((10, 12)), axis=-1).astype(np.int32) + 3
    seam = copied.copy()
    seam[:, 6:, 1] += 5
    fields = [copied, seam, random_field(rng, 10, 12, 4, 4)]
    shares = voting.verbatim_shares(batch(*fields))
    assert shares == pytest.approx([verbatim_share(field) for field in fields])
