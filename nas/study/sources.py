"""Earlier studies as sources of a new one: how they are found, stored and handed to the sampler.

What two studies have in common is what an architecture is (`Arch`), not its parameters. A study
stores the results of its sources that it needs, so that it continues where a source is gone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import sqlalchemy
from optuna.trial import FrozenTrial, TrialState

from nas.format import format_number
from nas.samplers import Source
from nas.samplers.history import curve
from nas.samplers.sources import Description
from nas.samplers.stopped_trials import CurvesWithCosts, forecast_final_errors, smallest_error
from nas.space.arch import Arch
from nas.space.cost import cost
from nas.space.space import SearchSpace, Setting, Value
from nas.study.config import StudyConfig
from nas.study.front import finished_trials, measured_front
from nas.study.location import StudyLocation, find_study, folder_location, open_study
from nas.study.objectives import accuracy_label, known_values
from nas.study.storage.engine import (
    StorageError,
    hide_password,
    open_storage,
    parse_storage,
    sqlite_url,
)

MAX_STORED = 1000  # results of a source that a study stores: its front and its last trials
SOURCES = "sources"  # the attribute of a study that holds them
NO_STUDY = (
    "{}: there is no such study; accepted: a study in --results or of the same database, its "
    "folder, or the URL of a database, as URL#NAME where it holds several"
)


@dataclass(frozen=True)
class StudySource:
    """What a study takes from an earlier one."""

    name: str
    dataset: str
    fingerprint: str  # of the data set
    images: int | None  # of the validation split
    num_trials: int  # that finished
    archs: tuple[Arch, ...]
    accuracies: tuple[float, ...]  # fractions, on the validation split; forecast of a stopped trial
    quantized: bool = False  # whether they are those of the networks in int8
    metric: str | None = None  # of its recipe; None in studies of earlier versions
    log_variances: tuple[float, ...] = ()
    """Of the forecasts of log errors, 0 for a finished trial; empty: all trials finished."""

    @classmethod
    def of(cls, study: optuna.Study, config: StudyConfig, name: str) -> StudySource:
        """The finished trials of a study, at least one, and forecasts of those stopped early."""
        trials = finished_trials(study)
        kept = trials
        if len(trials) > MAX_STORED:
            best = {member.trial.number for member in measured_front(trials, config.objectives)}
            others = max(0, MAX_STORED - len(best))
            last = {trial.number for trial in trials[len(trials) - others :]}
            kept = [trial for trial in trials if trial.number in best | last]
        images = study.user_attrs.get("val_images")
        images = None if images is None else int(images)
        rows = [(trial, float(trial.user_attrs["accuracy"]), 0.0) for trial in kept]
        rows += _stopped(study, trials, images)[: max(0, MAX_STORED - len(kept))]
        return cls(
            name,
            config.dataset.name,
            config.dataset.fingerprint,
            images,
            len(trials),
            tuple(Arch.from_dict(trial.user_attrs["arch"]) for trial, _, _ in rows),
            tuple(accuracy for _, accuracy, _ in rows),
            config.quantized,
            config.recipe.metric,
            tuple(variance for _, _, variance in rows),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "dataset": self.dataset,
            "fingerprint": self.fingerprint,
            "images": self.images,
            "num_trials": self.num_trials,
            "archs": [arch.to_dict() for arch in self.archs],
            "accuracies": list(self.accuracies),
            "quantized": self.quantized,
            "metric": self.metric,
            "log_variances": list(self.log_variances),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> StudySource:
        """Inverse of `to_dict`."""
        lists = {
            "archs": tuple(Arch.from_dict(arch) for arch in data["archs"]),
            "accuracies": tuple(data["accuracies"]),
            "log_variances": tuple(data.get("log_variances", ())),
        }
        return cls(**({name: data[name] for name in data if name not in lists} | lists))

    def describe(self, measured: str) -> str:
        """The source in a few words.

        Args:
            measured: the study's own `StudyConfig.accuracy_label`.
        """
        trials = format_number(self.num_trials, "finished trial")
        other = other_accuracy(self.metric, self.quantized, measured)
        return f"{self.name} ({self.dataset}, {trials}{other})"

    def for_sampler(
        self, config: StudyConfig, expected: Callable[[Arch], tuple[float, ...]] = lambda arch: ()
    ) -> Source:
        """The source for the sampler of a study, with the costs that the study's data set has.

        Args:
            config: of the study.
            expected: further costs of an architecture, which the sampler has learned.
        """
        data, names = config.dataset, config.objectives.known_names
        sizes = data.image_size, data.in_channels, data.num_classes
        values = [known_values(cost(arch, *sizes)) for arch in self.archs]
        return Source(
            self.name,
            [describe_arch(arch) for arch in self.archs],
            [1.0 - accuracy for accuracy in self.accuracies],
            [
                (*(float(value[name]) for name in names), *expected(arch))
                for value, arch in zip(values, self.archs, strict=True)
            ],
            self.images,
            [_setting(config.space, arch) for arch in self.archs],
            self.log_variances or None,
        )


def other_accuracy(metric: str | None, quantized: bool, measured: str | None) -> str:
    """What a source's accuracies are, where they are of another kind than the study's.

    Args:
        metric: of the source; None: not known.
        quantized: whether the source's accuracies are those of the networks in int8.
        measured: the study's own `StudyConfig.accuracy_label`; None: not known.
    """
    label = accuracy_label(metric or "accuracy", quantized)
    if measured in (None, label) or (metric is None and not quantized):
        return ""
    return f" of {label}; this study: {measured}"


def describe_arch(arch: Arch) -> Description:
    """An architecture in terms that do not depend on a space.

    Widths are in octaves, to a quarter or a half of one: the mean width over the stages, and how
    far the stem and each stage are from it. Spaces that share their stages differ in the mean
    width alone.
    """
    mean = sum(math.log2(stage.width) for stage in arch.stages) / len(arch.stages)
    described: dict[str, Value] = {"width": round(4 * mean) / 4}
    described["stem"] = round(2 * (math.log2(arch.stem) - mean)) / 2
    for index, stage in enumerate(arch.stages, 1):
        described |= {
            f"stage{index}.repeats": stage.repeats,
            f"stage{index}.width": round(2 * (math.log2(stage.width) - mean)) / 2,
            f"stage{index}.p": stage.p,
            f"stage{index}.expansion": stage.expansion,
        }
        if stage.hidden is not None:
            described[f"stage{index}.r"] = round(math.log2(stage.width / stage.hidden))
    return described


def find_sources(
    asked: Sequence[str],
    results: Path,
    own: StudyLocation,
    study: optuna.Study | None,
    space: SearchSpace,
) -> tuple[StudySource, ...]:
    """The sources of a search: those that its study stores, else those that are asked for.

    Args:
        asked: names, folders or URLs.
        results: folder of all studies.
        own: where the new study is, which cannot be its own source.
        study: the new study, where it exists.
        space: of the new study.

    Raises:
        ValueError: one line; a source cannot be used, or the study was started with others.
    """  # fmt: skip
    stored = stored_sources(study)
    begun = study is not None and bool(study.get_trials(deepcopy=False))
    if begun or not asked:
        names = [_name(text, results, own) for text in asked]
        if names and set(names) != {source.name for source in stored}:
            those = ", ".join(source.name for source in stored) or "none"
            raise ValueError(
                f"--from-study {', '.join(names)}: study {own.name} was started with {those}; "
                "accepted: the stored sources, or another study name"
            )
        return stored
    found: dict[str, StudySource] = {}
    for text in dict.fromkeys(asked):
        source = read_source(text, results, own, space)
        if found.setdefault(source.name, source) != source:
            raise ValueError(
                f"{_option(text)}: another source is called {source.name} too; accepted: sources "
                "with different names"
            )
    return tuple(found.values())


def store_sources(study: optuna.Study, sources: Sequence[StudySource]) -> None:
    """Store the sources of a study that begins; one that continues has them already."""
    if tuple(sources) != stored_sources(study):
        study.set_user_attr(SOURCES, [source.to_dict() for source in sources])


def stored_sources(study: optuna.Study | None) -> tuple[StudySource, ...]:
    """The sources that a study was started with."""
    stored = [] if study is None else study.user_attrs.get(SOURCES, [])
    return tuple(StudySource.from_dict(data) for data in stored)


def read_source(text: str, results: Path, own: StudyLocation, space: SearchSpace) -> StudySource:
    """Read one source. Raises ValueError as `find_sources` does."""
    option, location = _option(text), _locate(text, results, own)
    if (location.name, location.storage) == (own.name, own.storage):
        raise ValueError(f"{option}: the study itself; accepted: another study")
    if find_study(location.storage, location.name) is None:
        raise ValueError(NO_STUDY.format(option))
    try:
        study, config = open_study(location)
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from None
    if not space.shares_architecture(config.space):
        raise ValueError(
            f"{option}: its space {config.space.name} shares no architecture with {space.name}; "
            "accepted: a study of a space that overlaps"
        )
    if not finished_trials(study):
        raise ValueError(f"{option}: it has no finished trial; accepted: a study with some")
    return StudySource.of(study, config, location.name)


def _stopped(
    study: optuna.Study, finished: Sequence[FrozenTrial], images: int | None
) -> list[tuple[FrozenTrial, float, float]]:
    """Trials that were stopped early, their forecast accuracies, the variances of log errors.

    Those without a forecast are left out (`nas.samplers.stopped_trials`).
    """
    ended = study.get_trials(deepcopy=False, states=(TrialState.PRUNED,))
    stopped = [trial for trial in ended if "duplicate_of" not in trial.user_attrs]
    errors = np.array([1.0 - trial.user_attrs["accuracy"] for trial in finished])
    rows, log_errors, variances = forecast_final_errors(
        _curves(stopped),
        _curves(finished),
        errors,
        min_error=smallest_error(images, errors),
        min_forecast=max(1e-4, errors.min()),
    )
    accuracies = (1.0 - np.exp(log_errors)).tolist()
    return list(zip([stopped[row] for row in rows], accuracies, variances.tolist(), strict=True))


def _curves(trials: Sequence[FrozenTrial]) -> CurvesWithCosts:
    costs = np.log10([[trial.user_attrs["macs"]] for trial in trials]).reshape(len(trials), 1)
    return CurvesWithCosts(costs, [curve(trial) for trial in trials])


def _option(text: str) -> str:
    """The option as it is shown, without a password."""
    url, _, name = text.partition("#")
    if "://" not in text:
        return f"--from-study {text}"
    try:
        return f"--from-study {hide_password(url)}{f'#{name}' if name else ''}"
    except sqlalchemy.exc.ArgumentError:  # what it holds is not known
        return "--from-study"


def _locate(text: str, results: Path, own: StudyLocation) -> StudyLocation:
    option = _option(text)
    if "://" in text:
        url, _, name = text.partition("#")
        try:
            parse_storage(url)
            names = [name] if name else optuna.get_all_study_names(open_storage(url))
        except StorageError as error:
            why = re.sub(r"^--storage( \S+)?: ", "", str(error))
            raise ValueError(f"{option}: {why}") from None
        if len(names) != 1:
            held = ", ".join(sorted(names)) or "no study"
            raise ValueError(f"{option}: holds {held}; accepted: one study, or URL#NAME")
        return StudyLocation(names[0], url, None)
    for folder in (Path(text), results / text):
        if (folder / "study.db").is_file():
            return folder_location(folder, None, None)
    if own.storage and (own.folder is None or own.storage != sqlite_url(own.folder / "study.db")):
        return StudyLocation(text, own.storage, None)
    raise ValueError(NO_STUDY.format(option))


def _name(text: str, results: Path, own: StudyLocation) -> str:
    """The name of the study that an option means, also where that study is gone."""
    url, _, name = text.partition("#")
    if "://" not in text:
        return Path(text).resolve().name
    if name:
        return name
    try:
        return _locate(text, results, own).name
    except ValueError:
        return Path(url).parent.name  # of a study's folder


def _setting(space: SearchSpace, arch: Arch) -> Setting | None:
    try:
        return space.encode(arch)
    except ValueError:
        return None
