"""``python -m bench.quality.pairs.draw FOLDER``: draws the masks anew, to change them.

FOLDER is ``skimage/data`` of an unpacked scikit-image wheel; nothing else needs scikit-image.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage

HERE = Path(__file__).parent
U8 = npt.NDArray[np.uint8]
Outline = list[tuple[float, float]]

TISSUE_SIDE_PX = 384
STAIN_SMOOTHING_PX = 4.0
STAIN_LEVELS = 26.0
"""Red over blue, smoothed, from which tissue counts as stained: chosen by eye."""
SMALLEST_PART_PX = 600

# x, y in pixels of the picture; later outlines cover earlier ones
CAT: list[tuple[int, Outline]] = [
    (
        1,
        [
            *((42, 0), (34, 42), (31, 85), (35, 115), (43, 135), (52, 160), (70, 185), (90, 212)),
            *((110, 237), (135, 253), (165, 266), (200, 275), (225, 279), (250, 278), (275, 272)),
            *((300, 264), (313, 250), (322, 225), (338, 203), (352, 180), (358, 155), (361, 130)),
            *((357, 105), (355, 75), (372, 54), (380, 27), (398, 0)),
        ],
    ),
    (
        2,
        [
            *((134, 105), (140, 92), (152, 86), (168, 85), (185, 91), (198, 101), (206, 116)),
            *((207, 128), (198, 141), (180, 147), (163, 144), (147, 133), (137, 119)),
        ],
    ),
    (
        2,
        [
            *((295, 148), (296, 132), (302, 121), (313, 113), (328, 109), (340, 113), (343, 125)),
            *((339, 142), (330, 155), (318, 163), (304, 163), (296, 157)),
        ],
    ),
    (
        3,
        [
            *((240, 231), (252, 227), (275, 229), (292, 231), (288, 239), (278, 249), (268, 258)),
            *((258, 265), (252, 260), (249, 248), (243, 240)),
        ],
    ),
]


def draw_cat(image: Image.Image) -> U8:
    """0 background, the body included, 1 head, 2 eye, 3 nose; shape (H, W)."""
    mask = Image.new("L", image.size, 0)
    for index, outline in CAT:
        ImageDraw.Draw(mask).polygon(outline, fill=index)
    return np.asarray(mask)


def draw_tissue(image: Image.Image) -> U8:
    """0 connective tissue and lumen, 1 stained gland; shape (H, W)."""
    red_HW, _, blue_HW = np.moveaxis(np.asarray(image, dtype=np.float64), 2, 0)
    stained_HW = ndimage.gaussian_filter(red_HW - blue_HW, STAIN_SMOOTHING_PX) > STAIN_LEVELS
    stained_HW = _without_small(stained_HW)
    gland_HW: U8 = (~_without_small(~stained_HW)).astype(np.uint8)
    return gland_HW


def _without_small(part_HW: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    labels_HW, _ = ndimage.label(part_HW)
    areas = np.bincount(labels_HW.ravel())
    areas[0] = 0
    large_HW: npt.NDArray[np.bool_] = (areas >= SMALLEST_PART_PX)[labels_HW]
    return large_HW


def main() -> None:
    """Writes ``cat/`` and ``tissue/``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    cat = Image.open(folder / "chelsea.png").convert("RGB")
    side = (TISSUE_SIDE_PX, TISSUE_SIDE_PX)
    tissue = Image.open(folder / "ihc.png").convert("RGB").resize(side, Image.Resampling.LANCZOS)
    for name, image, mask_HW in (
        ("cat", cat, draw_cat(cat)),
        ("tissue", tissue, draw_tissue(tissue)),
    ):
        (HERE / name).mkdir(exist_ok=True)
        image.save(HERE / name / "image.png", optimize=True)
        Image.fromarray(mask_HW).save(HERE / name / "mask.png", optimize=True)


if __name__ == "__main__":
    main()
