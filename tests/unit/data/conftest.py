"""Pairs and files that the reader's tests are made of."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

# A busy machine is no failure.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")

Encode = Callable[..., bytes]


def encode(image: Image.Image | np.ndarray, file_format: str = "PNG", **options: Any) -> bytes:
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


@pytest.fixture(name="encode")
def encode_fixture() -> Encode:
    return encode


@pytest.fixture(name="labels_HW")
def labels_fixture() -> np.ndarray:
    """Three classes: background, a block, a smaller block; not symmetric under any turn."""
    labels_HW = np.zeros((48, 64), dtype=np.uint8)
    labels_HW[6:30, 8:28] = 1
    labels_HW[34:44, 40:60] = 2
    return labels_HW


@pytest.fixture(name="photo_HWC")
def photo_fixture() -> np.ndarray:
    """A smooth colour image of 64×48 pixels."""
    rows, columns = np.mgrid[0:48, 0:64]
    channels = [rows * 5, columns * 4, (rows + columns) * 2]
    return np.stack(channels, axis=-1).clip(0, 255).astype(np.uint8)


@pytest.fixture
def photo(photo_HWC: np.ndarray) -> bytes:
    return encode(photo_HWC)


@pytest.fixture
def mask(labels_HW: np.ndarray) -> bytes:
    return encode(labels_HW)
