"""What a network's weights become for its convolutions, worked out once for all passes of a step.

A discriminator sees generated and real pairs with the same weights. Dividing by σ, spreading a
kernel for a fused change of resolution and rounding to the precision of mixed arithmetic need be
done once for both, and once on the way back.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from osmis_core.gradients import going_on
from osmis_core.models.spectral import (
    Form,
    SpectrallyNormalised,
    normalise,
    power_iteration,
    spectral_layers,
)

Key = tuple[SpectrallyNormalised, Form]


class StepWeights:
    """Keeps the kernels and biases of one network as the passes of one step use them.

    Each is cut off from its parameter: gradients of all passes gather in it, until ``hand_back``
    takes their sum on to the parameter. In mixed precision it is rounded once, and the sum is of
    that precision, as its terms are; from there on all is float32.

    Args:
        network: its spectrally normalised layers ask here for their weights from now on, also
            between steps. A copy of it made from then on would ask here too.
        dtype: of the arithmetic.
        shared: False leaves every pass to itself.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype, *, shared: bool = True) -> None:
        self._parameters = [p for p in network.parameters() if p.requires_grad]
        self._dtype = dtype
        self._layers = spectral_layers(network)
        self._shared = shared
        self._normalised: dict[SpectrallyNormalised, Tensor] = {}  # empty between steps
        self._asked: dict[Key, None] = {}
        self._asked_biases: dict[nn.Parameter, None] = {}
        self._kernels: dict[Key, tuple[Tensor, Tensor]] = {}
        self._biases: dict[nn.Parameter, Tensor] = {}
        if shared:
            for layer in self._layers:
                layer.step_weights = self

    def renew(self) -> None:
        """Before a step, outside of mixed precision: one power iteration, and all weights anew.

        What the last step asked for is made at once, the rest when it is asked for.
        """
        sigmas = power_iteration(self._layers)
        if not self._shared:
            return
        normalised = normalise(self._layers, sigmas) if sigmas else ()
        self._normalised = dict(zip(self._layers, normalised, strict=True))
        self._kernels = {(layer, form): self._make(layer, form) for layer, form in self._asked}
        self._biases = {bias: self._leaf(bias) for bias in self._asked_biases}

    def kernel(self, layer: SpectrallyNormalised, form: Form) -> Tensor:
        """W / σ of a layer in a form, made once a step; between steps, every time."""
        if not self._normalised:
            return form(layer.normalised_weight())
        key = (layer, form)
        if key not in self._kernels:
            self._asked[key] = None
            with torch.enable_grad(), torch.autocast(layer.weight.device.type, enabled=False):
                self._kernels[key] = self._make(layer, form)
        return self._kernels[key][1]

    def offset(self, bias: nn.Parameter) -> Tensor:
        """A bias, rounded once a step; between steps as it is."""
        if not self._normalised:
            return bias
        if bias not in self._biases:
            self._asked_biases[bias] = None
            self._biases[bias] = self._leaf(bias)
        return self._biases[bias]

    @property
    def leaves(self) -> list[Tensor]:
        """All that gradients gather in: what is shared, and parameters that are used as such."""
        kernels = [leaf for _, leaf in self._kernels.values() if leaf.requires_grad]
        biases = [leaf for leaf in self._biases.values() if leaf.requires_grad]
        shared = {layer.weight for layer, _ in self._kernels} | self._biases.keys()
        return kernels + biases + [p for p in self._parameters if p not in shared]

    def hand_back(self) -> None:
        """After the passes: takes the gathered gradients on to the parameters."""
        for bias, leaf in self._biases.items():
            if leaf.grad is not None:
                bias.grad = leaf.grad.to(bias.dtype)
        gathered = [
            (made, leaf.grad.to(made.dtype))
            for made, leaf in self._kernels.values()
            if leaf.grad is not None
        ]
        self._kernels, self._normalised, self._biases = {}, {}, {}
        if gathered:
            torch.autograd.backward(going_on([m for m, _ in gathered], [g for _, g in gathered]))

    def _make(self, layer: SpectrallyNormalised, form: Form) -> tuple[Tensor, Tensor]:
        made = form(self._normalised[layer])
        return made, self._leaf(made)

    def _leaf(self, made: Tensor) -> Tensor:
        return made.detach().to(self._dtype).requires_grad_(made.requires_grad)
