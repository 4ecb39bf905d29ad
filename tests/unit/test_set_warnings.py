from __future__ import annotations

from typing import Any

import pytest

from osmis_core.set_warnings import set_warnings


@pytest.mark.parametrize(
    ("metrics", "codes"),
    [
        ({"screening": {"plausible_share": 0.07}, "layout_iou": 0.3}, ["few_plausible"]),
        ({"screening": {"plausible_share": 1.0}, "layout_iou": 0.84}, ["alike"]),
        (
            {"screening": {"plausible_share": 0.2}, "layout_iou": 0.7},
            ["few_plausible", "alike"],
        ),
        ({"screening": {"plausible_share": 0.5}, "layout_iou": 0.6}, []),
        ({"screening": None, "layout_iou": None}, []),
        ({}, []),
    ],
)
def test_what_is_warned_of(metrics: dict[str, Any], codes: list[str]) -> None:
    found = set_warnings(metrics)
    assert [warning.code for warning in found] == codes
    assert all(warning.hint for warning in found)


def test_warnings_say_how_much() -> None:
    few, alike = set_warnings({"screening": {"plausible_share": 0.07}, "layout_iou": 0.84})
    assert "7%" in few.detail
    assert "84%" in alike.detail
