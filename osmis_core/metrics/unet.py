"""Are the generated pairs worth training on? A small U-Net learns from them and meets the source.

The paper trains a U-Net for 500 epochs on generated pairs only and reports the mean IoU on the real
pair. Here the U-Net is small and short (150 steps, 128 px short side), and the real pair is shown
under seeded flips, scales, rotations and shifts, so one memorised layout doesn't pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import affine_grid, cross_entropy, grid_sample, interpolate, pad

from osmis_core.data.pair import IGNORE
from osmis_core.metrics.features import U8, resize_image, to_signed


@dataclass(frozen=True, kw_only=True)
class UnetOptions:
    """How the U-Net is trained and shown the real pair.

    Attributes:
        steps: optimiser steps.
        batch: pairs a step.
        short_px: images are resized to this short side.
        width: channels at full resolution; doubled at each of three poolings.
        learning_rate: peak of a one-cycle schedule.
        seed: of weights, batches and views.
        views: augmented views of the real pair that are judged.
    """

    steps: int = 150
    batch: int = 8
    short_px: int = 128
    width: int = 16
    learning_rate: float = 3e-3
    seed: int = 0
    views: int = 32


def _double_conv(channels_in: int, channels_out: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (channels_in, channels_out):
        layers += [
            nn.Conv2d(channels, channels_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Ronneberger et al. (2015), three poolings deep.

    Args:
        class_count: K.
        width: channels at full resolution.
    """

    DEPTH = 3

    def __init__(self, class_count: int, width: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(self.DEPTH + 1)]
        inputs = [3, *widths[:-1]]
        self.down = nn.ModuleList(_double_conv(i, o) for i, o in zip(inputs, widths, strict=True))
        self.up = nn.ModuleList(
            _double_conv(widths[level] + widths[level + 1], widths[level])
            for level in reversed(range(self.DEPTH))
        )
        self.head = nn.Conv2d(width, class_count, 1)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Logits (B, K, H, W) of images in [-1, 1]; any size, padded inside to multiples of 8."""
        height, width = image_BCHW.shape[2:]
        unit = 2**self.DEPTH
        hidden = pad(image_BCHW, (0, -width % unit, 0, -height % unit), mode="replicate")
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            hidden = block(hidden)
            if level < self.DEPTH:
                skips.append(hidden)
                hidden = torch.nn.functional.max_pool2d(hidden, 2)
        for block in self.up:
            hidden = interpolate(hidden, scale_factor=2.0, mode="nearest")
            hidden = block(torch.cat((hidden, skips.pop()), dim=1))
        logits: Tensor = self.head(hidden)[:, :, :height, :width]
        return logits


def short_side_size(shape: tuple[int, ...], short_px: int) -> tuple[int, int]:
    """Height and width with this short side and the aspect ratio of ``shape`` (H, W, …)."""
    height, width = shape[:2]
    ratio = short_px / min(height, width)
    return round(height * ratio), round(width * ratio)


def _batchable(
    images: Sequence[U8], masks: Sequence[U8], size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """All pairs at one size: images (N, 3, H, W) in [-1, 1], masks (N, H, W) of indices."""
    height, width = size
    image_NCHW = torch.stack([to_signed(resize_image(image, height, width)) for image in images])
    resized = [
        np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
        for mask in masks
    ]
    return image_NCHW, torch.from_numpy(np.stack(resized).astype(np.int64))


def train_unet(
    images: Sequence[U8], masks: Sequence[U8], class_count: int, options: UnetOptions | None = None
) -> UNet:
    """Trains a U-Net on pairs as they are, without augmentation.

    Args:
        images: uint8 RGB images.
        masks: class indices, 255 = ignored; as many as images.
        class_count: K.
        options: length, size and seed.

    Returns:
        The network in evaluation mode. Seeded: the same pairs and threads give the same network.

    Raises:
        ValueError: no pairs, or unequal counts.
    """
    if not images or len(images) != len(masks):
        raise ValueError(f"Need as many images as masks: {len(images)}, {len(masks)}.")
    chosen = options or UnetOptions()
    size = short_side_size(images[0].shape, chosen.short_px)
    image_NCHW, mask_NHW = _batchable(images, masks, size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(chosen.seed)
        net = UNet(class_count, chosen.width).to(memory_format=torch.channels_last)
        optimiser = torch.optim.AdamW(net.parameters(), chosen.learning_rate, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, chosen.learning_rate, total_steps=chosen.steps, pct_start=0.2
        )
        for _ in range(chosen.steps):
            picked = torch.randint(len(images), (chosen.batch,))
            batch_BCHW = image_NCHW[picked].contiguous(memory_format=torch.channels_last)
            loss = cross_entropy(net(batch_BCHW), mask_NHW[picked], ignore_index=IGNORE)
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
    return net.eval()


def _views(rng: np.random.Generator, count: int, size: tuple[int, int]) -> Tensor:
    """Inverse affine maps (count, 2, 3): flips, scale σ 0.2, rotation ±20°, shift ±12.5 %."""
    height, width = size
    thetas = np.zeros((count, 2, 3), dtype=np.float32)
    for theta in thetas:
        flip = rng.choice((-1.0, 1.0))
        scale = 2 ** float(np.clip(rng.normal(0, 0.2), -0.4, 0.4))
        angle = math.radians(rng.uniform(-20, 20))
        cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
        aspect = height / width
        theta[0] = (flip * cos, flip * sin * aspect, rng.uniform(-0.25, 0.25))
        theta[1] = (-sin / aspect, cos, rng.uniform(-0.25, 0.25))
    return torch.from_numpy(thetas)


def mean_iou(
    net: UNet, image_HWC: U8, mask_HW: U8, class_count: int, options: UnetOptions | None = None
) -> float:
    """Plain mean IoU on the real pair under seeded geometric augmentation.

    Intersections and unions are summed over all views, then averaged over the classes present.

    Args:
        net: from ``train_unet``.
        image_HWC: the real image.
        mask_HW: the real mask, 255 = ignored.
        class_count: K.
        options: the options it was trained with.

    Returns:
        Mean IoU in [0, 1], background included.
    """
    chosen = options or UnetOptions()
    size = short_side_size(image_HWC.shape, chosen.short_px)
    image_NCHW, mask_NHW = _batchable([image_HWC], [mask_HW], size)
    # the same views whatever the network's seed, so that repeats differ by training alone
    thetas = _views(np.random.default_rng(0), chosen.views, size)
    confusion_KK = torch.zeros(class_count, class_count, dtype=torch.int64)
    for theta in torch.split(thetas, 8):
        grid = affine_grid(theta, [len(theta), 1, *size], align_corners=False)
        views_BCHW = grid_sample(
            image_NCHW.expand(len(theta), -1, -1, -1),
            grid,
            padding_mode="reflection",
            align_corners=False,
        )
        truth_BHW = grid_sample(
            mask_NHW[None].float().expand(len(theta), -1, -1, -1),
            grid,
            mode="nearest",
            padding_mode="reflection",
            align_corners=False,
        )[:, 0].long()
        with torch.inference_mode():
            guess_BHW = net(views_BCHW).argmax(1)
        labelled = truth_BHW != IGNORE
        pairs = truth_BHW[labelled] * class_count + guess_BHW[labelled]
        confusion_KK += torch.bincount(pairs, minlength=class_count**2).view_as(confusion_KK)
    hit_K = confusion_KK.diag().double()
    union_K = confusion_KK.sum(0) + confusion_KK.sum(1) - confusion_KK.diag()
    present_K = confusion_KK.sum(1) > 0
    return float((hit_K[present_K] / union_K[present_K]).mean())


def unet_miou(
    images: Sequence[U8],
    masks: Sequence[U8],
    source_HWC: U8,
    source_mask_HW: U8,
    class_count: int,
    options: UnetOptions | None = None,
) -> float | None:
    """Mean IoU on the real pair of a U-Net trained on generated pairs alone (the paper's mIoU).

    Args:
        images: generated images, uint8 RGB.
        masks: their class indices, 255 = ignored.
        source_HWC: the real image, never trained on.
        source_mask_HW: the real mask.
        class_count: K.
        options: length, size and seed; another seed is another network on the same test.

    Returns:
        Mean IoU in [0, 1]; None where there is one class, and so nothing to tell apart.

    Raises:
        ValueError: no pairs, or unequal counts.
    """
    labelled = source_mask_HW[source_mask_HW != IGNORE]
    if class_count < 2 or len(np.unique(labelled)) < 2:
        return None
    net = train_unet(images, masks, class_count, options)
    return mean_iou(net, source_HWC, source_mask_HW, class_count, options)
