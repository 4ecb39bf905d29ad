"""``python -m osmis_core.evaluation``: measures a set and prints JSON lines.

``{"event": "progress", "stage", "done", "total"}`` as it goes; then one of ``{"event": "report",
"report"}`` (exit status 0) and ``{"event": "error", "code", "detail", "hint"}`` (exit status 2). A
process of its own, so that whoever asks needs no torch.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from osmis_core.data.reader import ReadOptions
from osmis_core.errors import OsmisError
from osmis_core.evaluation.report import EvaluationOptions, evaluate

EXIT_WRONG_INPUT = 2


def main(arguments: list[str] | None = None) -> int:
    """Runs one evaluation; returns the exit status."""
    given = _parser().parse_args(arguments)
    options = EvaluationOptions(
        read=ReadOptions(
            class_names=tuple(given.classes.split(",")) if given.classes else None,
            mask_encoding=given.mask_encoding,
            ignore_index=given.ignore_index,
        ),
        limit=given.limit or None,
        unet=not given.no_unet,
        unet_repeats=given.unet_repeats,
        inception_weights=given.inception_weights,
        inception_sha256=given.inception_sha256,
    )
    try:
        report = evaluate(
            given.pairs,
            given.image,
            given.mask,
            options,
            on_stage=lambda stage, done, total: _tell(
                event="progress", stage=stage, done=done, total=total
            ),
        )
    except OsmisError as error:
        _tell(event="error", code=error.code, detail=error.detail, hint=error.hint)
        return EXIT_WRONG_INPUT
    except OSError as error:
        if error.filename is None:
            raise
        detail = f"{error.filename}: {error.strerror}"
        _tell(event="error", code="unreadable", detail=detail, hint="Check the path.")
        return EXIT_WRONG_INPUT
    _tell(event="report", report=report)
    return 0


def _tell(**values: Any) -> None:
    sys.stdout.write(json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m osmis_core.evaluation", description=__doc__.splitlines()[0]
    )
    parser.add_argument("pairs", type=Path, help="zip or folder with images/ and masks/")
    parser.add_argument("image", type=Path, help="the source's image")
    parser.add_argument("mask", type=Path, help="the source's mask")
    parser.add_argument("--limit", type=int, default=100, help="pairs to judge; 0 judges all")
    parser.add_argument("--no-unet", action="store_true")
    parser.add_argument("--unet-repeats", type=int, default=1)
    parser.add_argument("--inception-weights", type=Path)
    parser.add_argument("--inception-sha256")
    parser.add_argument("--classes", help="names by index, comma-separated")
    parser.add_argument(
        "--mask-encoding", default="auto", choices=("auto", "index", "binary", "rgb")
    )
    parser.add_argument("--ignore-index", type=int)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
