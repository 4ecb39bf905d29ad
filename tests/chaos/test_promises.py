"""What counts as lost training."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chaos.promises import training_lost


def _told(*events: tuple[float, int | str]) -> list[dict[str, Any]]:
    """Seconds and a step or a status, as events."""
    return [
        {
            "id": f"{round(1_000 * seconds)}-0",
            "type": "status" if isinstance(what, str) else "progress",
            "data": {"status": what}
            if isinstance(what, str)
            else {"phase": "training", "progress": {"step": what}},
        }
        for seconds, what in events
    ]


def test_time_in_the_queue_is_not_lost() -> None:
    told = _told(
        (0, "running"), (1, 0), (4, 6), (5, "queued"), (400, "running"), (401, 6), (404, 9),
        (405, "queued"), (500, "running"), (501, 6), (510, 20),
    )  # fmt: skip

    assert list(training_lost(told)) == [pytest.approx(3)]


def test_steps_of_several_attempts_can_be_lost_at_once() -> None:
    told = _told(
        (0, "running"), (1, 0), (11, 10), (12, "queued"), (90, "running"), (91, 10), (111, 30),
        (112, "queued"), (200, "running"), (201, 5), (209, 10), (210, "queued"),
        (300, "running"), (301, 8),
    )  # fmt: skip

    assert list(training_lost(told)) == [pytest.approx(30), pytest.approx(8)]


def test_what_was_kept_once_can_still_be_lost_later() -> None:
    told = _told(
        (0, "running"), (1, 0), (71, 70), (72, "queued"), (90, "running"), (91, 60), (111, 80),
        (112, "queued"), (200, "running"), (201, 20),
    )  # fmt: skip

    assert list(training_lost(told)) == [pytest.approx(70), pytest.approx(90)]


def test_nothing_is_lost_where_training_goes_on() -> None:
    assert list(training_lost(_told((0, "running"), (1, 0), (2, 3), (9, "running"), (9, 3)))) == []
