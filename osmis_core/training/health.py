"""Keeps a training finite: notices numbers that no longer are, and goes back to before.

Whatever has once become NaN or infinite stays so, and spoils all that it touches. The guard looks
at losses, gradients and weights after every step (of a GPU's, after some), keeps the state of a
while ago in memory, and restores it with a lower learning rate.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from osmis_core.errors import TrainingError
from osmis_core.training.config import TrainingConfig
from osmis_core.training.hooks import TrainingWarning
from osmis_core.training.state import load_state, state_tensors
from osmis_core.training.step import Networks, StepLosses

SNAPSHOT_STEPS = 50
SNAPSHOTS_KEPT = 2
DEVICE_CHECK_STEPS = 10
"""A GPU is waited for this seldom; divides ``SNAPSHOT_STEPS``."""
MAX_ROLLBACKS = 3
LEARNING_RATE_FACTOR = 0.5


@dataclass(frozen=True, kw_only=True)
class Rollback:
    """One return to an earlier state.

    Attributes:
        step: after which something was no longer finite.
        back_to: the step that training went on from.
        learning_rate: from there on, at its height.
    """

    step: int
    back_to: int
    learning_rate: float

    def warning(self) -> TrainingWarning:
        """For the user."""
        return TrainingWarning(
            code="rolled_back",
            detail=f"After step {self.step} not every number of the training was finite: it went "
            f"on from step {self.back_to} with a learning rate of {self.learning_rate:.3g}.",
            hint="Nothing needs to be done. Should the pairs disappoint, try another seed.",
        )


@dataclass(frozen=True)
class _Snapshot:
    step: int
    tensors: dict[str, Tensor]


class Guard:
    """Watches one training and takes it back.

    It goes back to the *older* of the last two snapshots: numbers grow for some steps before they
    overflow, so the newest may be on its way out already. Snapshots are copies on the CPU, taken
    at multiples of ``SNAPSHOT_STEPS`` and where a run begins: where a training goes back to is a
    function of its steps, not of the clock. Together they take about twice a checkpoint's size.

    Args:
        networks: the training's.
        config: for the learning rate to start from.
        step: where this run begins.
        rollbacks: of earlier runs, if this one resumes; their learning rate is set.
    """

    def __init__(
        self,
        networks: Networks,
        config: TrainingConfig,
        step: int,
        rollbacks: Iterable[Rollback] = (),
    ) -> None:
        self.rollbacks = list(rollbacks)
        self._networks = networks
        self._planned_rate = config.learning_rate
        self._trained = [*networks.generator.parameters(), *networks.trainable]
        self._on_cpu = all(p.device.type == "cpu" for p in self._trained)
        self._magnitude = torch.zeros(())
        self._snapshots: deque[_Snapshot] = deque(maxlen=SNAPSHOTS_KEPT)
        self._keep(step)
        if self.rollbacks:
            networks.learning_rate = self.rollbacks[-1].learning_rate

    def is_sound(self, losses: StepLosses, step: int, *, surely: bool) -> bool:
        """Whether all is finite after ``step`` steps; a sound state may become a snapshot.

        Args:
            losses: of the last step.
            step: steps done.
            surely: False lets a GPU's answer wait for up to ``DEVICE_CHECK_STEPS`` steps.
        """
        # a sum is finite only if all that went into it is, and stays non-finite once it is
        of_losses = torch.stack([loss.float() for loss in vars(losses).values()]).sum()
        self._magnitude = self._magnitude.to(of_losses.device) + of_losses
        if not (surely or self._on_cpu or step % DEVICE_CHECK_STEPS == 0):
            return True
        # weights that no longer are finite stay so
        is_finite = bool(torch.isfinite(self._magnitude + self._norm()))
        self._magnitude = torch.zeros(())
        if is_finite and step % SNAPSHOT_STEPS == 0:
            self._keep(step)
        return is_finite

    def go_back(self, step: int) -> Rollback:
        """Restores the older snapshot and lowers the learning rate.

        Raises:
            TrainingError: that has been done often enough.
        """
        if len(self.rollbacks) >= MAX_ROLLBACKS:
            raise TrainingError(
                f"after step {step} not every number of the training is finite, for the "
                f"{len(self.rollbacks) + 1}th time; the learning rate was lowered each time, last "
                f"to {self.rollbacks[-1].learning_rate:.3g}",
                hint="Try another seed or another max_size; if it happens again, please report "
                "the pair.",
                code="diverged",
            )
        target = self._snapshots[0]
        self._snapshots = deque([target], maxlen=SNAPSHOTS_KEPT)
        load_state(self._networks, target.tensors)
        rate = self._planned_rate * LEARNING_RATE_FACTOR ** (len(self.rollbacks) + 1)
        self._networks.learning_rate = rate
        rollback = Rollback(step=step, back_to=target.step, learning_rate=rate)
        self.rollbacks.append(rollback)
        return rollback

    @torch.no_grad()
    def _norm(self) -> Tensor:
        """Of weights and gradients: a scalar."""
        gradients = [p.grad for p in self._trained if p.grad is not None]
        return get_total_norm([*self._trained, *gradients])

    def _keep(self, step: int) -> None:
        copies = {
            name: tensor.detach().to("cpu", copy=True)
            for name, tensor in state_tensors(self._networks).items()
        }
        self._snapshots.append(_Snapshot(step, copies))
