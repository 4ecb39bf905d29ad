"""A step's work as one CUDA graph, recorded once and replayed at every step.

A step of small networks is some 3 500 kernels of a few microseconds. Launched one by one they keep
a GPU busy for a tenth of the time; a graph is launched at once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import nullcontext

import torch

from osmis_core.training.host_inputs import HostInputs

WARM_UP_STEPS = 2
"""Before a recording, as they come: libraries load, weights are asked for, kernels are chosen."""

Work = Callable[[], list[torch.Tensor]]


class Captured:
    """Runs the work of steps, most of them as replays.

    On a CPU the work is done each time, on inputs taken as for a replay: for tests.

    Args:
        work: the work of a step: takes all that changes from ``inputs``, reads no tensor's value,
            and leaves its results in the same places, given the same shapes. Returns scalars.
        inputs: what it takes.
        device: a CUDA device.
    """

    def __init__(self, work: Work, inputs: HostInputs, device: torch.device) -> None:
        self._work, self._inputs, self._device = work, inputs, device
        self._is_cuda = device.type == "cuda"
        self._stream = (
            torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            if self._is_cuda
            else None
        )
        self._kind: Hashable = None
        self._steps_before_recording = WARM_UP_STEPS
        self._replay: Work | None = None
        self._done: torch.cuda.Event | None = None

    def run(self, rng: torch.Generator, kind: Hashable) -> list[torch.Tensor]:
        """A step's scalars, the caller's own.

        Args:
            rng: the step's.
            kind: of step: another one does other work, and is recorded anew.
        """
        with torch.cuda.device(self._device) if self._is_cuda else nullcontext():
            return self._run(rng, kind)

    def _run(self, rng: torch.Generator, kind: Hashable) -> list[torch.Tensor]:
        if kind != self._kind:
            self._kind, self._steps_before_recording = kind, WARM_UP_STEPS
            self._forget()
        if self._steps_before_recording:
            self._steps_before_recording -= 1
            self._inputs.begin(rng)
            return self._aside()
        self._inputs.begin_again(rng)
        if self._replay is None:
            self._replay = self._record() if self._is_cuda else self._work
        results = [scalar.clone() for scalar in self._replay()]
        self._keep_pace()
        return results

    def _forget(self) -> None:
        """Gives back what the last recording's results lie in, before others are made."""
        if self._replay is None:
            return
        self._replay = None
        if self._is_cuda:
            torch.cuda.synchronize()
            torch.cuda.empty_cache()

    def _aside(self) -> list[torch.Tensor]:
        """On a stream that is not the default one, as a recording is made."""
        if self._stream is None:
            return self._work()
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            results = self._work()
        current.wait_stream(self._stream)
        return results

    def _record(self) -> Work:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            results = self._work()

        def replay() -> list[torch.Tensor]:
            graph.replay()
            return results

        return replay

    def _keep_pace(self) -> None:
        """Lets the host be one step ahead of the device: enough to keep it busy.

        Further ahead, the time between two steps would tell nothing of how long they take.
        """
        if not self._is_cuda:
            return
        if self._done is not None:
            self._done.synchronize()
        self._done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._done.record()
