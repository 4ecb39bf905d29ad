"""Webhooks that are due: which ended jobs want to be told of, and how telling them went."""

from __future__ import annotations

from jobs.record import JobWarning, TaskRef
from jobs.state.codec import warning_lines
from jobs.state.scripts import ScriptedStore


class HookEvents(ScriptedStore):
    """The outbox of webhooks; a job's end puts it there, in the same script."""

    def hooks_due(self, *, lease_seconds: float) -> list[tuple[TaskRef, int]]:
        """HOOKS DUE: up to ten jobs, each with the number of this attempt, from 1.

        Nobody else is given them before the lease is over.
        """
        rows = self._run("hooks_due", str(round(lease_seconds * 1e6)))
        return [(TaskRef.parse(ref), int(tries)) for ref, tries in rows]

    def hook_told(
        self, ref: TaskRef, *, again_seconds: float | None, warning: JobWarning | None = None
    ) -> None:
        """HOOK TOLD: it is over, or tried again after so many seconds."""
        delay = "" if again_seconds is None else str(round(again_seconds * 1e6))
        self._run("hook_told", str(ref), delay, warning_lines([warning]) if warning else "")
