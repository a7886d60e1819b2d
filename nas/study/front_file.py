"""The files of a study: `front.json` for retraining, `trials.csv` for analysis."""

from __future__ import annotations

import json
from collections.abc import Mapping
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
from nas.study.estimate import Estimate
from nas.study.front import FrontMember
from nas.study.latency_prediction import PredictionError
from nas.study.objectives import OBJECTIVES, Objectives
from nas.study.sharing import Sharing
from nas.training import Recipe

MAX_FILE_BYTES = 16 * 1024 * 1024


Share = Annotated[float, Field(ge=0, le=1)]


class FrontEntry(BaseModel):
    """One architecture of a front."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    arch_id: str
    arch: dict[str, Any]  # the full `Arch`
    accuracy: Share  # on the validation split, as measured
    estimate: Share | None = None  # without the selection; None in files of version 1
    interval: tuple[Share, Share] | None = None  # holds the accuracy with a probability of 95 %
    on_front: Share | None = None  # probability that no other finished trial dominates it
    macs: int  # multiply-adds of one forward pass of one image
    params: int  # trainable parameters
    memory: int | None = None  # peak activation memory in int8, bytes; None in older files
    flash: int | None = None  # weights and biases in int8, bytes
    latency: float | None = None  # seconds, where it is an objective
    trial: int  # number in the study
    seed: int
    epochs: int  # trained
    knee: bool  # see `nas.study.knee`; in files of version 1: closest to the ideal point

    @property
    def expected(self) -> float:
        """The accuracy to choose by: the estimate, or where there is none the measurement."""
        return self.accuracy if self.estimate is None else self.estimate

    def build_arch(self) -> Arch:
        """The architecture. Raises ValueError where it is none."""
        return Arch.from_dict(self.arch)


class FrontFile(BaseModel):
    """The contents of `front.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1, 2] = 2
    study: str
    dataset: dict[str, Any]
    recipe: dict[str, Any]
    splits: SplitRecord | None = None  # when the search began
    objectives: tuple[str, ...]
    quantized: bool = False  # whether accuracies are those of the networks in int8
    versions: dict[str, str]
    estimated_from: Literal["all trials", "each measurement alone"] | None = None
    sharing: Sharing | None = None  # what was taken from earlier studies
    latency_prediction: PredictionError | None = None  # where latency is measured
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
    latency_prediction: PredictionError | None = None,
) -> FrontFile:
    """The contents of `front.json` for a front with its estimates."""
    estimates = [member.estimate for member in members if member.estimate is not None]
    modelled = any(estimate.modelled for estimate in estimates)
    return FrontFile(
        study=study_name,
        dataset=config.dataset.to_dict(),
        recipe=config.recipe.model_dump(mode="json"),
        splits=config.splits,
        objectives=config.objectives.names,
        quantized=config.quantized,
        versions=software_versions(),
        estimated_from=("all trials" if modelled else "each measurement alone")
        if estimates
        else None,
        sharing=sharing,
        latency_prediction=latency_prediction,
        architectures=tuple(
            FrontEntry(
                arch_id=member.attributes["arch_id"],
                arch=member.attributes["arch"],
                accuracy=member.attributes["accuracy"],
                **_estimate(member.estimate),
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


def _estimate(estimate: Estimate | None) -> dict[str, Any]:
    """The fields of an entry that hold its estimate."""
    if estimate is None:
        return {}
    return {
        "estimate": estimate.accuracy,
        "interval": estimate.interval,
        "on_front": estimate.on_front,
    }


def write_front(path: Path, contents: FrontFile) -> None:
    """Write `front.json`, whole or not at all."""
    optional = ("sharing", "latency_prediction", "quantized")
    absent = {name for name in optional if not getattr(contents, name)}
    write_json(path, contents.model_dump(mode="json", exclude=absent))


def load_front(path: str | Path) -> FrontFile:
    """Read and check a `front.json`; costs are counted again.

    Raises:
        ValueError: one line with the file, the field, what is wrong and what is accepted.
    """
    path = Path(path)
    data = read_json(path, f"front file {path}", "the front.json of a study")
    try:
        return FrontFile.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"front file {path}: {where + ': ' if where else ''}{message}") from None


def read_json(path: Path, what: str, accepted: str) -> Any:
    """The plain values of a JSON file of at most `MAX_FILE_BYTES`.

    Args:
        path: the file.
        what: names it in the message.
        accepted: what it should be, for the message.

    Raises:
        ValueError: one line; it cannot be read, is too large or is not valid JSON.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ValueError(f"larger than {MAX_FILE_BYTES} bytes")
        return json.loads(path.read_bytes())
    except OSError as error:
        why = f"cannot be read ({error.strerror})"
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        why = f"not valid JSON ({error})"
    except ValueError as error:  # too large, a number of 5,000 digits, a path with a null byte
        why = str(error)
    raise ValueError(f"{what}: {why}; accepted: {accepted}")


def trials_table(study: optuna.Study, estimates: Mapping[int, Estimate]) -> pd.DataFrame:
    """All trials, a row each, in the order of their numbers.

    Args:
        study: whose trials these are.
        estimates: of the trials that finished, by number.
    """
    rows = []
    for trial in study.get_trials(deepcopy=False):
        attributes = trial.user_attrs
        rows.append(
            {
                "trial": trial.number,
                "state": trial.state.name.lower(),
                "arch_id": attributes.get("arch_id"),
                **{name: attributes.get(name) for name in OBJECTIVES},
                **_estimate_columns(estimates.get(trial.number)),
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


def _estimate_columns(estimate: Estimate | None) -> dict[str, float | None]:
    low, high = (None, None) if estimate is None or not estimate.interval else estimate.interval
    return {
        "estimate": None if estimate is None else estimate.accuracy,
        "interval_low": low,
        "interval_high": high,
        "on_front": None if estimate is None else estimate.on_front,
    }


def write_trials(path: Path, study: optuna.Study, estimates: Mapping[int, Estimate]) -> None:
    """Write `trials.csv`, whole or not at all; see `trials_table`."""
    write_atomic(path, trials_table(study, estimates).to_csv(index=False))
