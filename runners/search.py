"""The command `search`: `python runners/search.py --help`."""

from nas.cli.options import run_app
from nas.cli.search import app

if __name__ == "__main__":
    run_app(app)
