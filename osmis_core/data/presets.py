"""What a preset sets: method, length and size, and what each is for.

``draft`` and ``standard`` use both steps beyond the paper (frozen features, refinement), ``paper``
is the published method.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Method = Literal["projected", "osmis"]
PresetName = Literal["draft", "standard", "paper"]


@dataclass(frozen=True, kw_only=True)
class Preset:
    """One preset.

    Attributes:
        name: as in ``preset=``.
        summary: what it does, for people.
        method: which discriminator, unless the user names one.
        training_seconds: time budget of the training; None where ``iterations`` decides.
        iterations: training steps; None where the time budget decides.
        shorter_px: side that sets the training size; None where ``longest_px`` does.
        finest_shorter_px: how far that side is raised where objects are small, with ``projected``.
        longest_px: the same for the longest side.
        typical_train_hw: what these make of a 600×400 image, for estimates.
        needs_gpu: would take days without one.
    """

    name: PresetName
    summary: str
    method: Method
    training_seconds: float | None = None
    iterations: int | None = None
    shorter_px: int | None = None
    finest_shorter_px: int | None = None
    longest_px: int | None = None
    typical_train_hw: tuple[int, int] = (64, 96)
    needs_gpu: bool = False


PRESETS: dict[PresetName, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="draft",
            summary="A quick look: layouts are learned, small parts are often broken.",
            method="projected",
            training_seconds=180.0,
            shorter_px=64,
            finest_shorter_px=96,
        ),
        Preset(
            name="standard",
            summary="For use: trained small on frozen features, refined to the source's size.",
            method="projected",
            training_seconds=600.0,
            shorter_px=64,
            finest_shorter_px=96,
        ),
        Preset(
            name="paper",
            summary="The published method at full size, without any pre-training.",
            method="osmis",
            iterations=100_000,
            longest_px=640,
            typical_train_hw=(384, 640),
            needs_gpu=True,
        ),
    )
}
