"""The files of a study: `front.json` for retraining, `trials.csv` for analysis."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import optuna
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from nas.data import DatasetInfo, SplitRecord
from nas.files import write_atomic, write_json
from nas.space.arch import Arch
from nas.space.cost import cost
from nas.study.config import StudyConfig, software_versions
from nas.study.front import FrontMember
from nas.study.objectives import OBJECTIVES, Objectives
from nas.study.sharing import Sharing
from nas.training import Recipe

SCHEMA_VERSION = 1
MAX_FILE_BYTES = 16 * 1024 * 1024


class FrontEntry(BaseModel):
    """One architecture of a front."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    arch_id: str
    arch: dict[str, Any]  # the full `Arch`
    accuracy: Annotated[float, Field(ge=0, le=1)]  # on the validation split
    macs: int  # multiply-adds of one forward pass of one image
    params: int  # trainable parameters
    memory: int | None = None  # peak activation memory in int8, bytes; None in older files
    flash: int | None = None  # weights and biases in int8, bytes
    latency: float | None = None  # seconds, where it is an objective
    trial: int  # number in the study
    seed: int
    epochs: int  # trained
    knee: bool  # closest to the ideal point

    def build_arch(self) -> Arch:
        """The architecture. Raises ValueError where it is none."""
        return Arch.from_dict(self.arch)


class FrontFile(BaseModel):
    """The contents of `front.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    study: str
    dataset: dict[str, Any]
    recipe: dict[str, Any]
    splits: SplitRecord | None = None  # when the search began
    objectives: tuple[str, ...]
    versions: dict[str, str]
    sharing: Sharing | None = None  # what was taken from earlier studies
    architectures: Annotated[tuple[FrontEntry, ...], Field(max_length=100_000)]

    @model_validator(mode="after")
    def _recount(self) -> FrontFile:
        """Compare the file with everything that follows from its architectures."""
        info = self.dataset_info()
        Objectives(self.objectives)
        Recipe.model_validate(self.recipe)
        for index, entry in enumerate(self.architectures):
            where = f"architectures[{index}]"
            try:
                arch = entry.build_arch()
            except ValueError as error:
                raise ValueError(f"{where}.arch.{error}") from None
            counted = cost(arch, info.image_size, info.in_channels, info.num_classes)
            for name, stated, true in (
                ("arch_id", entry.arch_id, arch.arch_id),
                ("macs", entry.macs, counted.macs),
                ("params", entry.params, counted.params),
                ("memory", entry.memory, counted.memory),
                ("flash", entry.flash, counted.flash),
            ):
                if stated is not None and stated != true:
                    raise ValueError(
                        f"{where}.{name}: {str(stated)[:40]} is stated, {true} is counted"
                    )
        return self

    def dataset_info(self) -> DatasetInfo:
        """The data set that the networks were trained on."""
        return DatasetInfo.from_dict(self.dataset)


def front_file(
    study_name: str,
    config: StudyConfig,
    members: list[FrontMember],
    sharing: Sharing | None = None,
) -> FrontFile:
    """The contents of `front.json` for a front."""
    return FrontFile(
        study=study_name,
        dataset=config.dataset.to_dict(),
        recipe=config.recipe.model_dump(mode="json"),
        splits=config.splits,
        objectives=config.objectives.names,
        versions=software_versions(),
        sharing=sharing,
        architectures=tuple(
            FrontEntry(
                arch_id=member.attributes["arch_id"],
                arch=member.attributes["arch"],
                accuracy=member.attributes["accuracy"],
                macs=member.attributes["macs"],
                params=member.attributes["params"],
                memory=member.attributes.get("memory"),
                flash=member.attributes.get("flash"),
                latency=member.attributes.get("latency"),
                trial=member.trial.number,
                seed=member.attributes["seed"],
                epochs=member.attributes["epochs"],
                knee=member.knee,
            )
            for member in members
        ),
    )


def write_front(path: Path, contents: FrontFile) -> None:
    """Write `front.json`, whole or not at all."""
    absent = {"sharing"} if contents.sharing is None else None
    write_json(path, contents.model_dump(mode="json", exclude=absent))


def load_front(path: str | Path) -> FrontFile:
    """Read and check a `front.json`; costs are counted again.

    Raises:
        ValueError: one line with the file, the field, what is wrong and what is accepted.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ValueError(f"front file {path}: larger than {MAX_FILE_BYTES} bytes")
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise ValueError(f"front file {path}: cannot be read ({error.strerror})") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"front file {path}: not valid JSON ({error})") from None
    except ValueError as error:
        raise ValueError(f"front file {path}: {error}") from None
    try:
        return FrontFile.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"front file {path}: {where + ': ' if where else ''}{message}") from None


def trials_table(study: optuna.Study) -> pd.DataFrame:
    """All trials, a row each, in the order of their numbers."""
    rows = []
    for trial in study.get_trials(deepcopy=False):
        attributes = trial.user_attrs
        rows.append(
            {
                "trial": trial.number,
                "state": trial.state.name.lower(),
                "arch_id": attributes.get("arch_id"),
                **{name: attributes.get(name) for name in OBJECTIVES},
                "latency_noise": attributes.get("latency_noise"),
                "epochs": attributes.get("epochs"),
                "seconds": attributes.get("seconds"),
                "seed": attributes.get("seed"),
                "reason": attributes.get("reason"),
                "duplicate_of": attributes.get("duplicate_of"),
                "retry_of": attributes.get("retry_of"),
                "started": trial.datetime_start,
                "ended": trial.datetime_complete,
                **trial.params,
                "curve": json.dumps(attributes.get("curve", [])),
                "losses": json.dumps(attributes.get("losses", [])),
            }
        )
    integers = [name for name, one in OBJECTIVES.items() if one.known is not None]
    integers += ["epochs", "seed", "duplicate_of", "retry_of"]
    table = pd.DataFrame(rows)
    present = [name for name in integers if name in table]
    return table.astype(dict.fromkeys(present, "Int64")) if rows else table


def write_trials(path: Path, study: optuna.Study) -> None:
    """Write `trials.csv`, whole or not at all."""
    write_atomic(path, trials_table(study).to_csv(index=False))
