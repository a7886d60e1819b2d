"""A search without early stopping, to measure what stopping saves and loses.

Run as `python -m benchmarks.no_stopping`, with the options of `runners/search.py`.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from nas.tune import run
from nas.tune.scheduler import FrontScheduler

SEARCH = Path(__file__).parents[1] / "runners" / "search.py"


class NeverStops(FrontScheduler):
    """Lets every trial train to its end."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._decides = False


if __name__ == "__main__":
    vars(run)["FrontScheduler"] = NeverStops
    runpy.run_path(str(SEARCH), run_name="__main__")
