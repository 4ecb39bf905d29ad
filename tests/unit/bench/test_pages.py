from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from bench.quality.pages import PAGE, write_pages
from osmis_core.data.pair import Pair


def test_every_sample_is_on_a_page(tmp_path: Path, scene: Pair) -> None:
    samples = [(scene.image_HWC, scene.mask_HW)] * (PAGE + 2)
    heights = []
    for path in write_pages(samples, scene, tmp_path):
        with Image.open(path) as page:
            heights.append(page.height)
            assert np.asarray(page).std() > 0
    assert len(heights) == 2
    assert heights[0] > heights[1], "the second has two samples"
