"""The state machine of jobs and sample sets: Lua scripts in Valkey, one table in the docs."""

from jobs.state.answers import (
    Answer,
    BeatAnswer,
    BeatReport,
    Claim,
    ClaimAnswer,
    CreateAnswer,
    CreateSetAnswer,
    NewJob,
    Outcome,
    Page,
    PublishAnswer,
    ReapReport,
)
from jobs.state.census import Census, Happening
from jobs.state.connection import connect, connect_async
from jobs.state.glances import Glance
from jobs.state.reader import AsyncTaskReader
from jobs.state.store import TaskStore

__all__ = [
    "Answer",
    "AsyncTaskReader",
    "BeatAnswer",
    "BeatReport",
    "Census",
    "Claim",
    "ClaimAnswer",
    "CreateAnswer",
    "CreateSetAnswer",
    "Glance",
    "Happening",
    "NewJob",
    "Outcome",
    "Page",
    "PublishAnswer",
    "ReapReport",
    "TaskStore",
    "connect",
    "connect_async",
]
