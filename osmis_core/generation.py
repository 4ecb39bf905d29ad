"""Sampling: from a checkpoint and a seed to coarse pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from osmis_core.models.generator import Generator, draw_latents
from osmis_core.models.spectral import fold_spectral_norms
from osmis_core.training.checkpoint import Checkpoint
from osmis_core.training.config import TrainingConfig
from osmis_core.training.trainer import choose_device

F32 = npt.NDArray[np.float32]
BATCH_SIZE = 8


@dataclass(frozen=True)
class CoarsePair:
    """One generated pair at the content's training size.

    Attributes:
        image_HWC: float32 in [−1, 1].
        mask_HWK: class probabilities, sum to 1.
    """

    image_HWC: F32
    mask_HWK: F32


class Sampler:
    """Draws pairs from a checkpoint's averaged generator, σ folded into its weights.

    ``step`` is the step that the generator is of: an earlier one than the training's where its
    samples were better.

    Sample i is a function of (checkpoint, seed, i) alone: the batch it is drawn in is fixed by
    its index, so that n = 100 is the prefix of n = 200 to the last bit.
    """

    def __init__(self, checkpoint: Path, device: str = "auto") -> None:
        loaded = Checkpoint.read(checkpoint, prefixes=("average.", "best."))
        self.config: TrainingConfig = loaded.config
        self.step, weights = loaded.for_samples()
        self.device = choose_device(device)
        self.generator = Generator(self.config.generator)
        self.generator.load_state_dict(weights)
        fold_spectral_norms(self.generator)
        self.generator.to(self.device).eval()

    def sample(self, seed: int, indices: range) -> Iterator[CoarsePair]:
        """Pairs ``indices`` of this seed, one by one; memory stays flat."""
        for start in range(indices.start // BATCH_SIZE * BATCH_SIZE, indices.stop, BATCH_SIZE):
            batch = range(start, start + BATCH_SIZE)
            for i, pair in zip(batch, self._batch(seed, batch), strict=True):
                if i in indices:
                    yield pair

    @torch.no_grad()
    def _batch(self, seed: int, indices: range) -> list[CoarsePair]:
        latents = draw_latents(self.config.generator, seed, indices).to(self.device)
        made = self.generator(latents)
        size = self.config.size
        rows = slice(size.top, size.top + size.content_h)
        columns = slice(size.left, size.left + size.content_w)
        images = made.images_BCHW[-1][:, :, rows, columns].permute(0, 2, 3, 1).cpu().numpy()
        masks = made.mask_BKHW[:, :, rows, columns].permute(0, 2, 3, 1).cpu().numpy()
        return [
            CoarsePair(np.ascontiguousarray(image), np.ascontiguousarray(mask))
            for image, mask in zip(images, masks, strict=True)
        ]
