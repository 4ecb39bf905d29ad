"""The contact sheet of a training in progress: what a user watches it learn by."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from osmis_core.data.pair import Pair
from osmis_core.data.size_plan import resize_pair
from osmis_core.export.contact_sheet import SheetText, SheetTile, contact_sheet
from osmis_core.generation import Sampler
from osmis_core.pixels import resize_sample, to_classes, to_grey, to_u8

SAMPLES = 12


def preview_sheet(checkpoint: Path, pair: Pair, *, device: str = "auto") -> Image.Image:
    """Source and samples, not refined, at twice the training size."""
    sampler = Sampler(checkpoint, device)
    size = sampler.config.size
    output_hw = (2 * size.content_h, 2 * size.content_w)
    source_HWC, shares_HWK = resize_pair(pair, *output_hw)
    source_HW = to_classes(shares_HWK) if pair.has_mask else None
    source = SheetTile(to_u8(source_HWC), source_HW, "source")
    tiles = []
    for i, coarse in enumerate(sampler.sample(sampler.config.seed, range(SAMPLES))):
        image_HWC, mask_HW = resize_sample(coarse, output_hw)
        shown_HWC = to_grey(image_HWC) if pair.is_grey else image_HWC
        tiles.append(SheetTile(shown_HWC, mask_HW if pair.has_mask else None, f"{i}"))
    planned = f" of {sampler.config.steps}" if sampler.config.steps else ""
    text = SheetText(
        title="Learning",
        subtitle=f"step {sampler.step}{planned}, before refinement",
        class_names=pair.class_names,
    )
    return contact_sheet(tiles, source, text)
