"""Seconds per refined sample, ours and the prototype's algorithm on the same coarse samples.

    python bench/refinement.py                 # ours; the prototype too where it lies beside
    python bench/refinement.py --samples 8 --no-prototype

The coarse samples are mirrored and shifted copies of the source, made small. Both sides of a pair
run one after the other, so that the ratio holds on a machine whose load changes.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from PIL import Image

from osmis_core.refinement import RefinementOptions, Refiner
from osmis_core.refinement.features import F32, resize
from osmis_core.refinement.source import level_sizes

ROOT = Path(__file__).resolve().parents[1]
PROTOTYPE = ROOT.parent / "shared/prototype/refine.py"
COARSE_HW = {"coins": (64, 80), "coffee": (64, 96)}


def main() -> None:
    """Times both examples and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--no-prototype", action="store_true")
    arguments = parser.parse_args()
    prototype = None if arguments.no_prototype else load_prototype()
    for name, coarse_hw in COARSE_HW.items():
        report(name, coarse_hw, arguments.samples, arguments.threads, prototype)


def report(
    name: str,
    coarse_hw: tuple[int, int],
    samples: int,
    threads: int | None,
    prototype: ModuleType | None,
) -> None:
    """Prints the seconds of one example."""
    folder = ROOT / "examples" / name
    image = np.asarray(Image.open(folder / "image.png").convert("RGB"))
    mask = np.asarray(Image.open(folder / "mask.png"))
    class_count = int(mask.max()) + 1
    started = time.perf_counter()
    options = RefinementOptions(threads=threads)
    refiner = Refiner(image, mask, class_count, coarse_hw, mask.shape, options)
    built = time.perf_counter() - started
    coarse = [coarse_sample(image, mask, class_count, coarse_hw, i) for i in range(samples)]
    first = seconds(lambda: refiner.refine(*coarse[0], seed=0))
    ours, theirs = [], []
    for seed, (image_HWC, mask_HWK) in enumerate(coarse):
        ours.append(seconds(lambda: refiner.refine(image_HWC, mask_HWK, seed=seed)))  # noqa: B023
        if prototype is not None:
            theirs.append(time_prototype(prototype, image, mask, image_HWC, mask_HWK))
    size = f"{mask.shape[0]}×{mask.shape[1]}"
    print(f"{name} {size}: built in {built:.2f} s, first call {first:.2f} s (compiles or loads)")
    print(f"  ours       min {min(ours):.3f} s  median {statistics.median(ours):.3f} s")
    if theirs:
        ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
        print(f"  prototype  min {min(theirs):.3f} s  median {statistics.median(theirs):.3f} s")
        print(f"  paired ratio, median: {ratio:.1f}×")


def coarse_sample(
    image: np.ndarray, mask: np.ndarray, class_count: int, coarse_hw: tuple[int, int], index: int
) -> tuple[F32, F32]:
    """The source made small, mirrored for odd ``index``, rolled and slightly noisy."""
    rng = np.random.default_rng(index)
    shift = int(rng.integers(mask.shape[1] // 8, mask.shape[1] // 2))
    moved, moved_mask = np.roll(image, shift, axis=1), np.roll(mask, shift, axis=1)
    if index % 2:
        moved, moved_mask = moved[:, ::-1], moved_mask[:, ::-1]
    shares = (moved_mask[..., None] == np.arange(class_count)).astype(np.float32)
    small = resize(moved.astype(np.float32) / np.float32(127.5) - 1, *coarse_hw)
    noise = rng.normal(0, 0.03, small.shape).astype(np.float32)
    return small + noise, resize(shares, *coarse_hw)


def load_prototype() -> ModuleType | None:
    """The prototype's module, if it lies beside the repository."""
    if not PROTOTYPE.exists():
        return None
    spec = importlib.util.spec_from_file_location("prototype_refine", PROTOTYPE)
    if spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def time_prototype(
    prototype: ModuleType, image: np.ndarray, mask: np.ndarray, image_HWC: F32, mask_HWK: F32
) -> float:
    """Seconds that the prototype's algorithm takes for one sample."""
    classes = np.arange(mask_HWK.shape[2])
    shares = (mask[..., None] == classes).astype(np.float32)
    source, source_mask, sample, sample_mask = (
        torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))[None].float()
        for array in (image / 127.5 - 1, shares, image_HWC, mask_HWK)
    )
    sizes = level_sizes(image_HWC.shape[:2], mask.shape, 1.5)
    return seconds(
        lambda: prototype.refine(sample, sample_mask, source, source_mask, sizes, seed=0)
    )


def seconds(call: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
