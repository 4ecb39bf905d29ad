"""The pairs, the methods and where their files lie."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from osmis_core.data.pair import Pair
from osmis_core.data.reader import read_pair

U8 = npt.NDArray[np.uint8]
Method = Literal["ours", "prototype", "augmented"]
METHODS: tuple[Method, ...] = ("ours", "prototype", "augmented")

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
PAIRS = {
    "coins": (ROOT / "examples/coins/image.png", ROOT / "examples/coins/mask.png"),
    "coffee": (ROOT / "examples/coffee/image.png", ROOT / "examples/coffee/mask.png"),
    "davis": (SHARED / "data/davis_pair/image.jpg", SHARED / "data/davis_pair/mask.png"),
}
PROTOTYPE = SHARED / "prototype"
WORK = ROOT / "out" / "quality"
DOCS = ROOT / "docs"
PICTURES = DOCS / "quality"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One set to make and judge.

    Attributes:
        pair: name of the pair.
        method: who makes the set.
        seed: of the training and the set.
        minutes: of training; 0 for ``augmented``.
        code: the first 12 digits of the hash of what makes the set.
    """

    pair: str
    method: Method
    seed: int
    minutes: float
    code: str

    @property
    def key(self) -> str:
        """Names the run in file names."""
        return f"{self.pair}-{self.method}-s{self.seed}-m{self.minutes:g}-{self.code}"

    @property
    def folder(self) -> Path:
        """Where its set lies."""
        return WORK / self.key


def make_run(pair: str, method: Method, seed: int, minutes: float) -> Run:
    """A run keyed by the code that makes it: changed code means a new run."""
    minutes = 0.0 if method == "augmented" else minutes
    return Run(pair=pair, method=method, seed=seed, minutes=minutes, code=code_hash(method))


def code_hash(method: Method) -> str:
    """Hash of the files that decide a method's set."""
    if method == "ours":
        folders = ("data", "models", "augment", "training", "refinement")
        core = ROOT / "osmis_core"
        files = [p for folder in folders for p in (core / folder).rglob("*.py")]
        files += [core / "losses.py", core / "generation.py"]
    elif method == "prototype":
        files = list(PROTOTYPE.glob("*.py"))
    else:
        files = [Path(__file__).with_name("augmented.py")]
    return hash_of(files)


def measure_hash() -> str:
    """Hash of the files that decide the measurements."""
    files = list((ROOT / "osmis_core" / "metrics").rglob("*.py"))
    return hash_of([*files, Path(__file__).with_name("evaluate.py")])


def hash_of(files: list[Path]) -> str:
    """First 12 digits of the SHA-256 of names and contents."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def load_pair(name: str) -> Pair:
    """Reads one of the pairs; ``davis`` is not part of the project."""
    image, mask = PAIRS[name]
    if not image.exists():
        raise SystemExit(f"{name}: {image} is not here.")
    return read_pair(image, mask)


def read_set(place: Path, limit: int | None = None) -> list[tuple[U8, U8]]:
    """Images and masks of a folder or a zip with images/ and masks/, in order of their names."""
    if place.is_dir():
        names = [str(p.relative_to(place)) for p in (place / "images").glob("*.png")]
        return _read_pairs(sorted(names)[:limit], lambda name: (place / name).read_bytes())
    with zipfile.ZipFile(place) as archive:
        names = [n for n in archive.namelist() if n.startswith("images/") and n.endswith(".png")]
        return _read_pairs(sorted(names)[:limit], archive.read)


def _read_pairs(names: list[str], read: Callable[[str], bytes]) -> list[tuple[U8, U8]]:
    pairs = []
    for name in names:
        image = Image.open(BytesIO(read(name))).convert("RGB")
        mask = Image.open(BytesIO(read(name.replace("images/", "masks/", 1))))
        pairs.append((np.asarray(image), np.asarray(mask)))
    return pairs
