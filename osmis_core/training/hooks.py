"""All that a trainer knows of the outside world."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from osmis_core.training.checkpoint import Checkpoint


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a training stands.

    Attributes:
        step: steps done.
        total: steps planned; 0 while the calibration has not yet decided.
        steps_per_second: over the last seconds.
        eta_seconds: until the last step; None before the speed is known.
        losses: the newest losses by name (``generator``, ``discriminator_real``, …).
    """

    step: int
    total: int
    steps_per_second: float
    eta_seconds: float | None
    losses: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class TrainingWarning:
    """Something that went otherwise than planned and did not end the training.

    Attributes:
        code: stable, snake_case: ``rolled_back``, ``undertrained``, ``plateau``,
            ``earlier_state`` or ``coarser_size``; of a set ``few_plausible`` or ``alike``.
        detail: what happened, with its numbers.
        hint: what the user can do about it.
    """

    code: str
    detail: str
    hint: str = ""


class TrainerHooks(Protocol):
    """Called from the training loop's thread; slow work belongs elsewhere."""

    def on_progress(self, progress: Progress) -> None:
        """At least once a second, or once a step where steps are longer."""

    def should_stop(self) -> bool:
        """Asked after every step; True ends the training with what is learned."""

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """At most every ``checkpoint_seconds``, after a rollback, and once at the end.

        After a rollback the step is lower than it was; ``extra["rollbacks"]`` tells such
        checkpoints from earlier ones of the same step. Step 0 is among them where the rollback
        led to the very beginning and there are earlier checkpoints: the newest is always sound.
        """

    def on_warning(self, warning: TrainingWarning) -> None:
        """When it happens, and once more when a training resumes that it has happened to."""
