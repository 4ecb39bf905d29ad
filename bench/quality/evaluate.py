"""Measures a set against its source; the same number of samples whoever made it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.quality.setup import U8, WORK, Run, load_pair, measure_hash, read_set
from osmis_core.data.pair import Pair
from osmis_core.data.size_plan import resize_pair
from osmis_core.metrics import (
    LayoutMatcher,
    LpipsDistance,
    SourceScorer,
    class_faults,
    layout_diversity,
    load_scoring_network,
    mean_pairwise_lpips,
)
from osmis_core.metrics.unet import UnetOptions, mean_iou, train_unet

JUDGED = 12
"""Samples of every set that pictures and U-Nets are judged by: what the prototype can refine in
reasonable time."""
MASKS_JUDGED = 85
"""Masks of a set that layouts are judged by, as far as there are so many; means over samples or
pairs of samples, so unequal counts are fair."""
UNET_REPEATS = 2


def result_path(run: Run) -> Path:
    """Where a run's measurements are kept."""
    return WORK / "results" / f"{run.key}-{measure_hash()}.json"


def evaluate(run: Run, place: Path) -> dict[str, Any]:
    """All measurements of one set, kept in a file; measured once a run and measuring code."""
    path = result_path(run)
    if path.exists():
        return dict(json.loads(path.read_text()))
    pair = load_pair(run.pair)
    kept = read_set(place, MASKS_JUDGED)
    samples = kept[:JUDGED]
    began = time.monotonic()
    result: dict[str, Any] = {
        "pair": run.pair,
        "method": run.method,
        "seed": run.seed,
        "minutes": run.minutes,
        "code": run.code,
        "measured_with": measure_hash(),
        "judged": len(samples),
        "masks_judged": len(kept),
        "made": json.loads((run.folder / "made.json").read_text()),
        **_picture_measures(pair, samples),
        **_mask_measures(pair, [mask for _, mask in kept]),
        **_unet_measure("unet_miou", pair, samples, UNET_REPEATS),
        **(_unet_measure("unet_miou_all", pair, kept, 1) if len(kept) > len(samples) else {}),
    }
    result["evaluation_seconds"] = round(time.monotonic() - began, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    return result


def _picture_measures(pair: Pair, samples: list[tuple[U8, U8]]) -> dict[str, Any]:
    network = load_scoring_network()
    height, width = samples[0][1].shape
    source_HWC, _ = resize_pair(pair, height, width)
    scorer = SourceScorer(network, np.rint((source_HWC + 1) * 127.5).clip(0, 255).astype(np.uint8))
    distances_NL = np.stack([scorer.distances(image) for image, _ in samples])
    metric = LpipsDistance()
    return {
        "distance_name": network.distance_name,
        "distance": dict(zip(scorer.layer_names, distances_NL.mean(0).tolist(), strict=True)),
        "layers_left_out": list(scorer.left_out),
        "diversity_name": metric.name,
        "diversity": mean_pairwise_lpips([image for image, _ in samples], metric=metric),
    }


def _mask_measures(pair: Pair, masks: list[U8]) -> dict[str, Any]:
    matcher = LayoutMatcher(pair.mask_HW)
    matches = [matcher.match(mask) for mask in masks]
    faults = [bool(class_faults(mask, pair.mask_HW, pair.class_count)) for mask in masks]
    return {
        "novel_share": float(np.mean([match.is_novel for match in matches])),
        "source_iou": float(np.mean([match.iou for match in matches])),
        "layout_iou": layout_diversity(masks),
        "fault_share": float(np.mean(faults)),
    }


def _unet_measure(
    name: str, pair: Pair, samples: list[tuple[U8, U8]], repeats: int
) -> dict[str, Any]:
    images, masks = [image for image, _ in samples], [mask for _, mask in samples]
    values = []
    for seed in range(repeats):
        options = UnetOptions(seed=seed)
        net = train_unet(images, masks, pair.class_count, options)
        values.append(mean_iou(net, pair.image_HWC, pair.mask_HW, pair.class_count, options))
    return {name: float(np.mean(values)), f"{name}_repeats": values}
