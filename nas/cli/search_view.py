"""The output of `search`: the plan, the result, and the commands that follow."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nas.cli.data_view import data_rows, describe_data
from nas.cli.front_table import front_table, savings
from nas.cli.options import print_json
from nas.cli.program import command_line, launcher, same_command_line
from nas.format import format_count, format_duration, format_number
from nas.report.page import REPORT
from nas.space.devices import find_device
from nas.space.limits import LIMITED, Limits
from nas.study.front import FrontMember, chance_note
from nas.study.objectives import OBJECTIVES
from nas.study.plan import Plan
from nas.study.storage.engine import hide_password, sqlite_url

if TYPE_CHECKING:
    from nas.tune.search import SearchResult

PLAIN_WIDTH = 200  # columns of the front's table where the output is no terminal


def show_plan(plan: Plan, seconds: float | None, *, as_json: bool) -> None:
    """Print what a search would do.

    Args:
        plan: of the search.
        seconds: that the trials which are left would take; None: not known.
        as_json: print it as JSON.
    """
    described = describe_plan(plan)
    if seconds is not None:
        left = format_number(plan.request.budget - plan.counted, "trial")
        described["time"] = f"about {format_duration(seconds)} for {left} without stopping any"
    if as_json:
        print_json(described | {"data": describe_data(plan)})
        return
    width = max(map(len, described))
    for name, value in described.items():
        print(f"{name:<{width}}  {_plain(value)}")
    for text in plan.data.notes.warnings:
        print(f"{'warning':<{width}}  {text}")


def describe_plan(plan: Plan) -> dict[str, Any]:
    """The resolved plan as plain values."""
    request, config = plan.request, plan.config
    recipe = config.recipe
    cpus = format_number(request.cpus_per_trial, "CPU")
    device = f"{format_number(plan.gpus_per_trial, 'GPU')}, {cpus}" if plan.gpus_per_trial else cpus
    return {
        "study": plan.study_name,
        "storage": hide_password(plan.storage),
        "trials stored": plan.num_trials,
        "budget": request.budget,
        "space": f"{config.space.name}: {format_number(config.space.size, 'setting')}, "
        f"{format_number(config.space.distinct_size, 'distinct architecture')}",
        "cost range": f"{format_count(plan.smallest.macs)} to {format_count(plan.largest.macs)} "
        "FLOPs (multiply-adds)",
        "limits": _limits(config.limits),
        "objectives": ", ".join(config.objectives.names)
        + (" (accuracy: the mean of the classes' own)" if recipe.balanced else ""),
        **({"accuracies": "of the networks in int8"} if config.quantized else {}),
        **data_rows(plan),
        "recipe": ", ".join(f"{name} {value}" for name, value in _used(plan).items()),
        "sampler": plan.sampler
        + (
            ""
            if plan.sampler == request.sampler
            else f" ({request.sampler} needs a cost that is known)"
        ),
        **({"latency on": config.machine} if config.machine else {}),
        **({"from studies": _describe_sources(plan)} if plan.sources else {}),
        **({"tried first": format_number(len(plan.first), "architecture")} if plan.first else {}),
        "seed": request.seed,
        "trial": device,
        "concurrency": plan.concurrency,
        "Ray": f"{request.ray_address or 'started on this machine'}: {plan.resources}",
    }


def _describe_sources(plan: Plan) -> str:
    return ", ".join(one.describe(plan.config.accuracy_label) for one in plan.sources)


def print_plan(console: Console, plan: Plan) -> None:
    """Print the plan in a few lines before the search starts."""
    table = Table.grid(padding=(0, 2, 0, 0))
    described = describe_plan(plan)
    described["trials"] = (
        f"{plan.concurrency} at a time, {described['trial']} each; Ray {described['Ray']}"
    )
    limited = plan.config.limits.given or plan.config.limits.max_latency is not None
    more = [*(["limits"] if limited else []), *(["accuracies"] if plan.config.quantized else [])]
    more += ["from studies"] if plan.sources else []
    for name in ("study", *data_rows(plan), "space", "cost range", *more, "recipe", "trials"):
        if console.is_terminal:
            table.add_row(name, Text(str(described[name])))
        else:
            console.print(f"{name}: {described[name]}", highlight=False, soft_wrap=True)
    console.print(table, highlight=False)
    for text in plan.data.notes.warnings:
        console.print(f"warning: {text}", highlight=False, soft_wrap=True)


def print_result(plan: Plan, result: SearchResult) -> None:
    """Print the result, the files that were written, and the commands that follow."""
    study = result.study
    console = Console(width=None if Console().is_terminal else PLAIN_WIDTH, markup=False)
    print(
        f"{format_number(study.counted, 'architecture')} of a budget of {study.budget} "
        f"in study {plan.study_name}, "
        f"{format_duration(result.seconds)} this time"
    )
    saved = savings(study.study, plan.config.recipe.epochs)
    if saved.epochs:
        print(
            f"saved {format_number(saved.epochs, 'epoch')}: "
            f"{format_number(saved.repeats, 'repeated suggestion')}, "
            f"{format_number(saved.stopped, 'network')} stopped early"
        )
    if result.predicted is not None:
        print(result.predicted.sentence())
    for reason, times in study.failures.most_common(5):
        print(f"{format_number(times, 'trial')} failed: {reason}")
    if note := chance_note(result.members, plan.config):
        console.print(f"warning: {note}", highlight=False, soft_wrap=True)
    if result.members:
        config = plan.config
        console.print(front_table(result.members, config.columns, config.objectives, console.width))
    if study.exhausted and study.counted < study.budget:
        limit = plan.config.limits.max_latency
        is_ = "is" if limit is None else "is expected to be"
        print(f"the space is exhausted: no further architecture {is_} within the limits")
    if result.ended is not None:
        print(f"ended early: {result.ended.why}; to continue: {same_command_line()}")
    print(f"written:   {', '.join(file.name for file in result.files)} in {plan.folder}")
    if result.members:
        selection = next_selection(plan.config.limits, result.members)
        retrain = command_line("retrain", str(result.files[0]), "--select", selection)
        print(f"retrain:   {retrain}")
    report = plan.folder / REPORT
    if report.exists():
        print(f"report:    {report.resolve().as_uri()}")
    print(f"dashboard: {_dashboard_command(plan)}")


def next_selection(limits: Limits, members: list[FrontMember]) -> str:
    """What to retrain first: the best within the budget, the knee, or without one the best."""
    limit = limits.max_macs
    if limit is not None and any(member.attributes["macs"] <= limit for member in members):
        return f"under:{_quantity(limit)}"
    return "knee" if any(member.knee for member in members) else "top:1"


def _quantity(number: int) -> str:
    """A number as `--select under:` takes it: `4M`, `500K`, `123456`."""
    for size, suffix in ((10**9, "G"), (10**6, "M"), (10**3, "K")):
        if number % size == 0:
            return f"{number // size}{suffix}"
    return str(number)


def result_json(plan: Plan, result: SearchResult) -> dict[str, Any]:
    """The result as plain values."""
    study = result.study
    saved = savings(study.study, plan.config.recipe.epochs)
    return {
        "study": plan.study_name,
        "storage": hide_password(plan.storage),
        "budget": study.budget,
        "counted": study.counted,
        "duplicates": study.duplicates,
        "saved": {"repeats": saved.repeats, "stopped": saved.stopped, "epochs": saved.epochs},
        "failures": dict(study.failures),
        "exhausted": study.exhausted,
        "latency_prediction": result.predicted and result.predicted.model_dump(),
        "ended": result.ended.why if result.ended else None,
        "seconds": round(result.seconds, 3),
        "files": [str(file) for file in result.files],
        "front": [
            {
                name: member.attributes.get(name)
                for name in ("arch_id", *OBJECTIVES)
                if name in member.attributes
            }
            | {
                "estimate": member.expected,
                "interval": member.estimate and member.estimate.interval,
                "on_front": member.estimate and member.estimate.on_front,
                "knee": member.knee,
            }
            for member in result.members
        ],
    }


def _used(plan: Plan) -> dict[str, Any]:
    """The recipe as plain values; a number of images only where there are more than it takes."""
    values = plan.config.recipe.model_dump(exclude_none=True)
    for name, split in (("train_images", plan.data.train), ("val_images", plan.data.val)):
        if name in values:
            most = values.pop(name)
            if most < len(split):
                values[name] = f"{most:,} of {len(split):,}"
    return values


def _dashboard_command(plan: Plan) -> str:
    """A make target in the source tree, where it exists, or the dashboard's own command."""
    in_source_tree = launcher()[-1].endswith(".py")
    if in_source_tree and plan.storage == sqlite_url(plan.folder / "study.db"):
        return f"make dashboard STUDY={shlex.quote(str(plan.folder))}"
    return f"optuna-dashboard {shlex.quote(hide_password(plan.storage))}"


def _limits(limits: Limits) -> str:
    """The limits in words, and the precision that memory and flash are counted in."""
    shown = [
        OBJECTIVES[name].label.removesuffix(" (multiply-adds)")
        + (
            f" at most {OBJECTIVES[name].format(limits.given[name])}"
            if name in limits.given
            else " unlimited"
        )
        for name in LIMITED
        if name in limits.given or name in ("macs", "params")
    ]
    if limits.max_latency is not None:
        latency = OBJECTIVES["latency"].format(limits.max_latency)
        shown.append(f"latency at most {latency}, measured before training")
    of_device = "" if limits.device is None else f" ({find_device(limits.device).title})"
    in_int8 = {"memory", "flash"} & limits.given.keys()
    note = "; int8: a byte for each activation and weight" if in_int8 else ""
    return ", ".join(shown) + of_device + note


def _plain(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
