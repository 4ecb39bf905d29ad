"""The tables' rows, and what the paper has in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.quality.keys import Run, make_run
from bench.quality.setup import ROOT, Effort, load_pair
from osmis_core.data.plan import TrainingOptions, plan_training
from osmis_core.data.supervision import MaskSupervisionName

PAIRS = ("coins", "davis_pair")
MINUTES = 6.0
MAX_SIZES = {"coins": 80, "davis_pair": 112}
"""Of the training frame, so that its shorter side has 64 pixels."""
EFFORT = Effort(judged=24, unet_repeats=3, folder=ROOT / "docs" / "tables")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a table.

    Attributes:
        name: as printed.
        supervision: what the discriminator does with masks.
        low_level_blocks: of the discriminator; None: as many as the size plan gives it.
        sifid: the paper's figure, at 640×384 pixels after 150 000 steps; lower is better.
        lpips: the same; higher is better.
        miou: the same, in percent; higher is better. None where there are no masks.
    """

    name: str
    supervision: MaskSupervisionName
    low_level_blocks: int | None = None
    sifid: float
    lpips: float
    miou: float | None = None


TABLE_3 = (
    Row(name="none (One-Shot GAN)", supervision="none", sifid=0.091, lpips=0.347),
    Row(name="projection", supervision="projection", sifid=0.071, lpips=0.362, miou=72.1),
    Row(name="input_concat", supervision="input_concat", sifid=0.079, lpips=0.328, miou=82.4),
    Row(
        name="mask_discriminator",
        supervision="mask_discriminator",
        sifid=0.074,
        lpips=0.351,
        miou=83.3,
    ),
    Row(name="mca", supervision="mca", sifid=0.073, lpips=0.387, miou=86.6),
)
TABLE_4 = tuple(
    Row(name=str(b), supervision="mca", low_level_blocks=b, sifid=s, lpips=d, miou=m)
    for b, s, d, m in (
        (1, 0.262, 0.395, 82.4),
        (2, 0.165, 0.404, 87.1),
        (3, 0.102, 0.394, 86.9),
        (4, 0.073, 0.387, 86.6),
    )
)


def run_of(pair: str, row: Row, seed: int) -> Run:
    """The training of a row; rows of both tables that ask for the same are one."""
    blocks = row.low_level_blocks or default_blocks(pair)
    options: dict[str, Any] = {
        "mask_supervision": row.supervision,
        "low_level_blocks": blocks,
        "max_size": MAX_SIZES[pair],
    }
    return make_run(
        pair,
        "published",
        seed,
        (MINUTES,),
        variant=f"{row.supervision}-low{blocks}-px{MAX_SIZES[pair]}",
        options=tuple(options.items()),
    )


def default_blocks(pair: str) -> int:
    """Low-level blocks at this size where nobody asks for a number."""
    options = TrainingOptions(method="osmis", max_size=MAX_SIZES[pair])
    return plan_training(load_pair(pair), options, has_gpu=False).size.low_level_blocks
