"""What a user asks of a search, with all of it checked that does not depend on the machine."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna

from nas.deploy.latency import require_backend
from nas.space.arch import Arch
from nas.space.devices import find_device
from nas.space.named import DEFAULT_SPACE
from nas.space.space import SearchSpace
from nas.study.choose_sampler import SAMPLERS
from nas.study.config import StudyConfig, stored_config
from nas.study.location import StudyLocation, find_study
from nas.study.objectives import Objectives
from nas.study.resources import require_gpu_share
from nas.study.sources import StudySource, find_sources
from nas.study.storage.engine import parse_storage, sqlite_url
from nas.study.try_first import read_architectures

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
