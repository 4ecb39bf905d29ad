"""What a bench prints: one line of JSON for programs, one line for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

U8 = npt.NDArray[np.uint8]
ROOT = Path(__file__).resolve().parents[1]


def report(human: str, **values: Any) -> None:
    """Prints a measurement."""
    print(json.dumps(values, ensure_ascii=False))
    print(human, flush=True)


def load_example(name: str) -> U8:
    """An example pair's image, uint8 RGB."""
    return np.asarray(Image.open(ROOT / "examples" / name / "image.png").convert("RGB"))
