"""A training step as one CUDA graph: a small network's kernels take less than their launches."""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch
from torch import Tensor

WARMUP = 3  # calls that run as they are; PyTorch's documentation asks for as many
_RECORDING = threading.Lock()  # PyTorch records one graph at a time in a process


class StepGraph:
    """Runs a step; from the fourth call on by replaying a CUDA graph of it.

    What a first call sets up (cuDNN's handles, the optimizer's momentum) cannot be recorded,
    so the first calls are ordinary ones, on the stream that is recorded afterwards. Recording
    runs nothing: each call is one step.

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
            step: of tensors on a CUDA device to a tensor there; the same one at each call. It
                does the same work each time, waits for nothing, and all that it reads and
                writes besides are tensors that stay where they are.
            inputs: as in the calls before, in shape and layout too.

        Returns:
            What `step` gives; it holds until the next call.
        """
        with torch.cuda.device(self._device):
            if self._calls < WARMUP:
                self._calls += 1
                return self._launch(step, *inputs)
            if self._graph is None:
                self._record(step, *inputs)
            assert self._graph is not None
            assert self._output is not None
            torch._foreach_copy_(self._inputs, inputs)
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
