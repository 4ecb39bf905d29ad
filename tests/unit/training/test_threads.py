from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from osmis_core.training.threads import TRIAL_STEPS, WARM_UP_STEPS, WINDOW_STEPS, ThreadChoice


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def _trial(choice: ThreadChoice, with_all: float, with_one: float) -> None:
    for _ in range(WARM_UP_STEPS):
        choice.after_step(9.0)
    for _ in range(2 * TRIAL_STEPS):
        choice.after_step(with_one if torch.get_num_threads() == 1 else with_all)
    assert choice.settled


@pytest.mark.parametrize(("with_all", "with_one", "kept"), [(0.2, 0.3, 2), (1.8, 0.3, 1)])
def test_the_faster_of_all_threads_and_one_is_kept(
    with_all: float, with_one: float, kept: int
) -> None:
    choice = ThreadChoice(None, on_cpu=True)
    _trial(choice, with_all, with_one)
    assert torch.get_num_threads() == kept


def test_steps_that_slow_down_later_bring_it_back_to_one() -> None:
    choice = ThreadChoice(None, on_cpu=True)
    _trial(choice, 0.2, 0.3)
    for _ in range(2 * WINDOW_STEPS):
        choice.after_step(0.25)
    assert torch.get_num_threads() == 2
    for _ in range(WINDOW_STEPS):
        choice.after_step(1.5)
    assert torch.get_num_threads() == 1


def test_a_fixed_number_and_a_gpu_are_left_alone() -> None:
    for choice in (ThreadChoice(2, on_cpu=True), ThreadChoice(None, on_cpu=False)):
        assert choice.settled
        for _ in range(3 * WINDOW_STEPS):
            choice.after_step(5.0)
        assert torch.get_num_threads() == 2
