"""``onepair keys``: make, list and revoke API keys."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.common import DataDir, errors_as_messages, settings_of
from cli.data_folder import valkey_address
from jobs.api_keys import ApiKeyFile
from jobs.errors import JobsError
from jobs.settings import Settings
from jobs.state import connect
from jobs.state.key_use import last_uses

app = typer.Typer(
    help="API keys. With the first one, the service asks everybody for one.", no_args_is_help=True
)
KeyFile = Annotated[
    Path | None,
    typer.Option("--file", help="Of the keys.", show_default="api-keys.json in the data folder"),
]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Who or what will use it.")],
    data_dir: DataDir = None,
    file: KeyFile = None,
) -> None:
    """Make a key and print it; it is shown this once.

    A key sees what was made with it. What was made before there were keys is kept until it expires,
    but no key sees it.
    """
    with errors_as_messages():
        settings = settings_of(data_dir)
        keys = ApiKeyFile(file or settings.api_keys_path)
        is_first = not keys.read()
        key, token = keys.create(name)
    print(token)
    print(f"{key.name}: key {key.id}, kept (hashed) in {keys.path}", file=sys.stderr)
    if is_first:
        print("From now on every request needs a key: ONEPAIR_API_KEY=… onepair …", file=sys.stderr)


@app.command("list")
def list_keys(data_dir: DataDir = None, file: KeyFile = None) -> None:
    """Show all keys, and when each was last used."""
    with errors_as_messages():
        settings = settings_of(data_dir)
        keys = ApiKeyFile(file or settings.api_keys_path).read()
    used = _last_uses(settings)
    table = Table("id", "name", "made", "last used", "revoked")
    for key in keys:
        last_used = "unknown" if used is None else _minute(used.get(key.id))
        table.add_row(key.id, key.name, _minute(key.created_at), last_used, _minute(key.revoked_at))
    Console().print(table)


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Its name or id.")],
    data_dir: DataDir = None,
    file: KeyFile = None,
) -> None:
    """Refuse a key from the next request on; its jobs stay."""
    with errors_as_messages():
        settings = settings_of(data_dir)
        revoked = ApiKeyFile(file or settings.api_keys_path).revoke(key)
    print(f"revoked: {revoked.id} {revoked.name}")


def _last_uses(settings: Settings) -> dict[str, datetime] | None:
    """None where Valkey can't be asked: an embedded one runs only with its service."""
    client = connect(valkey_address(settings), timeout_seconds=1.0)
    try:
        return last_uses(client, settings)
    except JobsError:
        return None
    finally:
        client.close()


def _minute(time: datetime | None) -> str:
    return "–" if time is None else f"{time:%Y-%m-%d %H:%M}"
