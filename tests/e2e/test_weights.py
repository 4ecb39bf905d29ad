"""``onepair weights install``, from files and from a real HTTP server."""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.e2e.conftest import onepair

WEIGHTS = b"weights" * 1_000
HASH = hashlib.sha256(WEIGHTS).hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / f"inception_v3_google-{HASH[:8]}.pth").write_bytes(WEIGHTS)
    (folder / "inception_v3_google-00000000.pth").write_bytes(WEIGHTS)
    (folder / "nameless.pth").write_bytes(WEIGHTS)
    return folder


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url(folder: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("place", ["folder", "url"])
def test_a_published_file_is_checked_by_its_name(
    place: str, folder: Path, url: str, tmp_path: Path
) -> None:
    source = f"{folder if place == 'folder' else url}/inception_v3_google-{HASH[:8]}.pth"
    done = onepair("weights", "install", source, "--data-dir", str(tmp_path / "data"))
    assert done.returncode == 0, done.stderr
    kept = tmp_path / "data" / "weights" / "inception_v3.pth"
    assert kept.read_bytes() == WEIGHTS
    assert done.stdout.splitlines() == [
        f"ONEPAIR_INCEPTION_WEIGHTS={kept}",
        f"ONEPAIR_INCEPTION_SHA256={HASH}",
    ]
    settings = dict(line.split("=", 1) for line in done.stdout.splitlines())
    looked_at = onepair("doctor", "--data-dir", str(tmp_path / "data"), **settings)
    assert "SHA-256 as configured" in looked_at.stdout


@pytest.mark.parametrize(
    ("source", "options", "words", "status"),
    [
        ("{folder}/inception_v3_google-00000000.pth", (), "was expected", 2),
        ("{folder}/nameless.pth", (), "--sha256", 2),
        ("{folder}/nameless.pth", ("--sha256", "abc"), "64 hexadecimal digits", 2),
        ("{folder}/nameless.pth", ("--sha256", "0" * 64), "was expected", 2),
        ("{folder}/absent-12345678.pth", (), "No such file", 2),
        ("{url}/absent-12345678.pth", (), "404", 2),
        ("http://127.0.0.1:9/absent-12345678.pth", (), "can't be reached", 1),
    ],
)
def test_anything_else_is_refused_and_leaves_what_was_there(
    source: str, options: tuple[str, ...], words: str, status: int,
    folder: Path, url: str, tmp_path: Path,
) -> None:  # fmt: skip
    kept = tmp_path / "data" / "weights" / "inception_v3.pth"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"older")
    done = onepair(
        "weights", "install", source.format(folder=folder, url=url), *options,
        "--data-dir", str(tmp_path / "data"),
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    assert words in done.stderr
    assert "hint:" in done.stderr
    assert kept.read_bytes() == b"older"
    assert list(kept.parent.iterdir()) == [kept]
