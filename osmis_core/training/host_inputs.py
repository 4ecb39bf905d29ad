"""What a step takes from the host: draws, and batches of real pairs, handed to the device.

All randomness of a step is drawn on the CPU, so that it is the same on every device. Where a step
is recorded once and replayed (``captured``), the same things have to be drawn again for each
replay, in the same order, into the memory that the recording reads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
Make = Callable[[torch.Generator], T]


class HostInputs:
    """Makes inputs when they are first asked for, and again, in place, for each replay.

    Args:
        device: where they are handed out.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._rng = torch.Generator()
        self._taken: list[tuple[Make[Any], Any]] = []
        self._next: int | None = None

    def begin(self, rng: torch.Generator) -> None:
        """A step of its own: whatever it takes is made anew, and remembered.

        Args:
            rng: of this step; the only source of randomness.
        """
        self._rng, self._taken, self._next = rng, [], None

    def begin_again(self, rng: torch.Generator) -> None:
        """A step like the last: all that it took is made at once, where the last one had it.

        What it takes after this is handed out in the same order.

        Raises:
            ValueError: something was made in another shape.
        """
        self._rng, self._next = rng, 0
        made = [make(rng) for make, _ in self._taken]
        # only now: copying may wait for the step before, which still reads these places
        for (_, place), value in zip(self._taken, made, strict=True):
            _overwrite(place, value)

    def take(self, make: Make[T]) -> T:
        """What ``make`` draws, its tensors on the device.

        Args:
            make: returns a tensor, or tensors in dataclasses, lists and tuples, none of which is
                anyone else's. Called again it makes the same shapes.
        """
        if self._next is not None:
            self._next += 1
            again: T = self._taken[self._next - 1][1]
            return again
        held: T = _map(lambda tensor: tensor.to(self._device), make(self._rng))
        self._taken.append((make, held))
        return held


def _map(change: Callable[[Tensor], Tensor], tree: Any) -> Any:
    """The same structure with its tensors changed."""
    match tree:
        case Tensor():
            return change(tree)
        case list() | tuple():
            return type(tree)(_map(change, branch) for branch in tree)
        case _ if is_dataclass(tree) and not isinstance(tree, type):
            branches = {f.name: _map(change, getattr(tree, f.name)) for f in fields(tree)}
            return replace(tree, **branches)
    return tree


def _tensors(tree: Any) -> list[Tensor]:
    """All of a structure's, in order."""
    found: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    _map(keep, tree)
    return found


def _overwrite(place: Any, value: Any) -> None:
    for kept, new in zip(_tensors(place), _tensors(value), strict=True):
        if kept.shape != new.shape:  # copying would spread one sample's draw over all
            raise ValueError(f"drawn again as {tuple(new.shape)}, was {tuple(kept.shape)}")
        kept.copy_(new)
