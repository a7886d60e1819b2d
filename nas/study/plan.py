"""The plan of a search: what the user asks for, with everything resolved and checked.

Everything is checked here, before any work starts and before anything is written.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from nas.data import NotHere, SearchData, load_search_data, resolve_dataset
from nas.space.arch import Arch
from nas.space.cost import Cost, cost
from nas.space.devices import device_limits
from nas.space.limits import Limits, extreme
from nas.study.begin import require_same
from nas.study.choose_sampler import effective_sampler, require_used
from nas.study.config import StudyConfig
from nas.study.latency_setting import choose_backend, find_machine, require_within
from nas.study.objectives import Objectives
from nas.study.request import Checked, Request, check_request
from nas.study.resources import ClusterResources
from nas.study.sources import StudySource
from nas.study.trial_resources import choose_concurrency, choose_gpu_share, gpu_share_by_memory
from nas.study.trial_state import trial_state
from nas.study.try_first import usable
from nas.training import Recipe, default_recipe, get_recipe


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
    counted: int  # architectures among them that count for the budget
    smallest: Cost  # of the space, by multiply-adds
    largest: Cost
    sources: tuple[StudySource, ...] = ()  # earlier studies that inform the sampler
    first: tuple[Arch, ...] = ()  # architectures to train first
    control_seconds: float | None = None  # see `nas.study.latency_setting.require_within`


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
    gpus = choose_gpu_share(request, resources, timed=timed)
    threads = max(1, int(request.cpus_per_trial))
    backend = _latency_backend(request, stored, timed, gpus > 0)
    concurrency = choose_concurrency(request, gpus, resources)
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
        config, data = _with_stored_splits(config, data, stored)
    sampler = effective_sampler(request.sampler, config.objectives)
    require_used(checked.sources, sampler)
    first = _first(request, checked, config)
    sizes = (data.info.image_size, data.info.in_channels, data.info.num_classes)
    smallest = cost(extreme(space, *sizes, lambda c: c.macs), *sizes)
    config.limits.require_reachable(space, *sizes)
    control = require_within(config, gpus > 0, threads)
    largest = extreme(space, *sizes, lambda c: c.macs, largest=True)
    if request.gpus_per_trial is None and gpus and not timed:
        gpus = gpu_share_by_memory(resources, config, data, largest)
        concurrency = choose_concurrency(request, gpus, resources)
    trials = study.get_trials(deepcopy=False) if study else []
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
        num_trials=len(trials),
        counted=sum(trial_state(trial) in ("finished", "stopped") for trial in trials),
        smallest=smallest,
        largest=cost(largest, *sizes),
        sources=checked.sources,
        first=first,
        control_seconds=control,
    )


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


def _latency_backend(
    request: Request, stored: StudyConfig | None, timed: bool, gpu: bool
) -> str | None:
    """What latency is measured with; None where it is not measured."""
    if timed:
        before = stored.latency_backend if stored is not None else None
        return choose_backend(request.latency_backend, before, gpu)
    if request.latency_backend is not None:
        raise ValueError(
            f"--latency-backend {request.latency_backend}: latency is neither an objective nor a "
            "limit; accepted: with --objectives accuracy,macs,latency or --max-latency"
        )
    return None


def _with_stored_splits(
    config: StudyConfig, data: SearchData, stored: StudyConfig
) -> tuple[StudyConfig, SearchData]:
    """The splits as the study knows them, with a warning where its test set has changed."""
    if stored.splits and (change := stored.splits.test_change(data.record)):
        warned = (*data.notes.warnings, change)
        data = replace(data, notes=replace(data.notes, warnings=warned))
    return replace(config, splits=stored.splits), data


def _first(request: Request, checked: Checked, config: StudyConfig) -> tuple[Arch, ...]:
    """The architectures to train first: those of `--try` that the search may train."""
    first = tuple(usable(checked.first, config))
    if checked.first and not first:
        raise ValueError(
            f"--try {request.try_files[0]}: none of the architectures is in the space "
            f"{config.space.name} and within the limits; accepted: at least one"
        )
    return first
