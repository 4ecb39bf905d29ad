"""All metrics of a set: known answers, what is null and why, and the process that prints them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from osmis_core.data.reader import ReadOptions
from osmis_core.evaluation import EvaluationOptions, evaluate
from osmis_core.evaluation.report import STAGES
from tests.unit.evaluation.sets import SetOfFiles, Source, scene

ROOT = Path(__file__).parents[3]
QUICK = EvaluationOptions(unet=False)


def report_of(files: SetOfFiles, source: Source, options: EvaluationOptions = QUICK) -> Any:
    return evaluate(files.zipped(), source.image, source.mask, options)


def test_every_metric_is_there_and_is_json(files: SetOfFiles, source: Source) -> None:
    seen: list[tuple[str, int, int]] = []
    report = evaluate(
        files.laid_out(), source.image, source.mask, QUICK, on_stage=lambda *told: seen.append(told)
    )
    text = json.dumps(report, allow_nan=False)
    assert "SIFID" not in text.replace(report["not_measured"]["sifid"], "")
    metrics = report["metrics"]
    assert "VGG-16" in metrics["image_distance"]["name"]
    assert metrics["lpips_diversity"]["mean"] > 0
    assert metrics["lpips_diversity"]["pairs_compared"] == 3
    assert "as in the OSMIS paper" in metrics["lpips_diversity_unit_range"]["name"]
    assert 0 < metrics["lpips_to_source"]["nearest"] <= metrics["lpips_to_source"]["mean"]
    assert 0 <= metrics["layout_iou"] < 1
    assert 0 <= metrics["novel_share"] <= 1
    assert metrics["verbatim_share"]["max"] < 0.01
    names = [found["name"] for found in metrics["classes"]["by_class"]]
    assert names == report["source"]["classes"]
    assert sum(metrics["classes"]["by_class"][1]["histogram"]) == 3
    assert metrics["unet_miou"] is None
    assert metrics["sifid"] is None
    assert set(report["not_measured"]) == {"sifid", "unet_miou"}
    assert report["set"] == {"name": "set", "pairs": 3, "judged": 3}
    stages = list(dict.fromkeys(stage for stage, *_ in seen))
    assert stages == [stage for stage in STAGES if stage not in {"sifid", "unet"}]


def test_the_source_itself_is_a_copy_without_diversity(tmp_path: Path, source: Source) -> None:
    files = SetOfFiles(tmp_path)
    for name in "ab":
        files.add(name, source.image_HWC, source.mask_HW)
    metrics = report_of(files, source)["metrics"]
    assert metrics["verbatim_share"] == {"mean": 1.0, "min": 1.0, "max": 1.0}
    assert metrics["lpips_to_source"]["mean"] == 0
    assert metrics["lpips_diversity"]["mean"] == 0
    assert metrics["layout_iou"] == 1
    assert metrics["novel_share"] == 0
    assert metrics["source_iou"] == 1
    assert metrics["classes"]["fault_share"] == 0
    assert max(metrics["image_distance"]["layers"].values()) < 1e-2
    area = metrics["classes"]["by_class"][1]
    assert area["source"] == area["mean"] == area["min"] == area["max"]


def test_other_sizes_are_resized_and_said(files: SetOfFiles, source: Source) -> None:
    files.add("larger", *scene(4, 96, 128))
    files.add("wider", *scene(5, 48, 128))
    notices = {n["code"]: n["detail"] for n in report_of(files, source)["notices"]}
    assert notices["resized"].startswith("2 of 5 samples are not 64×48 like the source")
    assert notices["aspect_changed"].startswith("1 of them")


def test_a_copy_at_another_size_is_verbatim_too(tmp_path: Path, source: Source) -> None:
    """As a set would be delivered at another size: cut from the resized source."""
    from osmis_core.refinement.features import resize

    larger = np.rint(resize(source.image_HWC.astype(np.float32), 72, 96)).astype(np.uint8)
    files = SetOfFiles(tmp_path)
    files.add("a", larger, np.kron(source.mask_HW, np.ones((2, 2), np.uint8))[:72, :96])
    assert report_of(files, source)["metrics"]["verbatim_share"]["mean"] == 1


def test_one_sample_has_no_diversity(tmp_path: Path, source: Source) -> None:
    files = SetOfFiles(tmp_path)
    files.add("only", *scene(1))
    report = report_of(files, source)
    missing = {"lpips_diversity", "lpips_diversity_unit_range", "layout_iou"}
    assert all(report["metrics"][name] is None for name in missing)
    assert missing <= set(report["not_measured"])


def test_plain_images_have_no_verbatim_share(tmp_path: Path, source: Source) -> None:
    files = SetOfFiles(tmp_path)
    for name in "ab":
        files.add(name, np.full((48, 64, 3), 90, np.uint8), scene(1)[1])
    report = report_of(files, source)
    assert report["metrics"]["verbatim_share"] is None
    assert "texture" in report["not_measured"]["verbatim_share"]


def test_the_unet_is_measured_and_repeated(
    files: SetOfFiles, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    from osmis_core.evaluation import measures
    from osmis_core.metrics.unet import UnetOptions

    def quick(seed: int = 0) -> UnetOptions:
        return UnetOptions(seed=seed, steps=30, batch=4, short_px=32, width=8, views=4)

    monkeypatch.setattr(measures, "UnetOptions", quick)
    report = report_of(files, source, EvaluationOptions(unet_repeats=2))
    found = report["metrics"]["unet_miou"]
    assert len(found["repeats"]) == 2
    assert found["mean"] == pytest.approx(np.mean(found["repeats"]))
    assert found["pairs"] == 3
    assert 0.5 < found["mean"] <= 1


def test_a_pair_with_one_class_has_no_unet(files: SetOfFiles, source: Source) -> None:
    """Readers refuse such a source; a caller of the library can make one."""
    from dataclasses import replace

    from osmis_core.data.reader import read_pair
    from osmis_core.evaluation.measures import Subject, usefulness
    from osmis_core.evaluation.pair_set import open_pair_set
    from osmis_core.evaluation.sample_masks import SourceLabels

    options = ReadOptions()
    pair = read_pair(source.image, source.mask, options)
    labels = SourceLabels.of(pair, source.mask.read_bytes(), options)
    with open_pair_set(files.zipped(), labels) as pairs:
        single = replace(pair, class_names=("all",), mask_HW=np.zeros_like(pair.mask_HW))
        assert usefulness(Subject.of(single, pairs), 1, lambda *_: None) is None


def with_inception(path: Path) -> EvaluationOptions:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return EvaluationOptions(unet=False, inception_weights=path, inception_sha256=digest)


def test_sifid_stands_beside_the_default_network(
    inception_file: Path, tmp_path: Path, source: Source
) -> None:
    image, mask = scene(0, 96, 128)
    files = SetOfFiles(tmp_path)
    files.add("a", *scene(1, 96, 128))
    files.add("b", *scene(2, 96, 128))
    for path, array in ((source.image, image), (source.mask, mask)):
        from PIL import Image

        Image.fromarray(array).save(path)
    report = report_of(files, source, with_inception(inception_file))
    assert report["metrics"]["sifid"]["name"] == "SIFID"
    assert report["metrics"]["sifid"]["network"] == "InceptionV3"
    assert "within classes" not in json.dumps(report["metrics"]["sifid"])
    assert "SIFID" not in json.dumps(report["metrics"]["image_distance"])
    assert "sifid" not in report["not_measured"]


def test_sources_too_small_for_inception_say_so(
    inception_file: Path, files: SetOfFiles, source: Source
) -> None:
    report = report_of(files, source, with_inception(inception_file))
    assert report["metrics"]["sifid"] is None
    assert "75 px" in report["not_measured"]["sifid"]


def process(*arguments: str) -> tuple[int, list[dict[str, Any]]]:
    done = subprocess.run(
        [sys.executable, "-m", "osmis_core.evaluation", *arguments],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def test_the_process_prints_progress_and_one_report(files: SetOfFiles, source: Source) -> None:
    paths = map(str, (files.zipped(), source.image, source.mask))
    status, events = process(*paths, "--no-unet", "--limit", "2", "--classes", "ground,thing")
    assert status == 0
    assert {event["event"] for event in events[:-1]} == {"progress"}
    assert events[-1]["event"] == "report"
    report = events[-1]["report"]
    assert report["set"]["judged"] == 2
    assert report["source"]["classes"] == ["ground", "thing"]


@pytest.mark.parametrize("wrong", ["set", "source", "weights", "path"])
def test_wrong_input_is_one_error_event(wrong: str, files: SetOfFiles, source: Source) -> None:
    paths = [files.zipped(), source.image, source.mask]
    options: list[str] = []
    if wrong == "set":
        paths[0].write_bytes(b"nothing")
    elif wrong == "source":
        source.mask.write_bytes(b"nothing")
    elif wrong == "weights":
        options = ["--inception-weights", str(source.image), "--inception-sha256", "0" * 64]
    else:
        paths[1] = Path("no-such-image.png")
    status, events = process(*map(str, paths), "--no-unet", *options)
    expected = {
        "set": "not_a_set",
        "source": "unsupported_image",
        "weights": "bad_scoring_weights",
        "path": "unreadable",
    }
    assert status == 2
    assert [event["event"] for event in events] == ["error"]
    assert events[0]["code"] == expected[wrong]
    assert events[0]["hint"]
