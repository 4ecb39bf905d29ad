"""Small pictures, and sets of files made from them."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 48, 64


def encoded(array: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


def scene(seed: int, height: int = HEIGHT, width: int = WIDTH) -> tuple[np.ndarray, np.ndarray]:
    """A noisy bright rectangle, class 1, somewhere on a dark ground."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    top, left = int(rng.integers(4, height // 3)), int(rng.integers(4, width // 2))
    mask[top : top + height // 2, left : left + width // 3] = 1
    image = np.where(mask[..., None] > 0, (210, 160, 60), (40, 60, 90)) + rng.normal(
        0, 12, (height, width, 3)
    )
    return image.clip(0, 255).astype(np.uint8), mask


@dataclass
class Source:
    """The pair's files."""

    image: Path
    mask: Path
    image_HWC: np.ndarray
    mask_HW: np.ndarray


@dataclass
class SetOfFiles:
    """Files of a set, by name, to be zipped or laid out."""

    folder: Path
    files: dict[str, bytes] = field(default_factory=dict)

    def add(self, stem: str, image: np.ndarray, mask: np.ndarray, suffix: str = "png") -> None:
        kind = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP"}[suffix]
        self.files[f"images/{stem}.{suffix}"] = encoded(image, kind)
        self.files[f"masks/{stem}.png"] = encoded(mask)

    def zipped(self, prefix: str = "") -> Path:
        path = self.folder / "set.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in self.files.items():
                archive.writestr(prefix + name, content)
        return path

    def laid_out(self) -> Path:
        path = self.folder / "set"
        for name, content in self.files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
        return path
