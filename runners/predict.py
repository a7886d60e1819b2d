"""The command `predict`: `python runners/predict.py --help`."""

from nas.cli.options import run_app
from nas.cli.predict import app

if __name__ == "__main__":
    run_app(app)
