"""The configuration of a study: stored when it begins, compared when it is continued."""

from __future__ import annotations

import json
import platform
import warnings
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning

from nas.data import DatasetInfo
from nas.space.limits import Limits
from nas.space.space import SearchSpace
from nas.study.objectives import OBJECTIVES, Objectives
from nas.training import Recipe
from nas.version import __version__

VERSIONED = ("torch", "torchvision", "optuna", "ray")
ATTRIBUTES = {"space_name", "space", "dataset", "recipe", "objectives", "limits"}


@dataclass(frozen=True)
class StudyConfig:
    """Everything that must stay the same over the life of a study."""

    space: SearchSpace
    dataset: DatasetInfo
    recipe: Recipe
    objectives: Objectives
    limits: Limits
    machine: str | None = None  # whose latencies are measured, where latency is an objective

    @property
    def columns(self) -> list[str]:
        """The objectives that a table in a terminal shows: memory and flash where they count."""
        counting = {*self.objectives.names, *self.limits.given}
        return [name for name in OBJECTIVES if name in counting or name not in ("memory", "flash")]

    def to_attributes(self) -> dict[str, Any]:
        """The study's user attributes, as plain values."""
        return ({} if self.machine is None else {"machine": self.machine}) | {
            "space_name": self.space.name,
            "space": self.space.to_dict(),
            "dataset": self.dataset.to_dict(),
            "recipe": self.recipe.model_dump(mode="json"),
            "objectives": list(self.objectives.names),
            "limits": asdict(self.limits),
        }

    @classmethod
    def from_attributes(cls, attributes: dict[str, Any], study_name: str) -> StudyConfig:
        """Inverse of `to_attributes`.

        Raises:
            ValueError: the study was not made by this program, or holds what it cannot read.
        """
        try:
            return cls(
                SearchSpace.from_dict(attributes["space"], attributes["space_name"]),
                DatasetInfo.from_dict(attributes["dataset"]),
                Recipe.model_validate(attributes["recipe"]),
                Objectives(tuple(attributes["objectives"])),
                Limits(**attributes["limits"]),
                attributes.get("machine"),
            )
        except KeyError as error:
            raise ValueError(
                f"study {study_name}: its attribute {error} is missing; "
                "it was not made by this program"
            ) from None

    def differences(self, other: StudyConfig) -> list[str]:
        """Each setting that `other`, which is asked for, has otherwise; a line each."""
        stored, asked = _flat(self.to_attributes()), _flat(other.to_attributes())
        return [
            f"{key}: {stored.get(key)} stored, {asked.get(key)} asked"
            for key in sorted(stored.keys() | asked.keys())
            if key != "space_name" and stored.get(key) != asked.get(key)
        ]


def require_same(stored: StudyConfig, asked: StudyConfig, study_name: str) -> None:
    """Refuse to continue a study with another configuration.

    Raises:
        ValueError: naming the first thing that differs, and how many more do.
    """
    differences = stored.differences(asked)
    if differences:
        raise ValueError(
            f"study {study_name} was started with another setting: {differences[0]}"
            + (f" (and {len(differences) - 1} more)" if len(differences) > 1 else "")
            + "; accepted: the stored setting, or another study name"
        )


def begin(study: optuna.Study, config: StudyConfig, **attributes: Any) -> None:
    """Store the configuration and further attributes of a new study; compare those of an old one.

    Raises:
        ValueError: it was started with another configuration.
    """
    stored = stored_config(study)
    if stored is not None:
        require_same(stored, config, study.study_name)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names(list(config.objectives.names))
    written = config.to_attributes() | attributes | {"versions": software_versions()}
    for key, value in written.items():
        study.set_user_attr(key, value)


def software_versions() -> dict[str, str]:
    """Versions of the software that results depend on."""
    return {"python": platform.python_version(), "nas": __version__} | {
        name: version(name) for name in VERSIONED
    }


def stored_config(study: optuna.Study) -> StudyConfig | None:
    """The configuration that a study holds; None for one that was just created.

    Its creator may have died between two attributes. A study that holds some of them, no
    others and no trial therefore counts as just created.
    """
    attributes = study.user_attrs
    begun = attributes.keys() - {"machine"} < ATTRIBUTES and not study.get_trials(deepcopy=False)
    return None if begun else StudyConfig.from_attributes(attributes, study.study_name)


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
