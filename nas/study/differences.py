"""What differs between a study and what is asked of it, in the words of the options."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from nas.data import DatasetInfo, SplitRecord
from nas.data.datasets import FOLDER_PREFIX, folder_path
from nas.space.limits import Limits
from nas.space.space import SearchSpace
from nas.study.config import StudyConfig

HAVE_OPTIONS = ("epochs", "batch_size", "learning_rate", "train_images", "metric")
"""Fields of a recipe that `search` has an option for."""
MAX_NAMED = 3  # differences that a line names
NOW = "now"  # for settings that no option of `search` changes


def differences(stored: StudyConfig, asked: StudyConfig) -> list[str]:
    """Each setting that is asked for otherwise than stored; what follows from it is left out."""
    differing = [*_data(stored, asked), *_recipe(stored, asked)]
    if space := _space(stored.space, asked.space):
        differing.append(space)
    if stored.objectives != asked.objectives:
        names = (",".join(config.objectives.names) for config in (stored, asked))
        differing.append(_differ("--objectives", *names))
    if stored.quantized != asked.quantized:
        differing.append(_differ("--quantized", stored.quantized, asked.quantized))
    differing += _limits(stored.limits, asked.limits)
    if stored.machine != asked.machine and stored.timed == asked.timed:
        differing.append(
            f"latencies were measured on {stored.machine} in the study, this is {asked.machine}"
        )
    return differing


def in_one_line(differing: list[str]) -> str:
    """The first few differences, and how many more there are."""
    more = len(differing) - MAX_NAMED
    return "; ".join(differing[:MAX_NAMED]) + (f"; and {more} more" if more > 0 else "")


def images_changed(info: DatasetInfo, then: SplitRecord | None, now: SplitRecord | None) -> str:
    """That the training or validation images of a data set are not those of the search.

    Args:
        info: the data set.
        then: its splits when the search began; None where the study has no record of them.
        now: its splits now; None where they are not known.
    """
    counts = then.change(now) if then is not None and now is not None else ""
    text = f"the images of {info.name} are not those of the search" + (counts and f": {counts}")
    if not info.name.startswith(FOLDER_PREFIX):
        return text
    if then is None:
        return f"{text}, or an earlier version of this program read or divided them otherwise"
    return f"{text}; where a split is drawn from a folder, one file more or less draws it anew"


def require_there(info: DatasetInfo, front: Path) -> None:
    """Make sure that the folder of images of a search is where it was.

    Raises:
        ValueError: it is not, with what can be done.
    """
    if info.name.startswith(FOLDER_PREFIX) and not folder_path(info.name).exists():
        raise ValueError(
            f"front file {front}: its images were in {folder_path(info.name)}, which is not there; "
            "accepted: the folder in its place, or a symbolic link there to where it is now"
        )


def _data(stored: StudyConfig, asked: StudyConfig) -> Iterator[str]:
    then, now = stored.dataset, asked.dataset
    if then.name != now.name:
        moved = then.name.startswith(FOLDER_PREFIX) and not folder_path(then.name).exists()
        hint = "; a folder that was moved is found by a symbolic link in its old place"
        yield _differ("--dataset", then.name, now.name) + (hint if moved else "")
        return
    same_pixels = then.fingerprint == now.fingerprint
    options = [("--image-size", then.image_size, now.image_size)]
    options += [("--channels", then.in_channels, now.in_channels)]
    differing = [_differ(*one) for one in options if one[1] != one[2]]
    backgrounds = then.background, now.background
    # One appears by itself where the images have transparent pixels.
    if backgrounds[0] != backgrounds[1] and (same_pixels or None not in backgrounds):
        differing.append(_differ("--background", *backgrounds))
    if differing:
        yield from differing
    elif then.class_names != now.class_names:
        yield _differ("classes", *(_few(info.class_names) for info in (then, now)))
    elif not same_pixels:
        yield images_changed(then, stored.splits, asked.splits)
    if then.image_size == now.image_size:
        for name in ("crop", "flip"):
            if getattr(then, name) != getattr(now, name):
                yield _differ(name, getattr(then, name), getattr(now, name), NOW)


def _recipe(stored: StudyConfig, asked: StudyConfig) -> Iterator[str]:
    then, now = stored.recipe, asked.recipe
    if then.name != now.name:
        yield _differ("--recipe", then.name, now.name)
        return
    side = stored.dataset.image_size
    if side == asked.dataset.image_size and then.trained_size(side) != now.trained_size(side):
        sizes = (f"trained at {recipe.trained_size(side)} pixels" for recipe in (then, now))
        yield _differ("--image-size", *sizes)
    for name in then.model_dump(exclude={"name", "shrink", "image_size"}):
        values = getattr(then, name), getattr(now, name)
        if values[0] != values[1]:
            if name in HAVE_OPTIONS:
                yield _differ(f"--{name.replace('_', '-')}", *values)
            else:
                yield _differ(f"recipe, {name}", *values, NOW)


def _limits(stored: Limits, asked: Limits) -> Iterator[str]:
    other_device = stored.device != asked.device
    for name in (field.name for field in fields(Limits)):
        then, now = getattr(stored, name), getattr(asked, name)
        follows = other_device and name in ("max_memory", "max_flash")
        if then != now and not follows:
            yield _differ(f"--{name.replace('_', '-')}", then, now)


def _space(stored: SearchSpace, asked: SearchSpace) -> str:
    """The other space's name, or the first choice that differs, and how many more do."""
    then, now = _flat(stored.to_dict()), _flat(asked.to_dict())
    keys = [key for key in {**then, **now} if then.get(key) != now.get(key)]
    if not keys:
        return ""
    if stored.name != asked.name:
        return _differ("--space", stored.name, asked.name)
    more = f", and {len(keys) - 1} more of its choices" if len(keys) > 1 else ""
    return _differ(f"--space, {keys[0]}", then.get(keys[0]), now.get(keys[0])) + more


def _differ(what: str, then: Any, now: Any, where: str = "asked") -> str:
    return f"{what}: {_text(then)} in the study, {_text(now)} {where}"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return _yes_or_no(value)
    return "none" if value is None else f"{value:,}" if isinstance(value, int) else f"{value}"


def _yes_or_no(value: bool) -> str:
    return "yes" if value else "no"


def _few(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(map(repr, names[:5])) + more


def _flat(data: Any, prefix: str = "") -> dict[str, str]:
    """Nested plain values by dotted key, each as JSON."""
    if isinstance(data, dict) and data:
        flat: dict[str, str] = {}
        for key, value in data.items():
            flat |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
        return flat
    if isinstance(data, list) and data and isinstance(data[0], dict):
        return _flat({str(i + 1): item for i, item in enumerate(data)}, prefix)
    return {prefix: json.dumps(data)}
