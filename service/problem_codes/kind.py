"""What is known of one kind of refusal."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ProblemKind:
    """One kind of refusal.

    Attributes:
        status: HTTP status.
        title: the same for every occurrence, as RFC 9457 asks.
        hint: what the caller can do about it; used when the occurrence has none of its own.
        example: a ``detail`` for the documentation.
        retry_after_seconds: sent as ``Retry-After`` when waiting is the remedy.
    """

    status: int
    title: str
    hint: str
    example: str
    retry_after_seconds: int | None = None
