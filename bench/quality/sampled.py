"""Sets of a checkpoint: the product's, and the published method's alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.quality.keys import Snapshot
from bench.quality.setup import SAMPLES, U8
from osmis_core.data.pair import Pair
from osmis_core.generation import Sampler
from osmis_core.pixels import resize_sample, to_grey
from osmis_core.sample_set import SampleSetRequest, make_sample_set

GENERATED = round(1.25 * SAMPLES)
"""Of these the product rejects 15%, and as many are left as are judged."""


def product_set(snapshot: Snapshot, pair: Pair, archive: Path) -> dict[str, Any]:
    """Refined, scored and curated, as a job delivers it.

    Raises:
        TrainingError: ``collapsed``: the product refuses to make a set of it.
    """
    request = SampleSetRequest(
        n=GENERATED,
        seed=snapshot.run.seed,
        output_h=pair.height,
        output_w=pair.width,
        device=snapshot.run.device,
    )
    made = make_sample_set(
        pair,
        snapshot.checkpoint,
        request,
        archive,
        on_stage=lambda *_: None,
        should_stop=lambda: False,
    )
    return {"samples": GENERATED, "refiner_verbatim_share": made.metrics["verbatim_share"]}


def published_samples(snapshot: Snapshot, pair: Pair, count: int) -> Iterator[tuple[U8, U8]]:
    """As the generator makes them, enlarged: the paper neither refines nor rejects.

    Yields:
        uint8 image (H, W, 3) and classes (H, W), at the source's size.
    """
    sampler = Sampler(snapshot.checkpoint, snapshot.run.device)
    for coarse in sampler.sample(snapshot.run.seed, range(count)):
        image_HWC, mask_HW = resize_sample(coarse, (pair.height, pair.width))
        yield (to_grey(image_HWC) if pair.is_grey else image_HWC), mask_HW
