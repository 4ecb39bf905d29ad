"""From a name in the configuration to the supervision."""

from __future__ import annotations

from osmis_core.models.discriminator import DiscriminatorConfig
from osmis_core.models.supervision.base import MaskSupervision
from osmis_core.models.supervision.concatenation import InputConcatenation
from osmis_core.models.supervision.content_attention import MaskedContentAttention
from osmis_core.models.supervision.mask_discriminator import MaskDiscriminator
from osmis_core.models.supervision.projection import Projection


def osmis_supervision(name: str, config: DiscriminatorConfig) -> MaskSupervision:
    """One of the paper's Table 3, for the published discriminator.

    Args:
        name: ``none``, ``projection``, ``input_concat``, ``mask_discriminator`` or ``mca``.
        config: of the discriminator that it belongs to.

    Raises:
        ValueError: no such supervision.
    """
    classes, low_level_widths = config.class_count, config.low_level_widths
    match name:
        case "none":
            return MaskSupervision()
        case "projection":
            return Projection(
                classes,
                low_level_widths=low_level_widths,
                layout_layers=config.blocks - config.low_level_blocks,
            )
        case "input_concat":
            return InputConcatenation(classes)
        case "mask_discriminator":
            return MaskDiscriminator(classes, widths=low_level_widths)
        case "mca":
            return MaskedContentAttention(classes, masked_mean=config.masked_mean)
    raise ValueError(f"no mask supervision is called {name!r}")


def projected_supervision(name: str, class_count: int) -> MaskSupervision:
    """``mca`` or ``none``, for the discriminator on frozen features.

    Raises:
        ValueError: another one; they belong to the published discriminator.
    """
    match name:
        case "none":
            return MaskSupervision()
        case "mca":
            return MaskedContentAttention(class_count, masked_mean=True)
    raise ValueError(f"mask supervision {name!r} needs the published discriminator")
