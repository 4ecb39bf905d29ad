"""Checkpoints: one safetensors file with its JSON in the header. Never pickle.

One file, so that publishing it is one atomic act and its hash is the checkpoint's name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from osmis_core.errors import CheckpointError
from osmis_core.training.config import TrainingConfig

SCHEMA_VERSION = 3
"""Grows whenever a checkpoint's tensors come to mean another network, be their shapes the same.

2: convolutions' weights lie channels last, and their right singular vectors in that order.
3: the learning rates change over a training; resumed, an older one would go on at others.
"""
HEADER_KEY = "onepair"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A training's whole state.

    Attributes:
        step: steps done.
        config: what is trained.
        tensors: ``generator.…``, ``average.…``, ``discriminator.…``, both Adams, and
            ``overlap.mean``, of layouts' overlap; ``best.…``, the average when its samples were
            best. Until the hook returns they are the training's own.
        extra: JSON-able: seconds trained, whether training has ended and why, rollbacks, looks at
            samples, and ``samples_from_step`` where ``best.…`` is what sets are made of.
    """

    step: int
    config: TrainingConfig
    tensors: dict[str, Tensor]
    extra: dict[str, Any]

    def write(self, path: Path) -> None:
        """Writes the file whole or not at all."""
        header = {
            "schema_version": SCHEMA_VERSION,
            "step": self.step,
            "config": self.config.to_dict(),
            "extra": self.extra,
        }
        temporary = path.with_suffix(".partial")
        contiguous = {k: v.detach().cpu().contiguous() for k, v in self.tensors.items()}
        save_file(contiguous, temporary, metadata={HEADER_KEY: json.dumps(header)})
        temporary.replace(path)

    @classmethod
    def read(cls, path: Path, *, prefixes: tuple[str, ...] = ("",)) -> Checkpoint:
        """Reads a checkpoint, or only the tensors whose names start with one of ``prefixes``.

        Raises:
            CheckpointError: damaged, not a checkpoint, or of another version.
        """
        try:
            with safe_open(path, framework="pt") as file:
                header = json.loads((file.metadata() or {})[HEADER_KEY])
                names = [n for n in file.keys() if n.startswith(prefixes)]  # noqa: SIM118
                tensors = {n: file.get_tensor(n) for n in names}
        except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
            raise CheckpointError(
                f"{path.name} is not a readable checkpoint",
                hint="Resume from an older checkpoint of the job.",
            ) from error
        _refuse_other_version(path, header["schema_version"])
        return cls(
            step=header["step"],
            config=TrainingConfig.from_dict(header["config"]),
            tensors=tensors,
            extra=header["extra"],
        )

    def refuse_other_pair(self, config: TrainingConfig) -> None:
        """For who goes on with it: refuses a pair that is not the one trained on.

        Args:
            config: of the pair to go on with.

        Raises:
            CheckpointError: of another number of classes, or another size.
        """
        here, there = _shape_of_pair(self.config), _shape_of_pair(config)
        if config.coarser is not None and self.config.size == config.coarser:
            there = _shape_of_pair(replace(config, size=config.coarser))
        if here != there:
            raise CheckpointError(
                f"the checkpoint does not fit this pair: it is of {here}, the pair of {there}",
                hint="Resume with the pair that the checkpoint was trained on, and the same "
                "max_size.",
            )

    def for_samples(self) -> tuple[int, dict[str, Tensor]]:
        """The averaged generator that sets are made of, and the step it is of."""
        step = self.extra.get("samples_from_step")
        return (self.step, self.part("average")) if step is None else (step, self.part("best"))

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors under a prefix, without it."""
        return part_of(self.tensors, prefix)


def _refuse_other_version(path: Path, version: int) -> None:
    if version == SCHEMA_VERSION:
        return
    if version > SCHEMA_VERSION:
        hint = "Upgrade OnePair on this worker."
    else:
        hint = "It was made by an older version of OnePair: train anew."
    raise CheckpointError(f"{path.name} has schema {version}, this is {SCHEMA_VERSION}", hint=hint)


def _shape_of_pair(config: TrainingConfig) -> str:
    count, size = config.class_count, config.size
    classes = "1 class" if count == 1 else f"{count} classes"
    return f"{classes} at {size.content_w}×{size.content_h} px"


def part_of(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix`` and a dot, without it."""
    start = prefix + "."
    return {k[len(start) :]: v for k, v in tensors.items() if k.startswith(start)}


def optimiser_tensors(optimiser: torch.optim.Optimizer, prefix: str) -> dict[str, Tensor]:
    """Adam's moments and step counts, by parameter index."""
    state = optimiser.state_dict()["state"]
    return {
        f"{prefix}.{index}.{name}": torch.as_tensor(value)
        for index, entries in state.items()
        for name, value in entries.items()
    }


def load_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """The inverse of ``optimiser_tensors``, prefix removed."""
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        parameter = parameters[int(index)]
        if value.shape == parameter.shape:
            # the fused kernel walks memory: moments must lie as their parameter does
            laid_out = torch.empty_like(parameter, requires_grad=False)
            state.setdefault(int(index), {})[name] = laid_out.copy_(value)
        else:
            # a copy: Adam counts on in what it is given
            state.setdefault(int(index), {})[name] = value.clone()
    current = optimiser.state_dict()
    optimiser.load_state_dict({"state": state, "param_groups": current["param_groups"]})
