"""The yardstick: one FastAPI route that answers with a job's JSON, and nothing behind it.

Run as ``python -m bench.load.bare PORT FILE``: the answer is the file's, served by uvicorn.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI


def main() -> None:
    """Serves until it is killed."""
    port, body = int(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
    app = FastAPI()

    @app.get("/jobs/{job_id}")
    async def job(job_id: str) -> dict[str, Any]:
        return {**body, "id": job_id}

    uvicorn.run(app, port=port, log_level="warning", access_log=False, server_header=False)


if __name__ == "__main__":
    main()
