"""The folder of a full training: its lock, its settings, and the files of a finished network."""

from __future__ import annotations

import csv
import io
import json
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from nas.data import DatasetInfo
from nas.files import write_atomic
from nas.space.arch import Arch
from nas.training.pretrained import DESCRIPTION, WEIGHTS, Description, read_description
from nas.training.recipe import Recipe
from nas.version import __version__

LOCK = ".lock"
HISTORY = "history.csv"
METRICS = "metrics.json"
VERSIONED = ("torch", "torchvision")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a training's folder, made if need be, from every other training.

    Raises:
        ValueError: another process trains there, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK, timeout=0)
        lock.acquire()
    except Timeout:
        raise ValueError(f"{folder}: another process trains there") from None
    except OSError as error:
        raise ValueError(f"{folder}: cannot be written ({error.strerror})") from None
    try:
        yield
    finally:
        lock.release()


def require_settings(
    network: Arch | str,
    info: DatasetInfo,
    recipes: Sequence[Recipe],
    seed: int,
    folder: Path,
) -> None:
    """Check before any work starts whether `retrain` would refuse a folder.

    Args:
        network: an architecture, or the name of a reference network.
        info: the data set.
        recipes: any of them may be the one that is trained by; the first is named in the error.
        seed: seed of the training.
        folder: folder of the network; it may be missing.

    Raises:
        ValueError: the folder holds a network with other settings, or is damaged.
    """
    if not (folder / DESCRIPTION).exists():
        return
    stored = read_description(folder).settings()
    recipe = next((one for one in recipes if _plain(one) == stored["recipe"]), recipes[0])
    require_same(stored, describe(network, info, recipe, seed), folder)


def describe(network: Arch | str, info: DatasetInfo, recipe: Recipe, seed: int) -> Description:
    """The description of a training by this version of the program.

    Args:
        network: an architecture, or the name of a reference network.
        info: the data set.
        recipe: the whole schedule.
        seed: seed of the training.
    """
    return Description(
        arch_id=None if isinstance(network, str) else network.arch_id,
        arch=None if isinstance(network, str) else network.to_dict(),
        reference=network if isinstance(network, str) else None,
        dataset=info.to_dict(),
        recipe=_plain(recipe),
        seed=seed,
        versions={"python": platform.python_version(), "nas": __version__}
        | {package: version(package) for package in VERSIONED},
    )


def _plain(recipe: Recipe) -> dict[str, Any]:
    return recipe.model_dump(mode="json")


def finished_metrics(folder: Path, wanted: Description) -> dict[str, Any] | None:
    """The metrics of a finished training; None where the training is not finished.

    Raises:
        ValueError: the folder holds a network with other settings, or damaged files.
    """
    if (folder / DESCRIPTION).exists():
        require_same(read_description(folder).settings(), wanted, folder)
    path = folder / METRICS
    if not (path.exists() and (folder / WEIGHTS).exists()):
        return None
    try:
        metrics: dict[str, Any] = json.loads(path.read_bytes())
        metrics["test_accuracy"]
    except (OSError, ValueError, TypeError, KeyError):
        raise ValueError(f"{path}: damaged; remove it to train again") from None
    return metrics


def require_same(stored: dict[str, Any], wanted: Description, folder: Path) -> None:
    """Raise ValueError where a folder's `stored` settings are not those of `wanted`."""
    settings = wanted.settings()
    for key, value in settings.items():
        if stored.get(key) != value:
            detail = _first_difference(stored.get(key), value)
            raise ValueError(
                f"{folder}: holds a network trained with another {key}{detail}; "
                "accepted: the same settings, or that folder moved away"
            )


def _first_difference(stored: Any, wanted: Any) -> str:
    key = ""
    if isinstance(stored, dict) and isinstance(wanted, dict):
        name = min(n for n in stored.keys() | wanted.keys() if stored.get(n) != wanted.get(n))
        key, stored, wanted = f"{name}: ", stored.get(name), wanted.get(name)
    return f" ({key}{stored} there, {wanted} asked)"[:160]


def write_history(path: Path, history: list[dict[str, Any]]) -> None:
    """Write the epochs of a training as a table, whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_atomic(path, text.getvalue())
