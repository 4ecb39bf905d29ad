"""What a network's weights become for its convolutions, worked out once for all passes of a step.

A discriminator sees generated and real pairs with the same weights. Dividing by σ, spreading a
kernel for a fused change of resolution and rounding to the precision of mixed arithmetic need be
done once for both, and once on the way back.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from osmis_core.gradients import going_on

Key = tuple[int, Callable[..., Tensor]]


class StepWeights:
    """Keeps the kernels and biases of one network as the passes of one step use them.

    Each is cut off from its parameter: gradients of all passes gather in it, until ``hand_back``
    takes their sum on to the parameter. In mixed precision it is rounded once, and the sum is of
    that precision, as its terms are; from there on all is float32.

    Args:
        network: its spectrally normalised layers ask here for their weights from now on.
        dtype: of the arithmetic.
        shared: False leaves every pass to itself.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype, *, shared: bool = True) -> None:
        self._parameters = [p for p in network.parameters() if p.requires_grad]
        self._dtype = dtype
        self._makers: dict[Key, Callable[[], Tensor]] = {}
        self._made: dict[Key, tuple[Tensor, Tensor]] = {}
        for layer in network.modules():
            if shared and hasattr(layer, "step_weights"):
                layer.step_weights = self  # type: ignore[assignment]

    def renew(self) -> None:
        """Before a step, outside of mixed precision: makes what the last one asked for anew."""
        self._made = {key: self._make(make) for key, make in self._makers.items()}

    def share(
        self, parameter: Tensor, form: Callable[..., Tensor], make: Callable[[], Tensor]
    ) -> Tensor:
        """What ``make`` makes of a parameter, made once a step.

        Args:
            parameter: which one.
            form: tells apart several things made of one parameter.
            make: differentiable in the parameter; called in float32.
        """
        key = (id(parameter), form)
        if key not in self._made:
            self._makers[key] = make
            with torch.enable_grad(), torch.autocast(parameter.device.type, enabled=False):
                self._made[key] = self._make(make)
        return self._made[key][1]

    @property
    def leaves(self) -> list[Tensor]:
        """All that gradients gather in: what is shared, and parameters that are used as such."""
        shared = {parameter for parameter, _ in self._makers}
        own = [leaf for _, leaf in self._made.values() if leaf.requires_grad]
        return own + [p for p in self._parameters if id(p) not in shared]

    def hand_back(self) -> None:
        """After the passes: takes the gathered gradients on to the parameters."""
        gathered = [
            (made, leaf.grad.to(made.dtype))
            for made, leaf in self._made.values()
            if leaf.grad is not None
        ]
        self._made = {}
        if gathered:
            torch.autograd.backward(going_on([m for m, _ in gathered], [g for _, g in gathered]))

    def _make(self, make: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
        made = make()
        return made, made.detach().to(self._dtype).requires_grad_(made.requires_grad)
