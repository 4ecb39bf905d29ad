"""Scoring 100 samples on four layers: ours against the textbook's matrix square root.

    python -m bench.scoring                       # both networks
    python -m bench.scoring --samples 20 --textbook-samples 1

Both sides get the same feature maps, and both have the source's statistics ready; only the distance
is compared. The textbook side is ``numpy.cov`` and ``scipy.linalg.sqrtm`` in float64 for every
sample and layer, timed on a few samples and scaled to all. Each of these samples is timed on both
sides, one after the other, so that the ratio holds on a machine whose load changes.

Two networks: InceptionV3, whose four layers are SIFID's (random weights: the shapes decide the
time; its normalisation is fitted to the source so that no layer is empty), and the shift-tolerant
VGG-16 that scores by default. InceptionV3's deepest layer has 2048 channels and few positions:
there the square root of a 2048×2048 matrix meets the nuclear norm of an 80×80 one. VGG-16 has at
most 512 channels and many positions: there both sides mostly multiply features into covariances,
and no exact formula can be much faster.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from scipy.linalg import sqrtm
from torch import Tensor
from torchvision.models import inception_v3

from bench.measurement import U8, load_example, report
from osmis_core.metrics import FrechetReference, ScoringNetwork, load_scoring_network
from osmis_core.metrics.features import INCEPTION_LAYERS, InceptionFeatures, to_signed
from osmis_core.metrics.scoring import flat

F64 = npt.NDArray[np.float64]
Given = TypeVar("Given")
Found = TypeVar("Found")

BAR, AIM = 50, 200
TOLERANCE = 1e-4
SPREAD_LEVELS = 8


@dataclass
class Timings:
    """Seconds, one entry a sample.

    Attributes:
        network: features of one sample, all layers.
        ours: our distance of one sample, all layers.
        paired: the same for the samples that the textbook measured too.
        textbook: its distance of one sample, all layers.
        error: largest relative difference of the two distances.
    """

    network: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    paired: list[float] = field(default_factory=list)
    textbook: list[float] = field(default_factory=list)
    error: float = 0.0


def main() -> int:
    """Measures both networks; fails when SIFID's layers miss the bar or the figures disagree."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--textbook-samples", type=int, default=2)
    parser.add_argument("--network", choices=("inception", "vgg", "both"), default="both")
    chosen = parser.parse_args()
    source = load_example("coins")
    networks: dict[str, Callable[[], ScoringNetwork]] = {
        "inception": lambda: random_inception(source),
        "vgg": lambda: load_scoring_network(fast=False),
    }
    if chosen.network != "both":
        networks = {chosen.network: networks[chosen.network]}
    failed = False
    for key, make in networks.items():
        timings = measure(make(), source, chosen.samples, chosen.textbook_samples)
        ratio = tell(key, timings)
        failed |= timings.error > TOLERANCE or (key == "inception" and ratio < BAR)
    return int(failed)


def random_inception(source_HWC: U8) -> ScoringNetwork:
    """InceptionV3 with random weights, its normalisation fitted to the source."""
    torch.manual_seed(0)
    random_net = inception_v3(weights=None, aux_logits=True, init_weights=False)
    net = InceptionFeatures(random_net.state_dict())
    norms = [part for part in net.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
        norm.train()
    with torch.inference_mode():
        net(to_signed(source_HWC)[None])
    return ScoringNetwork(
        name="InceptionV3, random weights",
        distance_name="single-image Fréchet distance, InceptionV3 with random weights",
        layer_names=INCEPTION_LAYERS,
        weights_sha256="",
        longest_px=None,
        net=net.eval().to(memory_format=torch.channels_last),
        device=torch.device("cpu"),
        fast=False,
    )


def measure(
    network: ScoringNetwork, source_HWC: U8, samples: int, textbook_samples: int
) -> Timings:
    """Times ``samples`` samples, the first few of them on both sides."""
    timings = Timings()
    source = [flat(f) for f in network.features(source_HWC)]
    references = [FrechetReference.of(f) for f in source]
    statistics_ = [moments(f) for f in source]
    for index in range(samples):
        sample = spoiled(source_HWC, index)
        seconds, maps = timed(lambda image: [flat(f) for f in network.features(image)], sample)
        timings.network.append(seconds)
        seconds, ours = timed(
            lambda found: [r.distance(f) for r, f in zip(references, found, strict=True)], maps
        )
        timings.ours.append(seconds)
        if index < textbook_samples:
            timings.paired.append(seconds)
            seconds, textbook = timed(
                lambda found: [
                    textbook_distance(s, f) for s, f in zip(statistics_, found, strict=True)
                ],
                maps,
            )
            timings.textbook.append(seconds)
            worst = max(abs(a - b) / b for a, b in zip(ours, textbook, strict=True))
            timings.error = max(timings.error, worst)
    return timings


def tell(key: str, timings: Timings) -> float:
    """Prints the lines of one network; returns the ratio."""
    count = len(timings.ours)
    pairs = zip(timings.textbook, timings.paired, strict=True)
    ratio = statistics.median(theirs / ours for theirs, ours in pairs)
    ours, textbook = sum(timings.ours), count * statistics.mean(timings.textbook)
    network = sum(timings.network)
    layers = "SIFID's layers" if key == "inception" else "the default network's layers"
    report(
        f"scoring {count} samples on {layers}: {ours:.1f} s, textbook {textbook:.0f} s"
        f" ({len(timings.textbook)} samples timed, scaled): {ratio:.0f}× paired;"
        f" with the network {ours + network:.1f} s against {textbook + network:.0f} s;"
        f" figures agree to {timings.error:.0e}",
        bench="scoring",
        network=key,
        samples=count,
        layers=4,
        threads=torch.get_num_threads(),
        ours_seconds=round(ours, 3),
        textbook_seconds=round(textbook, 3),
        textbook_samples_timed=len(timings.textbook),
        network_seconds=round(network, 3),
        ratio=round(ratio, 1),
        total_ratio=round((textbook + network) / (ours + network), 1),
        bar=BAR if key == "inception" else None,
        aim=AIM if key == "inception" else None,
        largest_relative_difference=timings.error,
    )
    return ratio


def timed(call: Callable[[Given], Found], given: Given) -> tuple[float, Found]:
    """Seconds of a call, and what it gave."""
    began = time.perf_counter()
    found = call(given)
    return time.perf_counter() - began, found


def spoiled(source_HWC: U8, index: int) -> U8:
    """A stand-in for a generated sample: rolled, mirrored for odd ``index``, and noisy."""
    rng = np.random.default_rng(index)
    moved = np.roll(source_HWC, int(rng.integers(20, 200)), axis=1)
    noise = rng.normal(0, SPREAD_LEVELS, moved.shape)
    mirrored = moved[:, ::-1] if index % 2 else moved
    return (mirrored + noise).clip(0, 255).astype(np.uint8)


def moments(features_CN: Tensor) -> tuple[F64, F64]:
    """Mean (C,) and covariance (C, C) in float64."""
    wide_CN = features_CN.numpy().astype(np.float64)
    return wide_CN.mean(1), np.cov(wide_CN)


def textbook_distance(source: tuple[F64, F64], features_CN: Tensor) -> float:
    """‖Δμ‖² + tr(Σx + Σy - 2 (Σx Σy)^½), as it is written."""
    (mean_x, cov_x), (mean_y, cov_y) = source, moments(features_CN)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deep layers have singular covariances
        root = sqrtm(cov_x @ cov_y).real
    return float(((mean_x - mean_y) ** 2).sum() + np.trace(cov_x + cov_y - 2 * root))


if __name__ == "__main__":
    raise SystemExit(main())
