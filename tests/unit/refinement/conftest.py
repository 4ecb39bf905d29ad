from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture(autouse=True, scope="session")
def one_torch_thread() -> Iterator[None]:
    """Two threads of torch spin where another process wants the second core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture(scope="session")
def coins() -> tuple[np.ndarray, np.ndarray]:
    """A grey pair of two classes, 303×384."""
    image = Image.open(EXAMPLES / "coins/image.png").convert("RGB")
    return np.asarray(image), np.asarray(Image.open(EXAMPLES / "coins/mask.png"))


@pytest.fixture(scope="session")
def scene() -> tuple[np.ndarray, np.ndarray]:
    """A small colour pair of three classes on structured ground, 75×101."""
    noise = np.random.default_rng(3)
    y, x = np.mgrid[:75, :101]
    image = np.stack([2 * x, 3 * y, 60 + (x * y) % 90], axis=-1)
    image += noise.integers(0, 20, image.shape)
    mask = np.zeros((75, 101), dtype=np.uint8)
    disc = (y - 25) ** 2 + (x - 30) ** 2 < 15**2
    image[disc] = np.array([230, 40, 30]) + noise.integers(-20, 20, (int(disc.sum()), 3))
    mask[disc] = 1
    image[45:65, 55:90] = np.array([20, 30, 220]) + noise.integers(-20, 20, (20, 35, 3))
    mask[45:65, 55:90] = 2
    return np.clip(image, 0, 255).astype(np.uint8), mask
