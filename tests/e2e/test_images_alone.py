"""An image without a mask in, images without masks out."""

from __future__ import annotations

import json
import zipfile
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.customer import COINS
from tests.e2e.conftest import Served, onepair

pytestmark = pytest.mark.timeout(400)


def test_a_job_without_a_mask_gives_a_zip_of_images(shared: Served, tmp_path: Path) -> None:
    job_id = shared.post(names=("image",), method="osmis", mask_supervision="none", n="20")

    job = shared.wait_for_end(job_id)

    assert job["status"] == "succeeded", job
    assert job["classes"] == []
    assert job["effective_config"]["mask_supervision"] == "none"
    assert job["metrics"]["training_steps"] == 30
    assert job["metrics"]["novel_share"] is None
    answer = shared.request("GET", f"/jobs/{job_id}/samples", params={"n": 20}).json()
    assert (answer["generated"], answer["kept"]) == (20, 17)
    content = shared.request("GET", answer["download"]["url"]).content
    assert sha256(content).hexdigest() == answer["download"]["sha256"]
    (tmp_path / "set.zip").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "set.zip") as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        images = [name for name in names if name.startswith("images/")]
        assert len(images) == 17
        assert not [name for name in names if "mask" in name]
        assert "original/image.png" in names
        lines = [json.loads(line) for line in archive.read("metadata.jsonl").splitlines()]
        assert [line["file_name"] for line in lines] == images
        for name in images:
            with Image.open(archive.open(name)) as image:
                assert np.asarray(image).std() > 0


IMAGE, MASK = str(COINS / "image.png"), str(COINS / "mask.png")
REFUSED = {
    "no mask": ((IMAGE,), "mask_supervision=none"),
    "a mask too many": ((IMAGE, MASK, "--mask-supervision", "none"), "Leave out the mask"),
    "another method": ((IMAGE, MASK, "--mask-supervision", "projection"), "method=osmis"),
    "too deep": (
        (IMAGE, MASK, "--method", "osmis", "--low-level-blocks", "5", "--max-size", "32"),
        "work",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_the_command_line_says_what_does_not_fit(case: str, shared: Served, tmp_path: Path) -> None:
    arguments, hint = REFUSED[case]
    ran = onepair("run", *arguments, "-o", str(tmp_path / "out"), "--url", shared.url)
    assert ran.returncode == 2, ran.stderr
    assert hint in ran.stderr
