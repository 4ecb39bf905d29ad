"""Adam without the compiler that comes with it."""

from __future__ import annotations

import inspect

import torch

_Adam = torch.optim.Adam


class Adam(_Adam):
    """``torch.optim.Adam`` with its methods as they are written.

    Torch wraps them so that ``torch.compile`` leaves them alone, and the wrappers import the
    compiler at the first call: 150 MB of memory and seconds for every training, of which none
    compiles its optimiser.
    """

    add_param_group = inspect.unwrap(_Adam.add_param_group)
    state_dict = inspect.unwrap(_Adam.state_dict)
    load_state_dict = inspect.unwrap(_Adam.load_state_dict)
    step = torch.no_grad()(inspect.unwrap(_Adam.step))

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets all gradients; torch's own marks it for its profiler, which takes longer."""
        if not set_to_none:
            raise ValueError("gradients are forgotten, never set to zero")
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
