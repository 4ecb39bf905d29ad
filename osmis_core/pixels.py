"""From what networks make to what files hold: ranges, classes, grey, sizes."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from osmis_core.data.pair import IGNORE, U8
from osmis_core.generation import F32, CoarsePair


def to_u8(image_HWC: F32) -> U8:
    """[−1, 1] to 0 … 255, rounded."""
    rounded = np.rint((image_HWC + 1.0) * 127.5)
    clipped: U8 = np.clip(rounded, 0, 255).astype(np.uint8)
    return clipped


def to_classes(shares_HWK: F32) -> U8:
    """The class that covers most of each pixel; ``IGNORE`` where none has a share."""
    classes_HW: U8 = shares_HWK.argmax(2).astype(np.uint8)
    classes_HW[shares_HWK.sum(2) == 0] = IGNORE
    return classes_HW


def to_grey(image_HWC: U8) -> U8:
    """Rec. 601 luma in all three channels, for sources that had one."""
    luma_HW = np.asarray(Image.fromarray(image_HWC).convert("L"))
    grey_HWC: U8 = np.repeat(luma_HW[..., None], 3, axis=2)
    return grey_HWC


def resize_sample(coarse: CoarsePair, output_hw: tuple[int, int]) -> tuple[U8, U8]:
    """A sample without refinement: bilinear image, argmax of the bilinear class probabilities."""
    both_HWC = np.concatenate((coarse.image_HWC, coarse.mask_HWK), 2)
    tensor = torch.from_numpy(both_HWC).permute(2, 0, 1)[None]
    if tensor.shape[2:] != output_hw:
        tensor = torch.nn.functional.interpolate(tensor, output_hw, mode="bilinear")
    image_HWC = tensor[0, :3].permute(1, 2, 0).numpy()
    mask_HW = tensor[0, 3:].argmax(0).numpy().astype(np.uint8)
    return to_u8(image_HWC), mask_HW
