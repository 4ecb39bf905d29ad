"""Range headers."""

from __future__ import annotations

import pytest

from service.byte_ranges import ByteRange, RangeNotSatisfiableError, parse_range
from service.conditional import etag_matches, known_version


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=0-", (0, 10)),
        ("bytes=3-100", (3, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-30", (0, 10)),
        ("BYTES = 1 - 2", (1, 3)),
    ],
)
def test_one_range(header: str, expected: tuple[int, int]) -> None:
    assert parse_range(header, 10) == ByteRange(start=expected[0], end=expected[1])


@pytest.mark.parametrize(
    "header", [None, "", "bytes=-", "bytes=5-2", "lines=0-1", "bytes=0-1,3-4", "bytes=a-b"]
)
def test_what_is_ignored(header: str | None) -> None:
    assert parse_range(header, 10) is None


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-12", "bytes=-0"])
def test_what_lies_outside(header: str) -> None:
    with pytest.raises(RangeNotSatisfiableError):
        parse_range(header, 10)


def test_entity_tags_compare_weakly() -> None:
    assert etag_matches('"a", W/"3-0"', 'W/"3-0"')
    assert etag_matches('"3-0"', 'W/"3-0"')
    assert etag_matches("*", '"x"')
    assert not etag_matches('"3-1"', 'W/"3-0"')
    assert not etag_matches(None, '"x"')


def test_the_version_in_a_tag() -> None:
    assert known_version('W/"17-2"') == 17
    assert known_version('"abc"') is None
    assert known_version(None) is None
