"""Small pairs to upload."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from tests.integration.service.client import TestClient


def png(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def photograph(width: int = 96, height: int = 64, seed: int = 0) -> Image.Image:
    """Smooth colours and some noise: compresses as a photograph does."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def index_mask(width: int = 96, height: int = 64) -> Image.Image:
    mask = Image.new("L", (width, height), 0)
    draw = ImageDraw.Draw(mask)
    draw.rectangle((width // 8, height // 8, width // 2, height // 2), fill=1)
    draw.ellipse((width * 5 // 8, height // 2, width * 7 // 8, height * 7 // 8), fill=2)
    return mask


def pair_files(
    image: bytes | None = None, mask: bytes | None = None
) -> dict[str, tuple[str, bytes]]:
    return {
        "image": ("photo.png", png(photograph()) if image is None else image),
        "mask": ("mask.png", png(index_mask()) if mask is None else mask),
    }


def submit(gateway: TestClient, **fields: Any) -> str:
    response = gateway.post("/jobs", files=pair_files(), data=fields)
    assert response.status_code == 202, response.text
    job_id = response.json()["id"]
    assert isinstance(job_id, str)
    return job_id
