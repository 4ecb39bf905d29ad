"""Notices that a training makes nothing: blank pictures, one picture, or masks of one class.

Only what is truly degenerate counts, since ugly is a matter of steps: a picture counts as blank
when it varies by less than half a grey level, and an untrained generator's vary by 25 times that.
A training that turns out well may have made such samples in its first steps. So they count from
step 300 on; a training that ends before with them was too short to be judged, and says so.
"""

from __future__ import annotations

import torch
from torch import Tensor

from osmis_core.errors import TrainingError
from osmis_core.models.generator import Generator, draw_latents
from osmis_core.training.config import TrainingConfig
from osmis_core.training.hooks import TrainerHooks, TrainingWarning

SAMPLES = 8
BLANK_STD = 1 / 255
"""Half a grey level, for images in [−1, 1]."""
FLAT = "every picture is one flat colour"
LEARNED_FROM_STEP = 300
"""Fewer steps are too few to expect more than pictures of."""
CHECK_STEPS = 100
CHECK_SHARE = 0.05
"""Of the planned steps between two checks, if that is more than ``CHECK_STEPS``."""
BAD_CHECKS = 3
LATENT_SEED = 2**62
"""Of samples that no training is made of, the same in every check."""


class CollapseWatch:
    """Looks at samples of the averaged generator now and then, and at the end.

    A collapse often passes, so one bad look ends nothing: ``BAD_CHECKS`` in a row do, in the second
    half of the run and past the mask phase, or one at the end. Before ``LEARNED_FROM_STEP`` only
    flat colour counts: not even an untrained generator makes that.

    Args:
        source: image (3, H, W) in [−1, 1] and one-hot mask (K, H, W) at training size; samples are
            not asked for more variation than it has.
        bad_checks: in a row, so far, if a training resumes.
    """

    def __init__(self, source: tuple[Tensor, Tensor], bad_checks: int = 0) -> None:
        image_CHW, mask_KHW = source
        self.bad_checks = bad_checks
        self._has_picture = not _is_blank(image_CHW[None])
        self._has_classes = int((mask_KHW.sum((1, 2)) > 0).sum()) > 1

    def check(self, average: Generator, config: TrainingConfig, step: int) -> None:
        """Looks, where it's time to.

        Raises:
            TrainingError: ``collapsed``, and that for some time.
        """
        if not self.is_time(config, step):
            return
        finding = self.find(average, config)
        self.bad_checks = self.bad_checks + 1 if finding else 0
        if finding and self.bad_checks >= BAD_CHECKS:
            raise collapsed(finding, config, step)

    def find(self, average: Generator, config: TrainingConfig) -> str | None:
        """What is wrong with the samples; None: nothing."""
        images, masks = zip(*_sample(average, config), strict=True)
        return self.judge(torch.cat(images), torch.cat(masks))

    def judge(self, image_BCHW: Tensor, mask_BHW: Tensor) -> str | None:
        """What is wrong with these pairs; None: nothing.

        Args:
            image_BCHW: in [−1, 1].
            mask_BHW: class indices.
        """
        if self._has_picture and _is_blank(image_BCHW):
            return FLAT
        if self._has_picture and float(image_BCHW.std(0).mean()) < BLANK_STD:
            return "all pictures are the same"
        if self._has_classes and bool((mask_BHW == mask_BHW.flatten()[0]).all()):
            return "every mask is of one class only"
        return None

    @staticmethod
    def is_time(config: TrainingConfig, step: int) -> bool:
        """Whether ``check`` looks after this step."""
        if config.steps is None:
            return False
        if step < max(LEARNED_FROM_STEP, config.mask_sampling_steps, config.steps / 2):
            return False
        return step % max(CHECK_STEPS, round(CHECK_SHARE * config.steps)) == 0


def conclude(finding: str, config: TrainingConfig, step: int, hooks: TrainerHooks) -> None:
    """What a training comes to that ends with such samples: an error, or a warning.

    Raises:
        TrainingError: ``collapsed``; there were steps enough, or the pictures are flat.
    """
    if step >= LEARNED_FROM_STEP or finding == FLAT:
        raise collapsed(finding, config, step)
    hooks.on_warning(undertrained(finding, config, step))


def collapsed(finding: str, config: TrainingConfig, step: int) -> TrainingError:
    """The error that ends such a training."""
    return TrainingError(
        f"the training has collapsed: after step {step}, {finding}",
        hint=_with_method("Try another seed, or train longer", config),
        code="collapsed",
    )


def undertrained(finding: str, config: TrainingConfig, step: int) -> TrainingWarning:
    """The warning of one that was too short to be called that."""
    return TrainingWarning(
        code="undertrained",
        detail=f"The training ended after step {step}, too early to expect anything of it: "
        f"{finding}.",
        hint=_with_method(
            f"Give it more time or steps (max_runtime_seconds, iterations), {LEARNED_FROM_STEP} "
            "steps at the very least; with a smaller max_size they take less time",
            config,
        ),
    )


def _with_method(ways: str, config: TrainingConfig) -> str:
    if config.method == "osmis":
        ways += "; method=projected learns in far fewer steps"
    return f"{ways}."


@torch.no_grad()
def _sample(average: Generator, config: TrainingConfig) -> list[tuple[Tensor, Tensor]]:
    """Images (B, 3, H, W) and class indices (B, H, W), in batches no larger than training's."""
    device = next(average.parameters()).device
    made = []
    for start in range(0, SAMPLES, config.batch_size):
        chosen = range(start, min(start + config.batch_size, SAMPLES))
        output = average(draw_latents(config.generator, LATENT_SEED, chosen).to(device))
        made.append((output.images_BCHW[-1], output.mask_BKHW.argmax(1)))
    return made


def _is_blank(image_BCHW: Tensor) -> bool:
    return float(image_BCHW.flatten(2).std(2).max()) < BLANK_STD
