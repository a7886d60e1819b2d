"""The plan of a search: what the user asks for, with everything resolved and checked.

Everything is checked here, before any work starts and before anything is written.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna

from nas.data import NotHere, SearchData, load_search_data, resolve_dataset
from nas.deploy.latency import require_backend
from nas.format import format_number
from nas.space.arch import Arch
from nas.space.cost import Cost, cost
from nas.space.devices import device_limits, find_device
from nas.space.limits import Limits, extreme
from nas.space.named import DEFAULT_SPACE
from nas.space.space import SearchSpace
from nas.study.begin import require_same
from nas.study.choose_sampler import SAMPLERS, effective_sampler, require_used
from nas.study.config import StudyConfig, stored_config
from nas.study.latency_setting import choose_backend, find_machine, require_within
from nas.study.location import StudyLocation, find_study
from nas.study.objectives import Objectives
from nas.study.resources import ClusterResources, require_gpu_share, require_reachable
from nas.study.sources import StudySource, find_sources
from nas.study.storage.engine import parse_storage, sqlite_url
from nas.study.try_first import read_architectures, usable
from nas.training import Recipe, default_recipe, get_recipe
from nas.training.memory import training_bytes

MAX_BUDGET = 1_000_000


@dataclass(frozen=True)
class Request:
    """What a user asks of a search; None where the program is to choose."""

    budget: int  # distinct architectures over the life of the study
    space: Path = DEFAULT_SPACE
    dataset: str = "auto"
    data_dir: Path = Path("data")
    image_size: int | None = None
    channels: int | None = None
    background: str | None = None
    study: str | None = None
    storage: str | None = None
    results: Path = Path("results")
    objectives: str | None = None
    sampler: str = SAMPLERS[0]
    recipe: str | None = None
    overrides: dict[str, Any] = field(default_factory=dict)  # of single fields of the recipe
    max_macs: int | None = None
    max_params: int | None = None
    max_memory: int | None = None  # bytes in int8, of activations
    max_flash: int | None = None  # bytes in int8, of weights
    device: str | None = None  # whose memory and flash are limits too
    max_latency: float | None = None  # seconds of one image on this machine
    latency_backend: str | None = None  # what latency is measured with; None: as stored, or PyTorch
    quantized: bool = False  # whether accuracies are those of the networks in int8
    timeout: float | None = None  # seconds, after which running trials are given up
    trial_timeout: float | None = None  # seconds, after which one trial's worker is replaced
    max_failures: int = 10  # failed trials; more end the search
    concurrency: int | None = None  # trials in flight
    cpus_per_trial: float = 1.0
    gpus_per_trial: float | None = None
    ray_address: str | None = None  # None: a Ray of our own on this machine
    seed: int = 0
    from_study: tuple[str, ...] = ()  # earlier studies: names, folders or URLs
    source_front: bool = True  # their fronts are tried first
    try_files: tuple[Path, ...] = ()  # architectures to train first


@dataclass(frozen=True)
class Plan:
    """A search with everything resolved."""

    request: Request
    study_name: str
    folder: Path
    storage: str  # URL, with its password
    config: StudyConfig
    data: SearchData
    dataset_reason: str
    sampler: str  # the one that is used; another than asked for where that one cannot work
    resources: ClusterResources
    gpus_per_trial: float
    concurrency: int  # trials in flight
    num_trials: int  # that the study holds already
    smallest: Cost  # of the space, by multiply-adds
    largest: Cost
    sources: tuple[StudySource, ...] = ()  # earlier studies that inform the sampler
    first: tuple[Arch, ...] = ()  # architectures to train first
    control_seconds: float | None = None  # see `nas.study.latency_setting.require_within`


@dataclass(frozen=True)
class Checked:
    """What of a plan does not depend on what trials run on."""

    space: SearchSpace
    name: str
    folder: Path
    storage: str
    study: optuna.Study | None  # one that exists
    sources: tuple[StudySource, ...]
    first: tuple[Arch, ...]  # as the files tell them

    @property
    def stored(self) -> StudyConfig | None:
        """What the study was started with."""
        return stored_config(self.study) if self.study else None


def check_request(request: Request) -> Checked:
    """Check all that can be checked before a cluster is asked what it has; write nothing.

    Raises:
        ValueError: as `make_plan`.
    """
    _require_ranges(request)
    if request.device is not None:
        find_device(request.device)
    if request.latency_backend is not None:
        require_backend(request.latency_backend, gpu=False)
    if request.objectives is not None:
        Objectives.parse(request.objectives)
    require_reachable(request.ray_address)
    space = SearchSpace.from_yaml(request.space)
    name = study_name(request)
    folder = request.results / name
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise ValueError(f"--results: {nearest} is a file; accepted: a folder")
    if not os.access(nearest, os.W_OK):
        raise ValueError(f"--results: {nearest} cannot be written; accepted: a folder that can")
    storage = request.storage or sqlite_url(folder / "study.db")
    parse_storage(storage)
    study = find_study(storage, name)
    own = StudyLocation(name, storage, folder)
    sources = find_sources(request.from_study, request.results, own, study, space)
    if not (request.source_front or sources):
        raise ValueError("--no-source-front: accepted: with --from-study")
    first = tuple(arch for path in request.try_files for arch in read_architectures(path))
    return Checked(space, name, folder, storage, study, sources, first)


def make_plan(request: Request, resources: ClusterResources, *, download: bool = True) -> Plan:
    """Resolve and check a request; nothing is written.

    Args:
        request: what a user asks for.
        resources: what trials run on. Recipe and data set follow from it, unless the user
            or the study says which.
        download: whether data that is not here may be downloaded; if not, the plan says what
            would be.

    Raises:
        ValueError: one line that names the argument, what is wrong and what is accepted.
    """
    checked = check_request(request)
    space, name, study, stored = checked.space, checked.name, checked.study, checked.stored
    objectives = _objectives(request, stored)
    timed = "latency" in objectives.names or request.max_latency is not None
    gpus = request.gpus_per_trial
    if gpus is None:
        sharing = 1 if timed else resources.trials_per_gpu
        gpus = 1 / sharing if resources.gpus else 0.0
    elif timed and 0 < gpus < 1:
        raise ValueError(
            f"--gpus-per-trial {gpus:g}: trials that share a GPU slow down each other's latency; "
            "accepted: 1 with latency as an objective or limit, or neither"
        )
    if request.latency_backend is not None and not timed:
        raise ValueError(
            f"--latency-backend {request.latency_backend}: latency is neither an objective nor a "
            "limit; accepted: with --objectives accuracy,macs,latency or --max-latency"
        )
    threads = max(1, int(request.cpus_per_trial))
    before = stored.latency_backend if stored is not None else None
    backend = choose_backend(request.latency_backend, before, gpus > 0) if timed else None
    concurrency = _concurrency(request, gpus, resources)
    dataset, reason = _dataset(request, stored, gpus > 0, download)
    data = _data(request, stored, dataset, download)
    config = StudyConfig(
        space,
        data.info,
        _recipe(request, stored, dataset, gpus > 0),
        objectives,
        _limits(request),
        find_machine(threads, gpus > 0, backend) if backend else None,
        data.record,
        backend,
        request.quantized,
    )
    _require_images(config.recipe, data)
    if stored is not None and data.notes.download is None:
        require_same(stored, config, name)
        if stored.splits and (change := stored.splits.test_change(data.record)):
            warned = (*data.notes.warnings, change)
            data = replace(data, notes=replace(data.notes, warnings=warned))
        config = replace(config, splits=stored.splits)
    sampler = effective_sampler(request.sampler, config.objectives)
    require_used(checked.sources, sampler)
    first = tuple(usable(checked.first, config))
    if checked.first and not first:
        raise ValueError(
            f"--try {request.try_files[0]}: none of the architectures is in the space {space.name} "
            "and within the limits; accepted: at least one"
        )
    sizes = (data.info.image_size, data.info.in_channels, data.info.num_classes)
    smallest = cost(extreme(space, *sizes, lambda c: c.macs), *sizes)
    config.limits.require_reachable(space, *sizes)
    control = require_within(config, gpus > 0, threads)
    largest = extreme(space, *sizes, lambda c: c.macs, largest=True)
    if request.gpus_per_trial is None and gpus and not timed:
        # those of a data set that is read from a file do not stay on the GPU
        images = sum(len(split) for split in (data.train, data.val) if split.file is None)
        needed = training_bytes(largest, config.dataset, config.recipe, images)
        gpus = 1 / resources.sharing(needed)
        concurrency = _concurrency(request, gpus, resources)
    return Plan(
        request=request,
        study_name=name,
        folder=checked.folder,
        storage=checked.storage,
        config=config,
        data=data,
        dataset_reason=reason,
        sampler=sampler,
        resources=resources,
        gpus_per_trial=gpus,
        concurrency=concurrency,
        num_trials=len(study.get_trials(deepcopy=False)) if study else 0,
        smallest=smallest,
        largest=cost(largest, *sizes),
        sources=checked.sources,
        first=first,
        control_seconds=control,
    )


def _require_ranges(request: Request) -> None:
    concurrency = request.concurrency
    require_gpu_share(request.gpus_per_trial)
    checks = [
        ("--budget", request.budget, 1 <= request.budget <= MAX_BUDGET, f"1 to {MAX_BUDGET}"),
        ("--sampler", request.sampler, request.sampler in SAMPLERS, ", ".join(SAMPLERS)),
        ("--concurrency", concurrency, concurrency is None or concurrency >= 1, "1 or more"),
        ("--cpus-per-trial", request.cpus_per_trial, 0 < request.cpus_per_trial <= 1024, "over 0"),
        ("--seed", request.seed, 0 <= request.seed < 2**32, "0 to 4294967295"),
    ]
    for option, value, accepted, values in checks:
        if not accepted:
            raise ValueError(f"{option} {value}: accepted: {values}")


def _concurrency(request: Request, gpus: float, resources: ClusterResources) -> int:
    """Trials at once: as many as were asked for, else as many as fit.

    Raises:
        ValueError: not even one fits, or fewer than were asked for.
    """
    cpus = request.cpus_per_trial
    if not resources.nodes:
        raise ValueError(
            f"--ray-address {request.ray_address}: Ray has no worker; accepted: a cluster with "
            "workers, waited for with --wait-for-workers"
        )
    fitting = resources.fitting(cpus, gpus)
    if fitting < max(1, request.concurrency or 1):
        if fitting:
            asked = f"--concurrency {request.concurrency}"
        elif not any(node.fitting(cpus, 0) for node in resources.nodes):
            asked = f"--cpus-per-trial {cpus:g}"
        else:
            asked = f"--gpus-per-trial {gpus:g}"
        accepted = (
            f"{format_number(fitting, 'such trial')} at a time"
            if fitting
            else "what one machine has"
        )
        where = "this machine" if request.ray_address is None else "Ray"
        raise ValueError(
            f"{asked}: a trial needs {format_number(cpus, 'CPU')} and "
            f"{format_number(gpus, 'GPU')}, {where} has {resources}; "
            f"accepted: at most {accepted}"
        )
    return request.concurrency or fitting


def study_name(request: Request) -> str:
    """The name that was given, or one made of the space and the data set asked for.

    Raises:
        ValueError: a name that could not be a folder's.
    """
    if request.study is None:
        dataset = request.dataset
        if dataset.startswith("folder:"):
            dataset = f"folder-{Path(dataset.removeprefix('folder:')).name}"
        return re.sub(r"[^A-Za-z0-9._-]+", "-", f"{request.space.stem}-{dataset}")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", request.study):
        raise ValueError(
            f"--study: {request.study[:40]!r}; accepted: up to 100 letters, digits, '.', '_', '-', "
            "the first a letter or digit"
        )
    return request.study


def _dataset(
    request: Request, stored: StudyConfig | None, gpu: bool, download: bool
) -> tuple[str, str]:
    if request.dataset == "auto" and stored is not None:
        return stored.dataset.name, "stored in the study"
    name, reason = resolve_dataset(request.dataset, request.data_dir, gpu, download=download)
    # A study that was begun before paths were made absolute goes on under the name that it has.
    before = "" if stored is None else stored.dataset.name
    if before.startswith("folder:") and resolve_dataset(before, request.data_dir, gpu)[0] == name:
        name = before
    return name, reason


def _data(request: Request, stored: StudyConfig | None, dataset: str, download: bool) -> SearchData:
    """The images, read as those of the stored study where nothing else is asked for."""
    known = stored.dataset.reading() if stored and stored.dataset.name == dataset else {}
    asked = {name: getattr(request, name) for name in ("image_size", "channels", "background")}
    reading = known | {name: value for name, value in asked.items() if value is not None}
    try:
        return load_search_data(dataset, request.data_dir, **reading, download=download)
    except NotHere as missing:
        return missing.data


def _recipe(request: Request, stored: StudyConfig | None, dataset: str, gpu: bool) -> Recipe:
    # What is asked for by name is what is trained: no schedule shrinks it.
    overrides = ({"shrink": 1} if request.image_size else {}) | request.overrides
    if request.recipe is not None:
        return get_recipe(request.recipe, **overrides)
    base = stored.recipe if stored is not None else default_recipe(dataset, gpu)
    return get_recipe(base.name, **(base.model_dump(exclude={"name"}) | overrides))


def _limits(request: Request) -> Limits:
    limits = Limits(
        request.max_macs,
        request.max_params,
        request.max_memory,
        request.max_flash,
        max_latency=request.max_latency,
    )
    return device_limits(limits, request.device)


def _require_images(recipe: Recipe, data: SearchData) -> None:
    images, classes = recipe.train_images, data.info.num_classes
    if images is not None and images < classes:
        raise ValueError(
            f"--train-images {images}: fewer than classes; accepted: {classes} to {len(data.train)}"
        )


def _objectives(request: Request, stored: StudyConfig | None) -> Objectives:
    if request.objectives is not None:
        return Objectives.parse(request.objectives)
    return stored.objectives if stored else Objectives(("accuracy", "macs"))
