"""The command `report`: `python runners/report.py --help`."""

from nas.cli.options import run_app
from nas.cli.report import app

if __name__ == "__main__":
    run_app(app)
