"""The registry of refusals, the OpenAPI document, and the tests agree."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from jobs.settings import Settings
from service.app import create_app
from service.problem_codes import PROBLEM_KINDS
from service.problems import PROBLEM_MEDIA_TYPE, ProblemError, problem_body

ROOT = Path(__file__).parents[3]
# Can't be caused on purpose over HTTP: a bug, a race, or a code that only a new core would send.
NOT_OVER_HTTP = {"internal_error", "bad_pair", "bad_option"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(Settings(valkey_url="redis://127.0.0.1:1/0")).openapi()


def operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def test_every_refusal_has_a_title_a_hint_and_an_example() -> None:
    for code, kind in PROBLEM_KINDS.items():
        assert re.fullmatch(r"[a-z][a-z_]+", code)
        assert 400 <= kind.status <= 599
        assert kind.title
        assert kind.hint.endswith(".")
        assert kind.example
        assert (kind.retry_after_seconds is not None) >= (kind.status in {429, 503})


def test_a_problem_has_the_members_of_rfc_9457() -> None:
    body = problem_body(ProblemError("too_small", "The image is 20x20."))
    assert list(body) == ["type", "title", "status", "detail", "code", "hint", "errors"]


def test_extension_members_never_hide_the_standard_ones() -> None:
    body = problem_body(ProblemError("not_trained", members={"status": "running", "job": {}}))
    assert body["status"] == 409
    assert body["job"] == {}


def test_every_refusal_of_the_pair_reader_is_registered() -> None:
    codes = set()
    for path in (ROOT / "osmis_core" / "data").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "").endswith("Error"):
                codes |= {
                    word.value.value
                    for word in node.keywords
                    if word.arg == "code" and isinstance(word.value, ast.Constant)
                }
    assert {"size_mismatch", "lossy_mask", "needs_gpu"} <= codes
    assert codes <= set(PROBLEM_KINDS)


def test_every_code_is_tested_over_http() -> None:
    tests = "".join(
        path.read_text() for path in (ROOT / "tests" / "integration" / "service").glob("test_*.py")
    )
    missing = {code for code in PROBLEM_KINDS if f'"{code}"' not in tests}
    assert missing <= NOT_OVER_HTTP | {"busy"}, missing


def test_every_code_is_documented_with_an_example(document: dict[str, Any]) -> None:
    documented = {
        code
        for _, operation in operations(document)
        for response in operation["responses"].values()
        for code in response.get("content", {}).get(PROBLEM_MEDIA_TYPE, {}).get("examples", {})
    }
    # Answers to addresses that don't exist belong to no operation.
    assert set(PROBLEM_KINDS) - documented == {"not_found", "method_not_allowed"}


def test_every_refusal_in_the_document_is_a_problem(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        refusals = {
            status: response
            for status, response in operation["responses"].items()
            if int(status) >= 400
        }
        assert "500" in refusals, name
        for status, response in refusals.items():
            assert set(response["content"]) == {PROBLEM_MEDIA_TYPE}, (name, status)
            for example in response["content"][PROBLEM_MEDIA_TYPE]["examples"].values():
                assert example["value"]["status"] == int(status), (name, status)


def test_every_operation_is_described(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        assert operation["summary"], name
        assert operation["description"], name
        assert operation["tags"], name
        assert [status for status in operation["responses"] if int(status) < 400], name
        needs_id = "{job_id}" in name
        assert needs_id <= {"404", "410"}.issubset(operation["responses"]), name


def test_all_references_of_the_document_resolve(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name in re.findall(r"#/components/schemas/([A-Za-z0-9_-]+)", str(document)):
        assert name in schemas
    assert "HTTPValidationError" not in schemas


def test_the_form_is_multipart_with_two_files(document: dict[str, Any]) -> None:
    body = document["paths"]["/jobs"]["post"]["requestBody"]["content"]
    assert list(body) == ["multipart/form-data"]
    fields = document["components"]["schemas"]["JobForm"]["properties"]
    assert {"image", "mask", "classes", "preset", "dry_run"} <= set(fields)
