"""The command `retrain`: `python runners/retrain.py --help`."""

from nas.cli.options import run_app
from nas.cli.retrain import app

if __name__ == "__main__":
    run_app(app)
