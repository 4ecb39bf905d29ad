from __future__ import annotations

import pytest
import typer.main

from cli.main import app


@pytest.mark.parametrize("command", ["run", "samples"])
def test_the_number_of_samples_is_asked_for_in_the_same_way_everywhere(command: str) -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    (count,) = [p for p in commands[command].params if p.name == "n"]
    assert set(count.opts) == {"-n", "--n"}
