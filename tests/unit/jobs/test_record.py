"""Records, ids, keys: what is pure."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from jobs.errors import InvalidKey
from jobs.keys import (
    ValkeyKeys,
    attempt_prefix,
    check_object_prefix,
    idempotency_digest,
    input_key,
    is_job_id,
    is_set_id,
    new_job_id,
    record_key,
    request_fingerprint,
    result_key,
    sample_set_id,
)
from jobs.record import (
    Checkpoint,
    Engine,
    JobRequest,
    Kind,
    SampleSetRequest,
    Status,
    TaskRef,
    rejected_count,
)
from jobs.state.codec import to_microseconds, to_time
from jobs.state.events import RECORD_ONLY, missed, parse_event_id

CHECKPOINT = Checkpoint(key="jobs/a/c", sha256="a" * 64, step=3, size_bytes=9)
ENGINE = Engine(core_version="1", scoring_network="net", scoring_weights_sha256="b" * 64)
JOB = TaskRef("1" * 32)
SET = TaskRef("1" * 32, "2" * 64)


@pytest.mark.parametrize("ref", [JOB, SET])
def test_an_address_survives_a_message(ref: TaskRef) -> None:
    assert TaskRef.parse(str(ref)) == ref
    assert ref.job == JOB
    assert ref.kind is (Kind.SET if ref.set_id else Kind.JOB)


@pytest.mark.parametrize(
    ("n", "fraction", "rejected"),
    [(100, 0.15, 15), (10, 0.25, 3), (1, 0.99, 0), (2, 0.999, 1), (7, 0.0, 0)],
)
def test_rejected(n: int, fraction: float, rejected: int) -> None:
    assert rejected_count(n, fraction) == rejected


@pytest.mark.parametrize("keep", [1, 2, 17, 85, 100])
@pytest.mark.parametrize("fraction", [0.0, 0.15, 0.5, 0.9])
def test_keep_names_the_smallest_n(keep: int, fraction: float) -> None:
    request = SampleSetRequest.for_keep(keep, reject_fraction=fraction, seed=4)
    assert request.n - rejected_count(request.n, fraction) == keep
    assert request.seed == 4
    before = request.n - 1
    assert before == 0 or before - rejected_count(before, fraction) < keep


def test_more_survivors_than_can_be_generated_are_refused() -> None:
    with pytest.raises(ValidationError):
        SampleSetRequest.for_keep(9_999, reject_fraction=0.15)


@pytest.mark.parametrize(
    "fields",
    [{"n": 0}, {"n": 10_001}, {"reject_fraction": 1}, {"reject_fraction": -0.1}, {"seed": -1}],
)
def test_impossible_sets_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        SampleSetRequest.model_validate(fields)


@pytest.mark.parametrize("size", ["big", "0x10", "10x", "10x10x10", "-1x5", "1e3x5"])
def test_impossible_output_sizes_are_refused(size: str) -> None:
    with pytest.raises(ValidationError):
        JobRequest(output_size=size)


def test_a_sets_id_names_everything_that_makes_it() -> None:
    base = sample_set_id(JOB.job_id, CHECKPOINT, SampleSetRequest(), ENGINE)
    assert is_set_id(base)
    moved = CHECKPOINT.model_copy(update={"key": "jobs/a/copy", "size_bytes": 1})
    same = sample_set_id(JOB.job_id, moved, SampleSetRequest(n=100), ENGINE)
    assert same == base
    requests = [
        {"n": 99},
        {"reject_fraction": 0.2},
        {"seed": 1},
        {"refine": False},
        {"screen": False},
    ]
    engines = [
        {"core_version": "2"},
        {"scoring_network": "other"},
        {"scoring_weights_sha256": "d" * 64},
    ]
    trained_on = CHECKPOINT.model_copy(update={"sha256": "c" * 64})
    changed = {
        sample_set_id("3" * 32, CHECKPOINT, SampleSetRequest(), ENGINE),
        sample_set_id(JOB.job_id, trained_on, SampleSetRequest(), ENGINE),
    }
    for one in requests:
        request = SampleSetRequest.model_validate(one)
        changed.add(sample_set_id(JOB.job_id, CHECKPOINT, request, ENGINE))
    for other in engines:
        engine = ENGINE.model_copy(update=other)
        changed.add(sample_set_id(JOB.job_id, CHECKPOINT, SampleSetRequest(), engine))
    assert len(changed) == 10
    assert base not in changed


def test_a_fingerprint_ignores_the_order_of_fields() -> None:
    one = request_fingerprint("a", "b", {"x": 1, "y": [1, {"z": None}]})
    assert one == request_fingerprint("a", "b", {"y": [1, {"z": None}], "x": 1})
    assert one != request_fingerprint("b", "a", {"x": 1, "y": [1, {"z": None}]})
    assert one != request_fingerprint("a", "b", {"x": 1})


def test_owner_and_key_can_not_run_into_each_other() -> None:
    assert idempotency_digest("ab", "c") != idempotency_digest("a", "bc")


def test_where_things_are() -> None:
    assert input_key(JOB.job_id, "image.png") == f"jobs/{'1' * 32}/input/image.png"
    assert attempt_prefix(SET, "17") == f"jobs/{'1' * 32}/sets/{'2' * 64}/a17/"
    assert record_key(JOB) == f"jobs/{'1' * 32}/record.json"
    assert result_key(SET) == f"jobs/{'1' * 32}/sets/{'2' * 64}/result.json"
    names = [name for name in dir(ValkeyKeys()) if name in {"leases", "dead"}]
    assert all(getattr(ValkeyKeys("x"), name).startswith("{x}:") for name in names)


def test_ids() -> None:
    assert is_job_id(new_job_id())
    assert new_job_id() != new_job_id()
    for bad in ("", "x" * 32, "1" * 31, "1" * 32 + "\n", "../" + "1" * 29):
        assert not is_job_id(bad)


@pytest.mark.parametrize("prefix", ["jobs", "/", "", "jobs/../", "jobs//", "jobs/A/"])
def test_foreign_prefixes_are_refused(prefix: str) -> None:
    with pytest.raises(InvalidKey):
        check_object_prefix(prefix)


def test_terminal_states() -> None:
    assert {one for one in Status if one.terminal} == {"succeeded", "failed", "cancelled"}


def test_times_are_exact_to_the_microsecond() -> None:
    for microseconds in ("0", "1795375367752805", "1795375367999999"):
        moment = to_time(microseconds)
        assert moment is not None
        assert to_microseconds(moment) == microseconds
    assert to_time(None) is None


@pytest.mark.parametrize(
    ("text", "parsed"),
    [("5-3", (5, 3)), ("5", (5, 0)), *((bad, None) for bad in ("", "5-", "-1", "$", "٣-1"))],
)
def test_event_ids(text: str, parsed: tuple[int, int] | None) -> None:
    assert parse_event_id(text) == parsed


@pytest.mark.parametrize(
    ("after", "dropped", "expected"),
    [
        ("0-0", 0, None),
        ("0-0", 1, "9-0"),
        ("4-9", 0, "9-0"),
        ("5-0", 3, None),
        ("9-0", 3, None),
        ("9-1", 0, "9-0"),
        ("junk", 0, "9-0"),
    ],
)
def test_what_a_reader_has_missed(after: str, dropped: int, expected: str | None) -> None:
    stream = {
        "first-entry": ("5-0", {}),
        "last-entry": ("9-0", {}),
        "length": 3,
        "entries-added": 3 + dropped,
    }
    assert missed(after, stream) == expected
    assert missed(after, None) == RECORD_ONLY
    assert missed(RECORD_ONLY, None) is None
