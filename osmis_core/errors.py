"""The core's errors: each has a stable ``code`` for programs and a ``hint`` for people."""

from __future__ import annotations


class OsmisError(Exception):
    """Base of everything the core raises on purpose.

    Attributes:
        code: stable, snake_case, part of the public interface.
        detail: what is wrong with this input or run, with its numbers.
        hint: what the user can do about it.
    """

    code = "osmis_error"

    def __init__(self, detail: str, *, hint: str = "", code: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        if code is not None:
            self.code = code


class PairError(OsmisError):
    """The image or its mask can't be used; ``code`` says why (``size_mismatch``, …)."""

    code = "bad_pair"


class CheckpointError(OsmisError):
    """A checkpoint is damaged, of another version, or of another pair."""

    code = "bad_checkpoint"


class TrainingError(OsmisError):
    """Training could not go on (non-finite losses, nothing learned)."""

    code = "training_failed"
