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
    zero_grad = inspect.unwrap(_Adam.zero_grad)
    state_dict = inspect.unwrap(_Adam.state_dict)
    load_state_dict = inspect.unwrap(_Adam.load_state_dict)
    step = torch.no_grad()(inspect.unwrap(_Adam.step))
