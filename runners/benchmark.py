"""Measure a part of the search: `python runners/benchmark.py --help`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # `benchmarks` is not part of the package

from benchmarks.cli import app
from nas.cli.options import run_app

if __name__ == "__main__":
    run_app(app)
