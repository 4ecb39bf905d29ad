"""The framework's test client, at an address that the gateway calls its own."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient as FrameworkClient


class TestClient(FrameworkClient):
    __test__ = False

    def __init__(self, app: FastAPI, **options: Any) -> None:
        super().__init__(app, **{"base_url": "http://localhost:8000", **options})
