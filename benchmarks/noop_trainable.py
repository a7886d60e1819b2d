"""A no-op trainable, to measure the overhead around trials.

It imports no torch: 64 actors with torch would not fit in the memory of a small machine.
"""

from __future__ import annotations

import os
import random
import time
from typing import Any

from ray import tune


class NoopTrial(tune.Trainable):  # type: ignore[misc]
    """Sleeps, then reports a synthetic accuracy that depends on its seed.

    A configuration holds at least `seed`. A result holds, besides what a trial of one epoch
    reports, `began` and `ended` (seconds since the epoch) and the id of its `process`.
    """

    def setup(self, config: dict[str, Any], sleep: float) -> None:
        """Store the seconds that each trial sleeps."""
        self._sleep = sleep
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start the next trial in this actor."""
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
