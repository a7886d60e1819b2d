"""Images per second of several trials at once on one GPU, by each way of sharing it.

- `processes`: one process per trial; their kernels take turns on the GPU.
- `processes, MPS`: the same under NVIDIA MPS, where their kernels run at the same time.
- `threads`: one process, with a thread and a CUDA stream per trial.
- `round robin`: one process and one thread, which launches a step of each trial in turn, each
  on a stream of its own.

All trials train the same architecture from different seeds; their CUDA graphs are recorded
before the measurement. The figure is the sum of their speeds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import cycle
from typing import Any

import torch

from benchmarks.gpu_setting import Setting, main, row
from nas.training import Trainer
from nas.tune.mps import mps

PROCESSES, MPS, THREADS, ROUND_ROBIN = "processes", "processes, MPS", "threads", "round robin"
WORKER = "NAS_GPU_WORKER"  # set to its seed in the process of a trial
AHEAD = 2  # steps that the round robin may be ahead of the GPU


def run(setting: Setting) -> None:
    """Measure every way with 1, 2, 4, 8 and 16 trials."""
    if WORKER in os.environ:
        serve(setting, int(os.environ[WORKER]))
        return
    counts = (1, 2) if setting.toy else (1, 2, 4, 8, 16)
    seconds = 0.1 if setting.toy else 0.5
    by_processes(setting, PROCESSES, counts, seconds)
    with mps() as runs:
        if runs:
            by_processes(setting, MPS, counts, seconds)
        else:
            row(way=MPS, missing="nvidia-cuda-mps-control does not run here")
    in_process(setting, counts, seconds)


def train(trial: Trainer, seconds: float) -> float:
    """Images per second, over whole epochs."""
    start, epochs = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        trial.train_epoch()
        epochs += 1
    images = epochs * len(trial._train) * trial._train.batch_size
    return images / (time.perf_counter() - start)


def serve(setting: Setting, seed: int) -> None:
    """The process of one trial: it answers each line of JSON with another one."""
    data, trial = setting.some_data(), None
    row(ready=True)
    for line in sys.stdin:
        message = json.loads(line)
        if "arch" in message:
            trial = None  # its memory is freed before the next one takes any
            trial = setting.trainer(setting.architectures[message["arch"]], data, seed)
            trial.train_epoch()
            row(ready=True)
        else:
            assert trial is not None
            row(images_per_s=train(trial, message["seconds"]))


class Workers:
    """The processes of trials."""

    def __init__(self, setting: Setting, number: int) -> None:
        options = ["--data-dir", str(setting.data_dir), "--scratch", str(setting.scratch)]
        command = [sys.executable, "-m", "benchmarks.gpu_sharing", *options]
        self._processes = [
            subprocess.Popen(
                command + ["--toy"] * setting.toy,
                env=os.environ | {WORKER: str(seed), "OMP_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for seed in range(number)
        ]

    def answers(self, number: int) -> list[dict[str, Any]]:
        """One line from each of the first `number` processes."""
        lines = [process.stdout.readline() for process in self._processes[:number]]  # type: ignore[union-attr]
        if not all(lines):
            raise RuntimeError("a worker ended before its time")
        return [json.loads(line) for line in lines]

    def ask(self, number: int, **message: Any) -> list[dict[str, Any]]:
        """Send the first `number` processes a message at once and wait for their answers."""
        for process in self._processes[:number]:
            assert process.stdin is not None
            process.stdin.write(json.dumps(message) + "\n")
            process.stdin.flush()
        return self.answers(number)

    def end(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.communicate()


@contextmanager
def workers(setting: Setting, number: int) -> Iterator[Workers]:
    """Processes that are ready to train, for as long as they are needed."""
    started = Workers(setting, number)
    try:
        started.answers(number)
        yield started
    finally:
        started.end()


def by_processes(setting: Setting, way: str, counts: tuple[int, ...], seconds: float) -> None:
    """One process per trial."""
    with workers(setting, counts[-1]) as started:
        for name in setting.architectures:
            started.ask(counts[-1], arch=name)
            for number in counts:
                answers = started.ask(number, seconds=seconds)
                total = sum(answer["images_per_s"] for answer in answers)
                row(way=way, arch=name, trials=number, images_per_s=total)


def in_process(setting: Setting, counts: tuple[int, ...], seconds: float) -> None:
    """Trials on streams of their own in this process."""
    data = setting.some_data()
    for name, arch in setting.architectures.items():
        trials: list[tuple[Trainer, Any]] = []
        for number in counts:
            while len(trials) < number:
                stream = _stream(setting.device)
                with _on(stream):
                    trials.append((setting.trainer(arch, data, len(trials)), stream))
                    trials[-1][0].train_epoch()
            for way, measure in ((THREADS, on_threads), (ROUND_ROBIN, round_robin)):
                total = measure(trials, seconds)
                row(way=way, arch=name, trials=number, images_per_s=total)


def on_threads(trials: list[tuple[Trainer, Any]], seconds: float) -> float:
    """Images per second of all trials, each on a thread of its own."""
    speeds = [0.0] * len(trials)

    def work(index: int) -> None:
        trial, stream = trials[index]
        with _on(stream):
            speeds[index] = train(trial, seconds)

    threads = [threading.Thread(target=work, args=[index]) for index in range(len(trials))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(speeds)


def round_robin(trials: list[tuple[Trainer, Any]], seconds: float) -> float:
    """Images per second of all trials, whose steps one thread launches in turn."""
    start, images = time.perf_counter(), 0
    steps = [_steps(trial) for trial, _ in trials]
    for index in cycle(range(len(trials))):
        with _on(trials[index][1]):
            images += next(steps[index])
        if time.perf_counter() - start >= seconds:
            break
    if trials[0][0].device.type == "cuda":
        torch.cuda.synchronize()
    return images / (time.perf_counter() - start)


def _steps(trial: Trainer) -> Iterator[int]:
    """Endless steps of training, and the images of each."""
    launched: list[torch.cuda.Event] = []
    trial.network.train()
    while True:
        rates = trial._each_step([0.1] * len(trial._train))
        for index, batch in enumerate(trial._train):
            trial._run_step(*batch, rates[index])
            if trial.device.type == "cuda":
                launched.append(torch.cuda.Event())  # type: ignore[no-untyped-call]
                launched[-1].record()
                if len(launched) > AHEAD:
                    launched.pop(0).synchronize()
            yield len(batch[1])


def _stream(device: torch.device) -> Any:
    return torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]


def _on(stream: Any) -> AbstractContextManager[Any]:
    return nullcontext() if stream is None else torch.cuda.stream(stream)


if __name__ == "__main__":
    main(run)
