"""Keeps the best state of a training's samples, and ends a training that no longer improves."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace

from torch import Tensor

from osmis_core.models.generator import Generator
from osmis_core.training.config import TrainingConfig
from osmis_core.training.hooks import TrainingWarning
from osmis_core.training.look import Look

LOOKED_AT_FROM_STEPS = 1000
"""Trainings that are planned shorter end before there is anything to compare."""
LOOK_STEPS = 100
LOOK_SHARE = 0.05
"""Of the planned steps between two looks, if that is more than ``LOOK_STEPS``."""
BETTER = 1.02
"""Times the best merit before: less is no progress."""
PLATEAU_SHARE = 0.4
"""Of the steps done, the last, without progress: a plateau."""
PLATEAU_FROM_STEP = 3000
"""Samples can stand still for a while before."""
FINISH_SHARE = 0.5
"""Of the steps done, that come on top after a plateau: the learning rates fall in them."""
OVERTAKEN = 1.5
"""Times the last look's merit: an earlier state that is so much better is taken in the end."""


class BestKept:
    """The looks at one training, and a copy of the averaged generator at the best of them.

    Args:
        looks: of earlier runs, if this one resumes.
        tensors: the copy that they left.
    """

    def __init__(
        self, looks: Iterable[Look] = (), tensors: dict[str, Tensor] | None = None
    ) -> None:
        self.looks = list(looks)
        self.tensors = tensors or {}

    @property
    def best(self) -> Look | None:
        """The look that the copy was taken at."""
        best: Look | None = None
        for look in self.looks:
            if best is None or look.merit > BETTER * best.merit:
                best = look
        return best

    def add(self, look: Look, average: Generator) -> None:
        """One more look, at the samples of this generator."""
        self.looks.append(look)
        if self.best is look:
            self.tensors = {k: v.detach().cpu().clone() for k, v in average.state_dict().items()}

    def forget_after(self, step: int) -> None:
        """The training went back to this step: what was seen since never was.

        Without the copy of the best look those before it are of no use either.
        """
        best = self.best
        if best is not None and best.step > step:
            self.looks, self.tensors = [], {}
        self.looks = [look for look in self.looks if look.step <= step]

    def shortened(self, config: TrainingConfig, step: int) -> TrainingConfig:
        """The config, its plan shortened where there was no progress for long.

        Steps that a user has named stand.
        """
        best = self.best
        if config.steps is None or config.budget_seconds is None or best is None:
            return config
        if step < PLATEAU_FROM_STEP:
            return config
        finished = round((1 + FINISH_SHARE) * step)
        if best.step > (1 - PLATEAU_SHARE) * step or finished >= config.steps:
            return config
        return replace(config, steps=finished)

    def plateau_warning(self, planned: int, config: TrainingConfig) -> TrainingWarning:
        """That the plan was shortened."""
        best = self.best
        assert best is not None, "a plateau is what looks have seen"
        return TrainingWarning(
            code="plateau",
            detail=f"The samples have not become better since step {best.step}: the training "
            f"ends after step {config.steps} instead of {planned}.",
            hint="Nothing needs to be done; more time would not make better pairs.",
        )

    @property
    def samples_from_step(self) -> int | None:
        """Step of the copy, where the last look was clearly worse: sets are made of it then."""
        best = self.best
        if best is None or best.merit <= OVERTAKEN * self.looks[-1].merit:
            return None
        return best.step

    def for_samples(self, average: Generator) -> Generator:
        """What sets are made of: this generator, or another with the copy's weights."""
        if self.samples_from_step is None:
            return average
        other = copy.deepcopy(average)
        other.load_state_dict(self.tensors)
        return other

    def earlier_state(self) -> TrainingWarning | None:
        """That sets are made of the copy; None where they are not."""
        if self.samples_from_step is None or self.best is None:
            return None
        best, last = self.best, self.looks[-1]
        return TrainingWarning(
            code="earlier_state",
            detail=f"Sets are made of the state after step {best.step}: its samples had a "
            f"distance of {best.distance:.2f} and a diversity of {best.diversity:.2f}, the last "
            f"ones of {last.distance:.2f} and {last.diversity:.2f}.",
            hint="Nothing needs to be done. Should the pairs disappoint, try another seed.",
        )

    @staticmethod
    def is_time(config: TrainingConfig, step: int) -> bool:
        """Whether to look after this step: past the mask phase, now and then and at the end."""
        if config.steps is None or config.steps < LOOKED_AT_FROM_STEPS:
            return False
        if not config.layout_views or step <= config.mask_sampling_steps:
            return False
        interval = max(LOOK_STEPS, round(LOOK_SHARE * config.steps))
        return step % interval == 0 or step == config.steps
