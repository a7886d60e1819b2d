"""What a user asks of a retraining, and what that comes to: everything is checked here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nas.data import DatasetInfo, SearchData, Split, load_test_data
from nas.format import format_number
from nas.retrain.choose_teacher import choose_teacher
from nas.retrain.front_data import load_front_data
from nas.retrain.recipes import NetworkRecipes
from nas.retrain.references import NetworkSpec, network_specs
from nas.retrain.select import select
from nas.retrain.short_run import ShortRuns
from nas.study.front_file import FrontFile, load_front
from nas.study.resources import require_gpu_share
from nas.training import Recipe
from nas.training.folder import require_settings
from nas.training.small_data import adapt
from nas.tune.address import require_ray

MAX_SEEDS = 100
MAX_RATES = 10
MAX_CONCURRENCY = 1024


@dataclass(frozen=True)
class RetrainRequest:
    """What to retrain, and how."""

    front: Path  # a front.json
    select: str | None
    recipe: Recipe
    learning_rates: tuple[float, ...]  # each family takes the best; none: its own or the recipe's
    seeds: int  # each network is trained with the seeds 0, 1, ..., seeds - 1
    references: tuple[str, ...]  # see `nas.retrain.references.network_specs`
    export: tuple[str, ...]  # formats
    concurrency: int | None  # trainings at the same time; None: one for each GPU, or core
    threads: int | None  # of each training; None: its share of the cores
    data_dir: Path
    ray_address: str | None = None  # None: this machine
    gpus: float | None = None  # of each training; None: its share of the GPUs
    storage: str | None = None  # of the study, whose report follows; None: beside the front
    adapted: tuple[str, ...] = ()  # fields of the recipe that few images may change
    auto_rate: bool = False  # whether short runs choose the learning rate of each family
    teacher: bool = False  # whether the most accurate network is trained first and teaches others
    fine_tune_int8: bool = (
        False  # whether exported int8 files that lose over a point are fine-tuned
    )

    @property
    def home(self) -> Path:
        """The folder of the networks' folders."""
        return self.front.parent / "retrained"

    def folder(self, network: NetworkSpec, seed: int) -> Path:
        """The folder of one training."""
        own = self.home / network.name
        return own if seed == 0 else own / f"seed-{seed}"


@dataclass(frozen=True)
class ResolvedRequest:
    """A request with its data, networks and recipes."""

    request: RetrainRequest  # its recipe has the metric that the search optimised
    front: FrontFile
    data: SearchData
    test: Split
    groups: list[list[NetworkSpec]]  # one is trained after the other; a teacher is the first
    seeds: dict[str, int]  # number of them, of each network
    teacher: NetworkSpec | None  # the network that the others learn from
    recipes: NetworkRecipes
    changes: list[str]  # of the images since the search began
    notes: list[str]  # these, where test images are from, references that do not exist

    @property
    def info(self) -> DatasetInfo:
        """The data set, as the search read it."""
        return self.front.dataset_info()

    @property
    def most_at_once(self) -> int:
        """The most trainings that could run at the same time."""
        networks = sum(map(len, self.groups))
        return max(networks * self.request.seeds, len(self.request.learning_rates))


def resolve(request: RetrainRequest) -> ResolvedRequest:
    """Read the front and the images, and choose networks and recipes; nothing is written.

    Raises:
        ValueError: one line that says what is wrong.
    """
    require_ranges(request)
    front = load_front(request.front)
    metric = {"metric": Recipe.model_validate(front.recipe).metric}
    request = replace(request, recipe=request.recipe.model_copy(update=metric))
    selected = select(front, request.select)
    info = front.dataset_info()
    archs = [entry.build_arch() for entry in selected]
    asked_for, notes = network_specs(archs, request.references, info)
    data, changes = load_front_data(front, request.front, request.data_dir)
    notes += changes
    test = load_test_data(info.name, request.data_dir, **info.reading())  # or refused by now
    if "test" in data.notes.origin:
        notes.append(f"{format_number(len(test), 'test image')}: {data.notes.origin['test']}")
    adapted = adapt(request.recipe, len(data.train), request.adapted)
    teacher = None
    if request.teacher:
        teacher = choose_teacher(selected, asked_for, request.home, adapted)
        if teacher is None:
            notes.append("--teacher: a single network is trained, so none learns from another")
    groups = [asked_for] if teacher is None else _teacher_first(teacher, asked_for)
    networks = [network for group in groups for network in group]
    # A teacher that an earlier call trained may not be asked for: one seed of it is enough.
    seeds = dict.fromkeys((one.name for one in networks), 1)
    seeds |= dict.fromkeys((one.name for one in asked_for), request.seeds)
    recipes = NetworkRecipes(
        *(request.recipe, request.learning_rates, request.adapted, front, len(data.train)),
        networks=networks,
        teacher=teacher.name if teacher else None,
        short=ShortRuns(len(data.train), adapted.evaluated(data.val))
        if request.auto_rate
        else None,
    )
    for network in networks:
        accepted = recipes.accepted(network, request.home)
        for seed in range(seeds[network.name]):
            folder = request.folder(network, seed)
            require_settings(network.network, info, accepted, seed, folder)
        for folder, recipe in recipes.aside(network, request.home):
            require_settings(network.network, info, [recipe], 0, folder)
    return ResolvedRequest(
        request=request,
        front=front,
        data=data,
        test=test,
        groups=groups,
        seeds=seeds,
        teacher=teacher,
        recipes=recipes,
        changes=changes,
        notes=notes,
    )


def require_ranges(request: RetrainRequest) -> None:
    """Raise ValueError for a number or a format that is not accepted."""
    if not 1 <= request.seeds <= MAX_SEEDS:
        raise ValueError(f"--seeds {request.seeds}: accepted: 1 to {MAX_SEEDS}")
    if request.threads is not None and not 1 <= request.threads <= 1024:
        raise ValueError(f"--threads {request.threads}: accepted: 1 to 1024")
    if request.concurrency is not None and not 1 <= request.concurrency <= MAX_CONCURRENCY:
        raise ValueError(f"--concurrency {request.concurrency}: accepted: 1 to {MAX_CONCURRENCY}")
    require_gpu_share(request.gpus)
    if request.teacher and len(request.learning_rates) > 1:
        raise ValueError(
            "--learning-rate: several rates, each a whole training, and --teacher; accepted: one "
            "rate, or auto"
        )
    if len(request.learning_rates) > MAX_RATES:
        raise ValueError(f"--learning-rate: accepted: at most {MAX_RATES}, separated by commas")
    if request.export or request.fine_tune_int8:
        from nas.deploy.export import INT8_FORMATS, require_format

        for name in request.export:
            require_format(name)
        if request.fine_tune_int8 and not set(INT8_FORMATS) & set(request.export):
            raise ValueError(
                "--fine-tune-int8: no int8 file is exported; accepted: with --export of "
                + " or ".join(INT8_FORMATS)
            )
    if request.ray_address is not None:
        require_ray(request.ray_address)  # last, since it may wait for seconds


def _teacher_first(
    teacher: NetworkSpec, networks: Sequence[NetworkSpec]
) -> list[list[NetworkSpec]]:
    """The teacher, also where an earlier call trained it, and the networks that learn from it."""
    others = [one for one in networks if one.name != teacher.name]
    return [[teacher], others] if others else [[teacher]]
