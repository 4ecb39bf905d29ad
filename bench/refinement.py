"""Seconds per refined sample, ours and the prototype's algorithm on the same coarse samples.

    python -m bench.refinement                 # ours; the prototype too where it lies beside
    python -m bench.refinement --samples 8 --no-prototype
    python -m bench.refinement --hundred       # 100 samples of coffee, as a sample set refines them
    python -m bench.refinement --hundred --device cuda     # in batches

The coarse samples are mirrored and shifted copies of the source, made small. Both sides of a pair
run one after the other, so that the ratio holds on a machine whose load changes. ``--hundred``
takes all threads and counts the source's pyramid in, but neither compiling nor writing files.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numba
import numpy as np
import torch
from PIL import Image

from bench import measurement
from osmis_core.refinement import RefinementOptions, Refiner, refiner_on
from osmis_core.refinement.features import F32, resize
from osmis_core.refinement.source import level_sizes

ROOT = Path(__file__).resolve().parents[1]
PROTOTYPE = ROOT.parent / "shared/prototype/refine.py"
COARSE_HW = {"coins": (64, 80), "coffee": (64, 96)}
HUNDRED = 100
HUNDRED_BAR_SECONDS, HUNDRED_AIM_SECONDS = 80, 40
"""For 400×600 pixels on two cores."""


def main() -> None:
    """Times both examples and prints a table, or one of them a hundred times over."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--no-prototype", action="store_true")
    parser.add_argument("--hundred", action="store_true")
    arguments = parser.parse_args()
    if arguments.device.type == "cuda" and not torch.cuda.is_available():
        print("skipped: there is no CUDA device here")
        return
    options = RefinementOptions(threads=arguments.threads)
    if arguments.hundred:
        report_hundred(arguments.device, options)
        return
    prototype = None if arguments.no_prototype else load_prototype()
    for name in COARSE_HW:
        report(name, arguments.samples, arguments.device, options, prototype)


def report(
    name: str,
    samples: int,
    device: torch.device,
    options: RefinementOptions,
    prototype: ModuleType | None,
) -> None:
    """Prints the seconds of one example."""
    image, mask = load_pair(name)
    started = time.perf_counter()
    refiner = refiner_of(name, device, options)
    built = time.perf_counter() - started
    coarse = coarse_samples(name, samples)
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


def report_hundred(device: torch.device, options: RefinementOptions) -> None:
    """Prints the seconds that a set of 100 samples at 400×600 spends on refinement."""
    coarse = coarse_samples("coffee", HUNDRED)
    samples = [(*pair, seed) for seed, pair in enumerate(coarse)]
    first = seconds(lambda: refiner_of("coffee", device, options).refine(*coarse[0], seed=0))
    # results are dropped one by one, as a set drops them once they are on disk
    took = seconds(
        lambda: sum(1 for _ in refiner_of("coffee", device, options).refine_each(samples))
    )
    height, width = load_pair("coffee")[1].shape
    threads = options.threads or numba.config.NUMBA_NUM_THREADS
    where = f"{threads} threads" if device.type == "cpu" else str(device)
    measurement.report(
        f"refinement, {HUNDRED} samples at {height}×{width}, {where}: {took:.1f} s"
        f" (two cores: at most {HUNDRED_BAR_SECONDS}, aim {HUNDRED_AIM_SECONDS})",
        row="refinement-100",
        samples=HUNDRED,
        output_hw=[height, width],
        device=device.type,
        threads=threads,
        seconds=round(took, 2),
        first_sample_seconds=round(first, 2),
        bar_seconds=HUNDRED_BAR_SECONDS,
        aim_seconds=HUNDRED_AIM_SECONDS,
    )


def load_pair(name: str) -> tuple[np.ndarray, np.ndarray]:
    """An example's image and classes."""
    mask = np.asarray(Image.open(ROOT / "examples" / name / "mask.png"))
    return measurement.load_example(name), mask


def refiner_of(name: str, device: torch.device, options: RefinementOptions) -> Refiner:
    """What refines an example's samples to its own size on this device."""
    image, mask = load_pair(name)
    class_count = int(mask.max()) + 1
    return refiner_on(device, image, mask, class_count, COARSE_HW[name], mask.shape, options)


def coarse_samples(name: str, count: int) -> list[tuple[F32, F32]]:
    """Samples 0 … count − 1 of an example."""
    image, mask = load_pair(name)
    class_count = int(mask.max()) + 1
    return [coarse_sample(image, mask, class_count, COARSE_HW[name], i) for i in range(count)]


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
