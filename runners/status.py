"""The command `status`: `python runners/status.py --help`."""

from nas.cli.options import run_app
from nas.cli.status import app

if __name__ == "__main__":
    run_app(app)
