"""A trial that trains nothing: what measures the overhead around trials.

Imports no torch: 64 actors with it would not fit in the memory of a small machine.
"""

from __future__ import annotations

import os
import random
import time
from typing import Any

from ray import tune


class IdleTrial(tune.Trainable):  # type: ignore[misc]
    """Sleeps, and reports a made-up accuracy of its seed, as a trial of one epoch does.

    A configuration holds at least `seed`. A result also holds when the trial `began` and
    `ended` (seconds since the epoch) and the `process` that it ran in.
    """

    def setup(self, config: dict[str, Any], sleep: float) -> None:
        """Keep the seconds that each trial sleeps."""
        self._sleep = sleep
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial."""
        self._seed = int(new_config["seed"])
        return True

    def step(self) -> dict[str, Any]:
        """The whole trial."""
        began = time.time()
        if self._sleep > 0:
            time.sleep(self._sleep)
        ended = time.time()
        return {
            "reason": None,
            "done": True,
            "epochs": 1,
            "accuracy": 0.5 + 0.4 * random.Random(self._seed).random(),
            "seconds": ended - began,
            "began": began,
            "ended": ended,
            "process": os.getpid(),
        }
