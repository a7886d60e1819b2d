"""The configuration of a study, as it is stored in it."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import optuna
from pydantic import TypeAdapter, ValidationError

from nas.data import DatasetInfo, SplitRecord
from nas.deploy.latency import stored_identity
from nas.space.limits import Limits
from nas.space.space import SearchSpace
from nas.study.objectives import OBJECTIVES, Objectives, accuracy_label
from nas.training import Recipe
from nas.version import __version__

VERSIONED = ("torch", "torchvision", "optuna", "ray")
ATTRIBUTES = {"space_name", "space", "dataset", "recipe", "objectives", "limits"}
OPTIONAL = {"machine", "splits", "latency_backend", "quantized"}


_SPLITS = TypeAdapter(SplitRecord)


@dataclass(frozen=True)
class StudyConfig:
    """Everything that must stay the same over the life of a study."""

    space: SearchSpace
    dataset: DatasetInfo
    recipe: Recipe
    objectives: Objectives
    limits: Limits
    machine: str | None = None  # whose latencies are measured, where latency is an objective
    splits: SplitRecord | None = None  # when the study began; what has changed is told by it
    latency_backend: str | None = None  # of `nas.deploy.latency.BACKENDS`; None: no latency
    quantized: bool = False  # whether accuracies are those of the networks in int8

    @property
    def accuracy_label(self) -> str:
        """What a person reads over accuracies, such as accuracy, or int8 accuracy."""
        return accuracy_label(self.recipe.metric, self.quantized)

    @property
    def timed(self) -> bool:
        """Whether the latency of each network is measured."""
        return "latency" in self.objectives.names or self.limits.max_latency is not None

    @property
    def columns(self) -> dict[str, str]:
        """The objectives that a table in a terminal shows, by name, with their labels.

        Memory and flash are among them where they count.
        """
        counting = {*self.objectives.names, *self.limits.given}
        shown = [name for name in OBJECTIVES if name in counting or name not in ("memory", "flash")]
        labels = {name: OBJECTIVES[name].label for name in shown}
        return labels | {"accuracy": self.accuracy_label}

    def to_attributes(self) -> dict[str, Any]:
        """The study's user attributes, as plain values."""
        optional = {
            "machine": self.machine,
            "latency_backend": self.latency_backend,
            "splits": None if self.splits is None else asdict(self.splits),
            "quantized": self.quantized or None,
        }
        return {key: value for key, value in optional.items() if value is not None} | {
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
        splits = attributes.get("splits")
        try:
            return cls(
                SearchSpace.from_dict(attributes["space"], attributes["space_name"]),
                DatasetInfo.from_dict(attributes["dataset"]),
                Recipe.model_validate(attributes["recipe"]),
                Objectives(tuple(attributes["objectives"])),
                Limits(**attributes["limits"]),
                stored_identity(attributes["machine"]) if "machine" in attributes else None,
                None if splits is None else _SPLITS.validate_python(splits),
                attributes.get("latency_backend", "pytorch" if "machine" in attributes else None),
                attributes.get("quantized", False),
            )
        except KeyError as error:
            raise ValueError(
                f"study {study_name}: its attribute {error} is missing; "
                "it was not made by this program"
            ) from None
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
            raise ValueError(
                f"study {study_name}: its stored settings cannot be read ({where}); "
                "accepted: the version of this program that began it, or a new study"
            ) from None


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
    begun = attributes.keys() - OPTIONAL < ATTRIBUTES and not study.get_trials(deepcopy=False)
    return None if begun else StudyConfig.from_attributes(attributes, study.study_name)
