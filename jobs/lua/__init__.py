"""The scripts of the state machine, as text: the shebang, the prelude, then the script."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def script(name: str) -> str:
    """Text of ``<name>.lua`` with the prelude behind its shebang line."""
    folder = files(__name__)
    shebang, _, body = (folder / f"{name}.lua").read_text(encoding="utf-8").partition("\n")
    prelude = (folder / "prelude.lua").read_text(encoding="utf-8")
    return f"{shebang}\n{prelude}\n{body}"
