"""Which mask supervision fits a pair and a method, decided without loading the method itself."""

from __future__ import annotations

from typing import Literal

from osmis_core.data.pair import Pair
from osmis_core.data.size_plan import SizePlan
from osmis_core.errors import OsmisError, PairError

MaskSupervisionName = Literal["none", "projection", "input_concat", "mask_discriminator", "mca"]
"""What the discriminator does with masks (OSMIS, Table 3); ``mca`` is the paper's own."""

LOW_LEVEL_BLOCKS = range(1, 6)
"""What the paper's Table 4 compares."""

_ON_FROZEN_FEATURES = ("mca", "none")


def check_supervision(pair: Pair, name: MaskSupervisionName, method: str) -> None:
    """Refuses what doesn't fit together.

    Args:
        pair: the pair as read.
        name: the wished supervision.
        method: ``projected`` or ``osmis``.

    Raises:
        PairError: ``mask_missing`` or ``mask_not_used``.
        OsmisError: ``needs_osmis``.
    """
    if name == "none" and pair.has_mask:
        raise PairError(
            "mask_supervision=none trains on the image alone, but there is a mask",
            hint="Leave the mask out, or leave mask_supervision out to train on both.",
            code="mask_not_used",
        )
    if name != "none" and not pair.has_mask:
        raise PairError(
            f"mask_supervision={name} needs a mask",
            hint="Send the image's mask, or set mask_supervision=none for images alone.",
            code="mask_missing",
        )
    if method == "projected" and name not in _ON_FROZEN_FEATURES:
        raise OsmisError(
            f"mask_supervision={name} belongs to the published method, not to method=projected",
            hint="Set method=osmis, or use mask_supervision=mca (or none, for images alone).",
            code="needs_osmis",
        )


def check_low_level_blocks(wanted: int | None, method: str, size: SizePlan) -> None:
    """Refuses a depth that the discriminator can't have.

    Args:
        wanted: low-level blocks; None leaves them to the size plan.
        method: ``projected`` or ``osmis``.
        size: at which size the pair is learned.

    Raises:
        OsmisError: ``needs_osmis`` or ``too_many_low_level_blocks``.
    """
    if wanted is None:
        return
    if method == "projected":
        raise OsmisError(
            "low_level_blocks belongs to the published method, not to method=projected",
            hint="Set method=osmis, or leave low_level_blocks out.",
            code="needs_osmis",
        )
    # One block has to be left for layout and content, and each looks at another scale's image.
    most = min(size.discriminator_blocks - 1, size.generator_blocks)
    if wanted > most:
        raise OsmisError(
            f"low_level_blocks can't be {wanted} at {size.train_w}×{size.train_h} pixels",
            hint=f"At this size 1 to {most} work, {size.low_level_blocks} is usual; "
            "a larger training size may allow more.",
            code="too_many_low_level_blocks",
        )
