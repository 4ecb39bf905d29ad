"""A few steps under every mask supervision, and a set of images from an image alone."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from osmis_core.data.pair import Pair
from osmis_core.preview import preview_sheet
from osmis_core.sample_set import SampleSetRequest, make_sample_set
from osmis_core.training.checkpoint import Checkpoint
from osmis_core.training.config import TrainingConfig
from osmis_core.training.step import Optimisation
from osmis_core.training.trainer import RunOptions, choose_device, train

MakeConfig = Callable[..., TrainingConfig]
OPTIONS = RunOptions(device="cpu", threads=1, checkpoint_seconds=1e9)
OPTIONS_OF = {
    "osmis": ("none", "projection", "input_concat", "mask_discriminator", "mca"),
    "projected": ("none", "mca"),
}
CASES = [(method, name) for method, names in OPTIONS_OF.items() for name in names]


@pytest.mark.parametrize(("method", "name"), CASES)
def test_steps_stay_finite_and_resume(
    method: str,
    name: str,
    scene: Pair,
    image_alone: Pair,
    make_config: MakeConfig,
    recorder: Any,
) -> None:
    config = make_config(method, 3, supervision=name)
    pair = image_alone if name == "none" else scene
    assert config.class_count == (1 if name == "none" else 2)

    result = train(pair, replace(config, steps=2), recorder, options=OPTIONS)

    assert result.step == 2
    losses = recorder.progress[-1].losses
    assert all(np.isfinite(value) for value in losses.values())
    saved = Checkpoint.read(recorder.checkpoints[-1])
    assert saved.config.mask_supervision == name
    longer = replace(saved, config=replace(saved.config, steps=3))
    path = recorder.folder / "longer.safetensors"
    longer.write(path)
    assert train(pair, config, recorder, resume=path, options=OPTIONS).step == 3


def test_a_checkpoint_without_the_options_is_one_of_masked_content_attention(
    make_config: MakeConfig,
) -> None:
    config = make_config("osmis", 1)
    old = config.to_dict()
    del old["mask_supervision"], old["low_level_blocks"]
    assert TrainingConfig.from_dict(json.loads(json.dumps(old))) == config
    assert (config.mask_supervision, config.low_level_blocks) == ("mca", None)


def test_low_level_blocks_override_the_size_plan(scene: Pair, make_config: MakeConfig) -> None:
    config = make_config("osmis", 1, low_level_blocks=1)
    assert config.size.low_level_blocks > 1
    networks = Optimisation(scene, config, choose_device("cpu")).networks
    assert len(networks.discriminator.low) == 1


@pytest.mark.parametrize("method", ["osmis", "projected"])
@pytest.mark.parametrize("refine", [True, False])
def test_an_image_alone_gives_a_set_of_images(
    method: str,
    refine: bool,
    image_alone: Pair,
    make_config: MakeConfig,
    recorder: Any,
    tmp_path: Path,
) -> None:
    train(image_alone, make_config(method, 2, supervision="none"), recorder, options=OPTIONS)
    checkpoint = recorder.checkpoints[-1]
    request = SampleSetRequest(n=4, output_h=72, output_w=96, refine=refine, device="cpu")
    result = make_sample_set(
        image_alone,
        checkpoint,
        request,
        tmp_path / "set.zip",
        on_stage=lambda *_: None,
        should_stop=lambda: False,
    )
    with zipfile.ZipFile(tmp_path / "set.zip") as archive:
        names = archive.namelist()
        lines = [json.loads(line) for line in archive.read("metadata.jsonl").splitlines()]
        manifest = json.loads(archive.read("manifest.json"))
        readme = archive.read("README.md").decode()
        with Image.open(archive.open("images/000000.png")) as image:
            assert (image.size, image.mode) == ((96, 72), "RGB")
    assert len([n for n in names if n.startswith("images/")]) == result.summary.kept == 3
    assert not [n for n in names if "mask" in n]
    assert all("class_areas" not in line and "mask_file_name" not in line for line in lines)
    assert manifest["classes"] == []
    assert manifest["effective_config"]["mask_supervision"] == "none"
    assert "# 3 images, made from one" in readme
    assert "mask" not in readme.replace("without a mask", "")
    metrics = result.metrics
    assert metrics["distance"]
    assert not [name for name in metrics["distance"] if "within classes" in name]
    needs_masks = ("novel_share", "layout_iou", "class_fault_share")
    assert [metrics[name] for name in needs_masks] == [None, None, None]
    assert (metrics["verbatim_share"] is not None) == refine
    sheet = preview_sheet(checkpoint, image_alone, device="cpu")
    assert np.asarray(sheet.convert("RGB"), dtype=float).std() > 10
