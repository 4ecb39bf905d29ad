"""From a checkpoint to the zip, on a network that has only just begun to learn."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from osmis_core.candidates import CANDIDATES
from osmis_core.data.pair import Pair
from osmis_core.preview import preview_sheet
from osmis_core.sample_set import (
    InterruptedSetError,
    SampleSetRequest,
    SampleSetResult,
    make_sample_set,
)
from osmis_core.training.config import TrainingConfig
from osmis_core.training.trainer import RunOptions, train

N = 7
REQUEST = SampleSetRequest(n=N, seed=3, output_h=72, output_w=96, device="cpu")


@pytest.fixture
def checkpoint(scene: Pair, make_config: Callable[..., TrainingConfig], recorder: Any) -> Path:
    train(scene, make_config("projected", 2), recorder, options=RunOptions(device="cpu"))
    path: Path = recorder.checkpoints[-1]
    return path


def _make(
    pair: Pair, checkpoint: Path, request: SampleSetRequest, archive: Path
) -> SampleSetResult:
    return make_sample_set(
        pair,
        checkpoint,
        request,
        archive,
        on_stage=lambda *_: None,
        should_stop=lambda: False,
        provenance={"job": "abc"},
    )


def test_the_zip_holds_the_kept_pairs_and_says_how_they_were_made(
    scene: Pair, checkpoint: Path, tmp_path: Path
) -> None:
    stages: list[tuple[str, int, int]] = []
    archive = tmp_path / "set.zip"
    result = make_sample_set(
        scene,
        checkpoint,
        REQUEST,
        archive,
        on_stage=lambda *told: stages.append(told),
        should_stop=lambda: False,
        provenance={"job": "abc"},
    )
    assert (result.summary.kept, result.summary.rejected) == (6, 1)
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        names = set(opened.namelist())
        images = sorted(n for n in names if n.startswith("images/"))
        assert len(images) == 6
        for name in images:
            image = Image.open(io.BytesIO(opened.read(name)))
            mask = Image.open(io.BytesIO(opened.read(name.replace("images/", "masks/"))))
            assert image.size == mask.size == (96, 72)
            assert mask.mode == "L"
            assert set(np.unique(np.asarray(mask))) <= {0, 1}
        manifest = json.loads(opened.read("manifest.json"))
    assert manifest["job"] == "abc"
    assert manifest["training_step"] == 2
    assert "VGG-16" in manifest["scoring"]["name"]
    assert "SIFID" not in json.dumps(manifest)
    assert "EfficientNet-Lite0" in manifest["pre_trained_network"]
    for stage in ("generating", "refining", "scoring", "packing"):
        assert [s for s in stages if s[0] == stage] == [(stage, i, N) for i in range(N + 1)]
    order = [s[0] for s in stages]
    assert order == sorted(order, key=["generating", "refining", "scoring", "packing"].index)
    assert [item["index"] for item in result.items] == list(range(N))
    assert all(0 <= item["verbatim_share"] <= 1 for item in result.items)
    assert not list(tmp_path.glob("set-*"))


def test_the_same_request_gives_the_same_bytes(
    scene: Pair, checkpoint: Path, tmp_path: Path
) -> None:
    first = _make(scene, checkpoint, REQUEST, tmp_path / "1.zip")
    second = _make(scene, checkpoint, REQUEST, tmp_path / "2.zip")
    other = _make(scene, checkpoint, replace(REQUEST, seed=4), tmp_path / "3.zip")
    assert first.summary.sha256 == second.summary.sha256
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()
    assert other.summary.sha256 != first.summary.sha256


def test_samples_are_picked_from_candidates_unless_that_is_left_out(
    scene: Pair, checkpoint: Path, tmp_path: Path
) -> None:
    picked = _make(scene, checkpoint, REQUEST, tmp_path / "1.zip")
    screening = picked.metrics["screening"]
    candidates = [item["candidate"] for item in picked.items]
    assert all(0 <= candidate < CANDIDATES for candidate in candidates)
    assert 1 <= np.mean(candidates) + 1 <= screening["candidates_drawn"] <= CANDIDATES
    passed = [s is not None and s <= 1 for s in (item["strangeness"] for item in picked.items)]
    assert screening["plausible_share"] == pytest.approx(np.mean(passed))
    plain = _make(scene, checkpoint, replace(REQUEST, screen=False), tmp_path / "2.zip")
    assert plain.metrics["screening"] is None
    assert {(item["candidate"], item["strangeness"]) for item in plain.items} == {(0, None)}
    longer = replace(REQUEST, n=N + 1)
    more = _make(scene, checkpoint, longer, tmp_path / "3.zip")
    assert [item["candidate"] for item in more.items[:N]] == candidates


def test_without_refinement_a_grey_source_still_gives_grey_images(
    scene: Pair, checkpoint: Path, tmp_path: Path
) -> None:
    grey = replace(scene, is_grey=True)
    result = _make(grey, checkpoint, replace(REQUEST, refine=False), tmp_path / "set.zip")
    assert all(item["verbatim_share"] is None for item in result.items)
    with zipfile.ZipFile(tmp_path / "set.zip") as opened:
        assert Image.open(io.BytesIO(opened.read("images/000000.png"))).mode == "L"


def test_a_stopped_set_leaves_nothing(scene: Pair, checkpoint: Path, tmp_path: Path) -> None:
    told: list[str] = []
    with pytest.raises(InterruptedSetError, match="refining"):
        make_sample_set(
            scene,
            checkpoint,
            REQUEST,
            tmp_path / "set.zip",
            on_stage=lambda stage, *_: told.append(stage),
            should_stop=lambda: told[-1] == "refining",
        )
    assert [p for p in tmp_path.iterdir() if p.suffix != ".safetensors"] == []


def test_the_preview_shows_the_source_and_what_is_learned(scene: Pair, checkpoint: Path) -> None:
    sheet = preview_sheet(checkpoint, scene, device="cpu")
    assert sheet.width >= 1000
    pixels = np.asarray(sheet.convert("RGB"), dtype=float)
    assert pixels.std() > 10
