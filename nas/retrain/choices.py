"""Files of choices, which several calls of a retraining read and write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from filelock import FileLock

from nas.files import write_json


def read_choices(path: Path) -> dict[str, Any]:
    """What was chosen before, from a `choices.json`; empty where nothing was.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        choices = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        choices = None
    if not isinstance(choices, dict):
        raise ValueError(f"{path}: damaged; remove it to choose again")
    return choices


def keep_choice(path: Path, name: str, choice: dict[str, Any] | None) -> None:
    """Write one choice to a `choices.json`, or remove it; those of other calls stay.

    Args:
        path: the file; made where it is missing.
        name: the choice's key.
        choice: None: remove it, if it is there.
    """
    if choice is None and not path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        choices = read_choices(path)
        if choice is None and name not in choices:
            return
        others = {key: value for key, value in choices.items() if key != name}
        write_json(path, others if choice is None else others | {name: choice})
