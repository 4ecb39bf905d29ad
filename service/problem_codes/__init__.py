"""The central registry of refusals: every ``code`` the gateway can answer with.

A code is part of the public interface: programs branch on it, so it never changes its meaning.
The registry feeds three places, so they can't drift apart: the responses, the OpenAPI document,
and the test that asks for a test of every code.
"""

from __future__ import annotations

from service.problem_codes.kind import ProblemKind
from service.problem_codes.pairs import PAIR_KINDS
from service.problem_codes.requests import REQUEST_KINDS
from service.problem_codes.tasks import SERVICE_KINDS, TASK_KINDS

__all__ = ["PROBLEM_KINDS", "ProblemKind"]

PROBLEM_KINDS: dict[str, ProblemKind] = {
    **REQUEST_KINDS,
    **PAIR_KINDS,
    **TASK_KINDS,
    **SERVICE_KINDS,
}
"""Every refusal by its code."""
