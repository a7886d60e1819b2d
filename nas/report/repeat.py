"""How a search is run again: its command, its space and recipe, its data and versions."""

from __future__ import annotations

import shlex

import yaml

from nas.deploy.latency import BACKENDS
from nas.report.analysis import StudyData
from nas.study.config import StudyConfig
from nas.study.sources import SOURCES
from nas.training import PRESETS


def how_to_repeat(data: StudyData) -> dict[str, str]:
    """What the report says of it, by what it is."""
    config, attributes = data.config, data.attributes
    words = ["nas", "search", *_problem(config), *_limits(config)]
    for option in ("sampler", "seed"):
        if option in attributes:
            words += [f"--{option}", str(attributes[option])]
    for source in attributes.get(SOURCES, []):
        words += ["--from-study", source["name"]]
    counted = data.trials["state"].isin(["finished", "stopped"]).sum()
    words += ["--study", data.name, "--budget", str(max(1, int(counted)))]
    versions = attributes.get("versions", {})
    return {
        "command": shlex.join(words),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "data": f"{config.dataset.name}, fingerprint {config.dataset.fingerprint}",
        "recipe": yaml.safe_dump(config.recipe.model_dump(mode="json"), sort_keys=False),
        "space": yaml.safe_dump(config.space.to_dict(), sort_keys=False),
    }


def _problem(config: StudyConfig) -> list[str]:
    """Options of the space, the data, the recipe and the objectives."""
    info, recipe = config.dataset, config.recipe
    words = ["--space", f"{config.space.name}.yaml", "--dataset", info.name]
    if not recipe.size_note(info.image_size):  # else the option would train at that size
        words += ["--image-size", str(info.image_size)]
    if info.name.startswith("folder:"):
        words += ["--channels", str(info.in_channels)]
        words += ["--background", info.background] if info.background else []
    words += ["--recipe", recipe.name]
    preset = PRESETS.get(recipe.name)
    for name in ("epochs", "batch_size", "learning_rate", "train_images", "metric"):
        value = getattr(recipe, name)
        if value is not None and (preset is None or value != getattr(preset, name)):
            words += [f"--{name.replace('_', '-')}", f"{value}"]
    words += ["--quantized"] if config.quantized else []
    return [*words, "--objectives", ",".join(config.objectives.names)]


def _limits(config: StudyConfig) -> list[str]:
    """Options of the limits, and of what latency is measured with."""
    words = []
    for option, limit in config.limits.given.items():
        words += [f"--max-{option}", str(limit)]
    words += ["--device", config.limits.device] if config.limits.device else []
    if config.limits.max_latency is not None:
        words += ["--max-latency", f"{1e3 * config.limits.max_latency:g}ms"]
    if config.latency_backend not in (None, BACKENDS[0]):
        words += ["--latency-backend", str(config.latency_backend)]
    return words
