from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from osmis_core.training.host_inputs import HostInputs


@dataclass(frozen=True)
class Drawn:
    values: Tensor
    size: tuple[int, int]
    none: Tensor | None = None


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def take_all(inputs: HostInputs) -> list[Tensor]:
    drawn = inputs.take(lambda rng: Drawn(torch.rand(3, generator=rng), (1, 2)))
    whole, (half, rest) = inputs.take(
        lambda rng: (torch.randn(2, generator=rng), [torch.ones(2), torch.rand(1, generator=rng)])
    )
    assert drawn.size == (1, 2)
    assert drawn.none is None
    return [drawn.values, whole, half, rest]


def test_a_step_like_the_last_finds_new_draws_in_the_same_places() -> None:
    inputs = HostInputs(torch.device("cpu"))
    inputs.begin(seeded(1))
    first = take_all(inputs)
    inputs.begin_again(seeded(2))
    again = [tensor.clone() for tensor in take_all(inputs)]
    assert all(a is b for a, b in zip(take_at(inputs, 3), first, strict=True))
    fresh = HostInputs(torch.device("cpu"))
    fresh.begin(seeded(2))
    assert all(map(torch.equal, again, take_all(fresh)))


def take_at(inputs: HostInputs, seed: int) -> list[Tensor]:
    inputs.begin_again(seeded(seed))
    return take_all(inputs)


def test_a_step_of_its_own_leaves_earlier_draws_alone() -> None:
    inputs = HostInputs(torch.device("cpu"))
    inputs.begin(seeded(1))
    first = take_all(inputs)
    kept = [tensor.clone() for tensor in first]
    inputs.begin(seeded(2))
    take_all(inputs)
    assert all(map(torch.equal, first, kept))


@pytest.mark.parametrize("again", [1, 3])
def test_other_shapes_are_refused(again: int) -> None:
    sizes = iter((2, again))
    inputs = HostInputs(torch.device("cpu"))
    inputs.begin(seeded(1))
    inputs.take(lambda rng: torch.rand(next(sizes), generator=rng))
    with pytest.raises(ValueError, match=r"drawn again"):
        inputs.begin_again(seeded(2))
