"""What counts as copied: exact copies however placed, and nothing else."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from osmis_core.metrics import VerbatimMatcher, verbatim_source_share
from osmis_core.refinement import Refiner

EXAMPLES = Path(__file__).parents[3] / "examples"


def example(name: str) -> np.ndarray:
    return np.asarray(Image.open(EXAMPLES / name / "image.png").convert("RGB"))


@pytest.fixture(scope="module", params=["coins", "coffee"])
def source(request: pytest.FixtureRequest) -> np.ndarray:
    return example(request.param)


@pytest.fixture(scope="module")
def matcher(source: np.ndarray) -> VerbatimMatcher:
    return VerbatimMatcher(source)


def test_the_source_and_its_lossless_copies_are_all_verbatim(
    matcher: VerbatimMatcher, source: np.ndarray
) -> None:
    shifted = source[5:, 11:]
    copies = (source, shifted, source[20:90, 30:170], source[:, ::-1], np.rot90(source, 3))
    for copy in copies:
        assert matcher.share(copy) == 1.0
    rolled = matcher.share(np.roll(source, (31, 57), axis=(0, 1)))
    assert rolled is not None
    assert rolled > 0.98, "all but the seams"


def test_what_was_changed_is_not_verbatim(matcher: VerbatimMatcher, source: np.ndarray) -> None:
    picture = Image.fromarray(source)
    height, width = source.shape[:2]
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=90)
    changed = {
        "noise": np.random.default_rng(0).integers(0, 256, source.shape).astype(np.uint8),
        "blurred": np.asarray(picture.filter(ImageFilter.GaussianBlur(2))),
        "darkened": (source * 0.8).astype(np.uint8),
        "inverted": 255 - source,
        "a level up": np.clip(source.astype(int) + 1, 0, 255).astype(np.uint8),
        "enlarged": np.asarray(picture.resize((width * 3 // 2, height * 3 // 2))),
        "compressed": np.asarray(Image.open(jpeg)),
    }
    shares = {name: matcher.share(image) for name, image in changed.items()}
    assert max(share or 0 for share in shares.values()) < 0.03, shares
    assert shares["noise"] == 0


def test_half_a_copy_is_half_verbatim(source: np.ndarray, matcher: VerbatimMatcher) -> None:
    half = source.copy()
    width = source.shape[1] // 2
    half[:, width:] = np.random.default_rng(1).integers(0, 256, half[:, width:].shape)
    verbatim_HW, judged_HW = matcher.pixels(half)
    assert verbatim_HW[:, : width - 2].sum() == judged_HW[:, : width - 2].sum()
    assert not verbatim_HW[:, width + 2 :].any()


def test_one_colour_proves_nothing(matcher: VerbatimMatcher) -> None:
    plain = np.full((40, 50, 3), 200, np.uint8)
    assert matcher.share(plain) is None
    assert VerbatimMatcher(plain).share(plain) is None
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    assert VerbatimMatcher(plain).share(noise) == 0
    half = noise.copy()
    half[:, 25:] = 200
    assert verbatim_source_share(half, noise) == pytest.approx(25 / 27), "2 columns of seam"


def test_other_sizes_of_the_source_can_be_known_too(source: np.ndarray) -> None:
    small = np.asarray(Image.fromarray(source).resize((96, 64)))
    assert (VerbatimMatcher(source).share(small) or 0) < 0.03
    assert VerbatimMatcher(source, small).share(small) == 1


def test_agrees_with_what_the_refiner_copies() -> None:
    """Near the share that the refiner's own field of matches gives, on a sample made of pieces."""
    source = example("coins")[:160, :192]
    mask = np.zeros(source.shape[:2], np.uint8)
    mask[40:90, 50:110] = 1
    moved, moved_mask = np.roll(source[:, ::-1], 40, 1), np.roll(mask[:, ::-1], 40, 1)
    small = np.asarray(Image.fromarray(moved).resize((48, 40)), dtype=np.float32) / 127.5 - 1
    labels = np.asarray(Image.fromarray(moved_mask).resize((48, 40), Image.Resampling.NEAREST))
    shares = (labels[..., None] == np.arange(2)).astype(np.float32)
    refined = Refiner(source, mask, 2, (40, 48), source.shape[:2]).refine(small, shares, seed=0)
    found = verbatim_source_share(refined.image_HWC, source)
    assert found == pytest.approx(refined.verbatim_share, abs=0.15)


def test_refuses_what_is_smaller_than_a_patch() -> None:
    with pytest.raises(ValueError, match="3 px"):
        VerbatimMatcher(np.zeros((2, 9, 3), np.uint8))
    with pytest.raises(ValueError, match="no source"):
        VerbatimMatcher()
