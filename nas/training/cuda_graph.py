"""A training step as one CUDA graph.

The kernels of a small network take less time than their launches.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch
from torch import Tensor

WARMUP = 3  # calls that are not recorded; PyTorch's documentation asks for three
_RECORDING = threading.Lock()  # PyTorch records one graph at a time in a process


class StepGraph:
    """Runs a step; from the fourth call on it replays a CUDA graph of the step.

    The first call sets up state that cannot be recorded (cuDNN's handles, the optimizer's
    momentum), so the first calls run the step itself, on the stream that is recorded
    afterwards. Recording runs no kernel: each call is one step.

    Args:
        device: a GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: tuple[Tensor, ...] = ()
        self._output: Tensor | None = None

    def run(self, step: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """Run `step` on `inputs`.

        Args:
            step: maps tensors on the CUDA device to a tensor there; the same function at each
                call. It does the same work each time, does not wait for the device, and every
                other tensor that it reads or writes stays at its address.
            inputs: tensors of the same shapes and layouts at each call.

        Returns:
            The result of `step`, which is valid until the next call.
        """
        with torch.cuda.device(self._device):
            if self._calls < WARMUP:
                self._calls += 1
                return self._launch(step, *inputs)
            if self._graph is None:
                self._record(step, *inputs)
            assert self._graph is not None
            assert self._output is not None
            for static, given in zip(self._inputs, inputs, strict=True):
                static.copy_(given)
            self._graph.replay()
            return self._output

    def _launch(self, step: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            output = step(*inputs)
        torch.cuda.current_stream().wait_stream(self._stream)
        return output

    def _record(self, step: Callable[..., Tensor], *inputs: Tensor) -> None:
        static = tuple(given.clone() for given in inputs)
        graph = torch.cuda.CUDAGraph()
        # Other threads of the process, Ray's among them, may use the device meanwhile.
        with (
            _RECORDING,
            torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"),
        ):
            output = step(*static)
        self._graph, self._inputs, self._output = graph, static, output
