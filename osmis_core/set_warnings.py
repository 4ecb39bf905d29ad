"""What a finished set tells of its training: pairs that a user should look at before using them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from osmis_core.training.hooks import TrainingWarning

PLAUSIBLE_SHARE = 0.5
"""With fewer samples whose objects are all shaped as the source's, many pairs show broken ones."""
ALIKE_IOU = 0.6
"""Mean IoU of any two samples' foregrounds: of sets with different layouts .1 to .4."""


def set_warnings(metrics: Mapping[str, Any]) -> list[TrainingWarning]:
    """Warnings about a set.

    Args:
        metrics: as ``make_sample_set`` measures them.

    Returns:
        ``few_plausible`` and ``alike``, where they apply.
    """
    found = []
    screening, layout_iou = metrics.get("screening"), metrics.get("layout_iou")
    if screening is not None and screening["plausible_share"] < PLAUSIBLE_SHARE:
        found.append(
            TrainingWarning(
                code="few_plausible",
                detail=f"Only {screening['plausible_share']:.0%} of the samples have objects that "
                "are all shaped as the source's; look for fused and broken ones.",
                hint="The training was too short for this pair, or its machine too busy: give it "
                "more time.",
            )
        )
    if layout_iou is not None and layout_iou > ALIKE_IOU:
        found.append(
            TrainingWarning(
                code="alike",
                detail="The samples show nearly the same layout: the masks of any two overlap by "
                f"{layout_iou:.0%} (intersection over union, on average).",
                hint="Another seed, or more time, may give other layouts. Objects that fill the "
                "frame are not moved.",
            )
        )
    return found
