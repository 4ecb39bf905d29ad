"""Rejection must reject: fifteen spoiled samples among eighty-five good ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from osmis_core.curation import curate
from osmis_core.metrics import SourceScorer, load_scoring_network

ROOT = Path(__file__).parents[3]
DAVIS = ROOT.parent / "shared" / "data" / "davis_pair"
PAIRS = {
    "coins": (ROOT / "examples/coins/image.png", ROOT / "examples/coins/mask.png"),
    "coffee": (ROOT / "examples/coffee/image.png", ROOT / "examples/coffee/mask.png"),
    "davis": (DAVIS / "image.jpg", DAVIS / "mask.png"),
}
GOOD, OF_EACH_KIND, MUST_GO = 85, 3, 14


def read(name: str) -> tuple[np.ndarray, np.ndarray]:
    image_path, mask_path = PAIRS[name]
    if not image_path.exists():
        pytest.skip(f"{image_path} is not here: the pair is not part of the project")
    return np.asarray(Image.open(image_path).convert("RGB")), np.asarray(Image.open(mask_path))


def resample(array: np.ndarray, y: np.ndarray, x: np.ndarray, *, nearest: bool) -> np.ndarray:
    height, width = array.shape[:2]
    grid = np.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], axis=-1)
    planes = torch.tensor(array.reshape(height, width, -1)).permute(2, 0, 1)[None].float()
    moved = torch.nn.functional.grid_sample(
        planes,
        torch.tensor(grid[None]).float(),
        mode="nearest" if nearest else "bicubic",
        padding_mode="reflection",
        align_corners=False,
    )
    moved_HWC = moved[0].permute(1, 2, 0).round().clamp(0, 255).numpy().astype(np.uint8)
    return moved_HWC[..., 0] if array.ndim == 2 else moved_HWC


def good_sample(
    image: np.ndarray, mask: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The source moved, flipped, scaled and bent: new layouts out of coherent source patches."""
    height, width = mask.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    bend = np.zeros((2, height, width))
    for _ in range(3):
        frequency = rng.uniform(0.5, 2, size=2) * 2 * np.pi
        phase = rng.uniform(0, 2 * np.pi, size=2)
        wave = np.sin(frequency[0] * y / height + phase[0]) * np.sin(
            frequency[1] * x / width + phase[1]
        )
        bend += rng.normal(0, 0.012 * min(height, width), size=2)[:, None, None] * wave
    scale, angle = 2 ** rng.normal(0, 0.12), rng.uniform(-0.12, 0.12)
    cy, cx = (height - 1) / 2, (width - 1) / 2
    dy, dx = y - cy, x - cx
    shift_y, shift_x = rng.uniform(-0.12, 0.12, size=2) * (height, width)
    new_y = (np.cos(angle) * dy - np.sin(angle) * dx) / scale + cy + bend[0] + shift_y
    new_x = (np.sin(angle) * dy + np.cos(angle) * dx) / scale + cx + bend[1] + shift_x
    if rng.random() < 0.5:
        new_x = width - 1 - new_x
    return resample(image, new_y, new_x, nearest=False), resample(mask, new_y, new_x, nearest=True)


def blurred(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    radius = rng.uniform(0.006, 0.01) * max(mask.shape)
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))


def shuffled(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    side = min(mask.shape) // 8
    rows, cols = mask.shape[0] // side, mask.shape[1] // side
    out = image.copy()
    order = rng.permutation(rows * cols)
    for place, origin in enumerate(order):
        y, x, sy, sx = place // cols, place % cols, origin // cols, origin % cols
        out[y * side : (y + 1) * side, x * side : (x + 1) * side] = image[
            sy * side : (sy + 1) * side, sx * side : (sx + 1) * side
        ]
    return out


def miscoloured(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    tint = rng.permutation([1.4, 1.0, 0.5])
    return (image * tint).clip(0, 255).round().astype(np.uint8)


def erased_or_doubled(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Objects cut out with scissors: filled with one colour, or pasted again elsewhere."""
    out = image.copy()
    objects = mask > 0
    if rng.random() < 0.5:
        out[objects] = np.median(image[~objects], axis=0)
        return out
    height, width = mask.shape
    shift = (int(rng.uniform(0.2, 0.4) * height), int(rng.uniform(0.2, 0.4) * width))
    for sign in (1, -1):
        moved = np.roll(objects, (sign * shift[0], sign * shift[1]), axis=(0, 1))
        out[moved] = np.roll(image, (sign * shift[0], sign * shift[1]), axis=(0, 1))[moved]
    return out


def noisy(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noise = rng.normal(0, rng.uniform(18, 30), size=image.shape)
    return (image + noise).clip(0, 255).round().astype(np.uint8)


Spoiler = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]
SPOILERS: tuple[Spoiler, ...] = (blurred, shuffled, miscoloured, erased_or_doubled, noisy)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", PAIRS)
def test_spoiled_samples_are_rejected(name: str) -> None:
    image, mask = read(name)
    rng = np.random.default_rng(0)
    scorer = SourceScorer(load_scoring_network(), image, mask)
    distances = [scorer.distances(*good_sample(image, mask, rng)) for _ in range(GOOD)]
    kinds = [spoil for spoil in SPOILERS for _ in range(OF_EACH_KIND)]
    for spoil in kinds:
        good_image, good_mask = good_sample(image, mask, rng)
        distances.append(scorer.distances(spoil(good_image, good_mask, rng), good_mask))
    verdicts = curate(np.stack(distances), 0.15, scorer.layer_names)
    missed = [s.__name__ for s, v in zip(kinds, verdicts[GOOD:], strict=True) if v.kept]
    assert len(kinds) - len(missed) >= MUST_GO, f"kept although spoiled: {missed}"
