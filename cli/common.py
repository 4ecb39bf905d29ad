"""What every command does alike: settings from the environment, errors as messages."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from cli.api import ServiceRefusedError
from cli.data_folder import FolderInUseError
from cli.evaluate import EvaluationFailedError
from cli.run import TaskFailedError
from cli.serve import ServeError, resolved
from cli.weights import WeightsError
from jobs.errors import JobsError
from jobs.settings import Settings, load_settings

EXIT_FAILED = 1
EXIT_WRONG_INPUT = 2
EXIT_INTERRUPTED = 130

DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Where jobs, models and sets are kept.", show_default="~/.local/share/onepair"
    ),
]


def settings_of(
    data_dir: Path | None,
    *,
    host: str | None = None,
    port: int | None = None,
    allow_open: bool | None = None,
    retention_days: float | None = None,
) -> Settings:
    """Environment first, the command line over it; everything checked again."""
    settings = load_settings()
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    options = {
        "host": host,
        "port": port,
        "allow_open": allow_open,
        "retention_days": retention_days,
    }
    given |= {name: value for name, value in options.items() if value is not None}
    return Settings(**{**given, "data_dir": resolved(data_dir or settings.data_dir)})


@contextmanager
def errors_as_messages() -> Iterator[None]:
    """Known errors become a message, a hint and an exit code; others keep their traceback."""
    try:
        yield
    except ServiceRefusedError as error:
        _fail(error.detail, error.hint, EXIT_WRONG_INPUT if error.is_input else EXIT_FAILED, error)
    except (TaskFailedError, ServeError) as error:
        _fail(str(error), error.hint, EXIT_FAILED, error)
    except WeightsError as error:
        code = EXIT_WRONG_INPUT if error.is_input else EXIT_FAILED
        _fail(str(error), error.hint, code, error)
    except EvaluationFailedError as error:
        code = EXIT_WRONG_INPUT if error.is_input else EXIT_FAILED
        _fail(f"{error} ({error.code})", error.hint, code, error)
    except FolderInUseError as error:
        _fail(str(error), "Stop it, or choose another --data-dir.", EXIT_FAILED, error)
    except JobsError as error:
        _fail(str(error), error.hint, EXIT_FAILED, error)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        _fail("; ".join(lines), "Settings are ONEPAIR_* variables.", EXIT_WRONG_INPUT, error)
    except KeyboardInterrupt as error:
        raise typer.Exit(EXIT_INTERRUPTED) from error


def _fail(detail: str, hint: str, code: int, error: Exception) -> None:
    print(f"error: {detail}", file=sys.stderr)
    if hint:
        print(f"hint:  {hint}", file=sys.stderr)
    raise typer.Exit(code) from error
