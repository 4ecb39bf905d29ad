"""The whole state of a training's networks, as named tensors: read it, put it back."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from osmis_core.errors import CheckpointError
from osmis_core.training.checkpoint import load_optimiser, optimiser_tensors, part_of
from osmis_core.training.step import Networks


def state_tensors(networks: Networks) -> dict[str, Tensor]:
    """Weights, singular vectors, averages and both Adams: all that the next step depends on.

    There is no random state: every draw is a function of the seed and the step. The tensors are
    the networks' own; whoever keeps them beyond the next step copies them.
    """
    modules = {
        "generator": networks.generator,
        "average": networks.average,
        "discriminator": networks.discriminator,
        "overlap": networks.overlap_penalty,
    }
    tensors = {
        f"{prefix}.{name}": value
        for prefix, module in modules.items()
        for name, value in module.state_dict().items()
    }
    tensors |= optimiser_tensors(networks.adam_generator, "adam_generator")
    tensors |= optimiser_tensors(networks.adam_discriminator, "adam_discriminator")
    return tensors


def load_state(networks: Networks, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of ``state_tensors``, in place; learning rates stay as they are.

    Raises:
        CheckpointError: the tensors are of networks that are laid out otherwise.
    """
    try:
        networks.generator.load_state_dict(part_of(tensors, "generator"))
        networks.average.load_state_dict(part_of(tensors, "average"))
        networks.discriminator.load_state_dict(part_of(tensors, "discriminator"))
        if overlap := part_of(tensors, "overlap"):  # else of before there was a penalty
            networks.overlap_penalty.load_state_dict(overlap)
        load_optimiser(networks.adam_generator, part_of(tensors, "adam_generator"))
        load_optimiser(networks.adam_discriminator, part_of(tensors, "adam_discriminator"))
    except (RuntimeError, ValueError, KeyError, IndexError) as error:
        raise CheckpointError(
            "the checkpoint's networks are laid out otherwise than this version's",
            hint="It was made by another version of OnePair: train anew.",
        ) from error
