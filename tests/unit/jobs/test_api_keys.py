"""The file of API keys: what is in it, what is not, and that it can't be made worse by accident."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import ValidationError

from jobs.api_keys import ApiKeyError, ApiKeyFile, find_key, is_open_to_others
from jobs.settings import Settings


@pytest.fixture
def keys(tmp_path: Path) -> ApiKeyFile:
    return ApiKeyFile(tmp_path / "new" / "api-keys.json")


def test_a_token_is_kept_nowhere(keys: ApiKeyFile) -> None:
    key, token = keys.create("lab")
    assert token.startswith(f"onepair_{key.id}_")
    assert len(token) > 60
    text = keys.path.read_text()
    assert token.rsplit("_", 1)[1] not in text
    assert key.sha256 in text
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o600
    assert {path.name for path in keys.path.parent.iterdir()} == {
        "api-keys.json",
        "api-keys.json.lock",
    }


def test_a_token_finds_its_key_and_nothing_else_does(keys: ApiKeyFile) -> None:
    (one, token), (other, _) = keys.create("one"), keys.create("other")
    read = keys.read()
    assert find_key(read, token) == one
    swapped = token.replace(one.id, other.id)
    for wrong in (swapped, token[:-1], token + "x", one.id, one.sha256, "", "onepair__", "ü"):
        assert find_key(read, wrong) is None


def test_a_secret_with_underscores_is_read_whole(keys: ApiKeyFile) -> None:
    for number in range(40):
        key, token = keys.create(f"k{number}")
        assert find_key(keys.read(), token) == key


def test_a_revoked_key_stays_listed_and_its_name_is_free(keys: ApiKeyFile) -> None:
    first, token = keys.create("lab")
    revoked = keys.revoke("lab")
    assert revoked.revoked_at is not None
    assert find_key(keys.read(), token) == revoked
    second, _ = keys.create("lab")
    assert [key.id for key in keys.read()] == [first.id, second.id]
    assert keys.revoke(second.id).id == second.id


@pytest.mark.parametrize("name", ["lab", "", "x" * 81, "line\nbreak"])
def test_names_that_no_key_can_have(keys: ApiKeyFile, name: str) -> None:
    keys.create("lab")
    before = keys.path.read_bytes()
    with pytest.raises(ApiKeyError) as caught:
        keys.create(name)
    assert caught.value.hint
    assert keys.path.read_bytes() == before


def test_revoking_what_is_not_there_closes_no_door(keys: ApiKeyFile) -> None:
    with pytest.raises(ApiKeyError, match="nobody"):
        keys.revoke("nobody")
    with pytest.raises(ApiKeyError):
        keys.create("")
    assert not keys.was_made


def test_that_there_were_keys_outlives_them(keys: ApiKeyFile) -> None:
    keys.create("lab")
    keys.path.unlink()
    assert keys.was_made


def test_commands_at_once_lose_no_key(keys: ApiKeyFile) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: keys.create(f"k{i}"), range(24)))
    assert len(keys.read()) == 24


@pytest.mark.parametrize("content", ["", "{", "[]", '{"keys": [{"id": "x"}]}'])
def test_a_damaged_file_is_never_read_as_no_keys(keys: ApiKeyFile, content: str) -> None:
    keys.path.parent.mkdir()
    keys.path.write_text(content)
    for use in (keys.read, lambda: keys.create("lab")):
        with pytest.raises(ApiKeyError):
            use()
    assert keys.path.read_text() == content


def test_a_file_of_a_newer_version_is_refused(keys: ApiKeyFile) -> None:
    keys.create("lab")
    newer = json.loads(keys.path.read_text()) | {"schema_version": 2}
    keys.path.write_text(json.dumps(newer))
    with pytest.raises(ApiKeyError, match="newer"):
        keys.read()


@pytest.mark.parametrize(
    ("host", "named", "has_key", "is_open"),
    [
        ("127.0.0.1", False, False, False),
        ("localhost", False, False, False),
        ("0.0.0.0", False, False, True),
        ("::", False, False, True),
        ("0.0.0.0", False, True, False),
        ("0.0.0.0", True, False, False),
    ],
)
def test_who_is_open_to_others(
    tmp_path: Path, host: str, named: bool, has_key: bool, is_open: bool
) -> None:
    path = tmp_path / ("named.json" if named else "api-keys.json")
    if has_key:
        ApiKeyFile(path).create("lab")
    settings = Settings(data_dir=tmp_path, host=host, api_keys_file=path if named else None)
    assert is_open_to_others(settings) is is_open


def test_a_limit_of_no_requests_is_no_limit_at_all(tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        Settings(data_dir=tmp_path, requests_per_minute=0)
