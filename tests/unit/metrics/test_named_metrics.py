"""Metrics by name: what each is called, its known answers, and what it refuses."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from osmis_core.metrics import (
    LpipsDistance,
    UnetOptions,
    class_areas,
    image_distance,
    load_scoring_network,
    lpips_to_source,
    mean_pairwise_lpips,
    sifid,
    single_image_frechet,
    unet_miou,
)
from osmis_core.metrics.scoring import flat
from osmis_core.metrics.shift_tolerant import (
    ScoringWeightsError,
    ShiftTolerantNet,
    read_shift_tolerant_weights,
)


def picture(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8, width // 8, 3)).astype(np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), np.uint8))


def test_distance_on_the_default_network_carries_its_name() -> None:
    source, samples = picture(0), [picture(1), picture(2)]
    found = image_distance(samples, source)
    assert "SIFID" not in found.name
    assert "VGG-16" in found.name
    assert found.network in found.name
    assert (found.images, found.size_px) == (2, (48, 64))
    network = load_scoring_network(fast=False)
    by_hand = [
        single_image_frechet(flat(network.features(source)[0]), flat(network.features(s)[0]))
        for s in samples
    ]
    assert found.layers["conv1_2"] == pytest.approx(np.mean(by_hand), rel=1e-5)
    itself = image_distance([source], source)
    assert max(itself.layers.values()) < 1e-3 * min(found.layers.values())


def test_masks_add_one_layer_within_classes() -> None:
    source, mask = picture(0), np.zeros((48, 64), np.uint8)
    mask[10:40, 10:40] = 1
    found = image_distance([picture(1)], source, masks=[mask], source_mask_HW=mask)
    assert list(found.layers)[-1] == "conv2_2 within classes"


def test_only_inception_is_called_sifid(inception_file: Path) -> None:
    digest = hashlib.sha256(inception_file.read_bytes()).hexdigest()
    found = sifid([picture(1, 96, 96)], picture(0, 96, 96), inception_file, digest)
    assert (found.name, found.network) == ("SIFID", "InceptionV3")
    assert found.weights_sha256 == digest
    assert list(found.layers)[:2] == ["64", "192"]
    assert found.size_px == (96, 96)
    with pytest.raises(ScoringWeightsError, match="sha256"):
        sifid([picture(1, 96, 96)], picture(0, 96, 96), inception_file, "0" * 64)


def test_published_figures_are_taken_in_float32() -> None:
    network = load_scoring_network(fast=False)
    image = torch.tensor(picture(0)).permute(2, 0, 1)[None] / 127.5 - 1
    expected = ShiftTolerantNet("vgg", read_shift_tolerant_weights("vgg").tensors, stage_count=4)
    for ours, plain in zip(network.features(picture(0)), expected(image), strict=True):
        assert torch.allclose(ours, plain[0], atol=1e-4, rtol=1e-4)


def test_the_papers_lpips_has_another_name_and_sees_half_the_contrast() -> None:
    standard, paper = LpipsDistance(), LpipsDistance(input_range="unit")
    assert standard.name == "LPIPS, AlexNet shift-tolerant"
    assert paper.name == "LPIPS, AlexNet shift-tolerant, images in [0, 1] as in the OSMIS paper"
    images = [picture(0), picture(1)]
    assert mean_pairwise_lpips(images, metric=paper) != mean_pairwise_lpips(images, metric=standard)
    # [0, 1] fed to a network for [-1, 1] is the picture (x / 255 + 1) / 2 seen the standard way
    pale = [np.rint((image / 255 + 1) / 2 * 255).astype(np.uint8) for image in images]
    assert paper(*images) == pytest.approx(standard(*pale), rel=0.02)


def test_lpips_to_source() -> None:
    source, other = picture(0), picture(1)
    near = np.clip(source.astype(int) + 10, 0, 255).astype(np.uint8)
    itself, close, far = lpips_to_source([source, near, other], source)
    assert itself == 0
    assert 0 < close < far
    assert far == pytest.approx(LpipsDistance()(source, other))
    (resized,) = lpips_to_source([picture(1, 96, 128)], source)
    assert resized > 0, "another size is compared all the same"


def test_class_areas() -> None:
    source = np.zeros((10, 10), np.uint8)
    source[:2] = 1
    empty, full = np.zeros((6, 8), np.uint8), np.ones((6, 8), np.uint8)
    ignored = np.full((4, 4), 255, np.uint8)
    ignored[0] = (0, 0, 1, 1)
    background, object_ = class_areas([empty, full, ignored], source, 2)
    assert (object_.index, object_.source) == (1, 0.2)
    assert (object_.min, object_.max, object_.mean) == (0, 1, 0.5)
    assert background.mean == 0.5
    assert object_.histogram == (1, 0, 0, 0, 0, 1, 0, 0, 0, 1)
    with pytest.raises(ValueError, match="one mask"):
        class_areas([], source, 2)


def test_unet_miou_needs_two_classes() -> None:
    image, mask = picture(0), np.zeros((48, 64), np.uint8)
    options = UnetOptions(steps=2, batch=2, short_px=32, width=4, views=2)
    assert unet_miou([image], [mask], image, mask, 1, options) is None
    assert unet_miou([image], [mask], image, mask, 2, options) is None, "the source shows one"
    mask[:20] = 1
    found = unet_miou([image], [mask], image, mask, 2, options)
    assert found is not None
    assert 0 <= found <= 1


def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(ValueError, match="one image"):
        image_distance([], picture(0))
