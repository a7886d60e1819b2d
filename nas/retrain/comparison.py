"""`retrained/summary.json`: comparisons of retrained networks with each other and the search."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

from nas.files import write_json
from nas.retrain import learning_rate, second_recipe
from nas.retrain.differences import differences
from nas.retrain.references import SEARCHED
from nas.retrain.second_recipe import describe_second_trainings
from nas.retrain.statistics import (
    CONFIDENCE,
    Noise,
    estimate_noise,
    not_significantly_different,
    rank_correlations,
    remaining,
    wilson,
)
from nas.space.arch import Arch
from nas.study.front_file import FrontFile
from nas.training import Recipe
from nas.training.folder import METRICS
from nas.training.pretrained import DESCRIPTION, Description, read_description

SUMMARY = "summary.json"
SCHEMA_VERSION = 2
OLD_VERSION = 1  # its intervals are from one standard deviation of accuracies for all networks
RATES, SECOND = learning_rate.FOLDER, second_recipe.FOLDER  # hold trainings that were replaced
IN_INT8 = (
    "The search's accuracies are those of the networks in int8; those of full training are in "
    "float, and --export int8 tests a network in int8 too."
)
Row = dict[str, Any]


@dataclass(frozen=True)
class _Run:
    """A finished training."""

    folder: Path
    description: Description
    metrics: dict[str, Any]

    @property
    def recipe(self) -> Recipe:
        """With a learning rate of 1."""
        return _any_rate(Recipe.model_validate(self.description.recipe))


def summarise(
    front: FrontFile, folder: Path, recipes: Sequence[Recipe], options: Sequence[str] = ()
) -> dict[str, Any] | None:
    """Compare all networks in `folder` that were trained on this data set by these recipes.

    Their learning rates may differ. The comparison is written to `summary.json`:

    - `networks`: by family and cost, with the mean test accuracy over seeds, its interval,
      the search's estimate, results by class, latency, the machines that it was measured on
      (`latency_machines`), hours of training, the teacher and its
      hours, whether it stays on the front and with which probability, and from which other
      searched networks it does not differ significantly;
    - `other_recipes`: networks that were trained by another recipe, and are not compared;
    - `set_aside`: networks that a better training of the same network replaced;
    - `left_out`: folders without a row, and why;
    - `notes`: sentences about networks that were trained twice;
    - `differences`, `mean_differences`, `comparisons`: of searched networks from those they are
      compared with, see `nas.retrain.differences`;
    - `short_schedule`: rank correlations between short and full accuracy of the front, and
      how many of its members stay non-dominated;
    - `noise`: what the intervals follow from: the standard deviation of log errors between seeds,
      pooled over networks; null where there is one seed each;
    - `home` and `options`: the folder, and the options of `retrain` that give the recipe
      and the folder of the data.

    Returns:
        The contents; None, with nothing written, where no such network is trained.
    """
    runs, left_out = _runs(front, folder)
    every = _rows(front, runs)
    compared = [_any_rate(recipe) for recipe in recipes]
    rows = [row for other, row in every if other in compared]
    if not rows:
        return None
    for row in rows:
        row["test_interval"] = list(wilson(row["test_accuracy"], row["test_images"]))
    aside, aside_left_out = _runs(front, folder / RATES, folder / SECOND)
    summary = {
        "schema_version": SCHEMA_VERSION,
        "study": front.study,
        "dataset": front.dataset["name"],
        "home": str(folder),
        "options": list(options),
        "class_names": list(front.dataset["class_names"]),
        "recipe": recipes[0].model_dump(mode="json"),
        "confidence": CONFIDENCE,
        "networks": rows,
        "other_recipes": [row for other, row in every if other not in compared],
        "set_aside": [row for _, row in _rows(front, aside)],
        "left_out": left_out + aside_left_out,
        "notes": [*([IN_INT8] if front.quantized else []), *describe_second_trainings(folder)],
        **_statistics(rows),
    }
    if summary["short_schedule"]:
        summary["short_schedule"]["ranks"] = _ranks(rows)
    write_json(folder / SUMMARY, summary)
    return summary


def read_summary(folder: Path) -> dict[str, Any] | None:
    """The `summary.json` of a `retrained` folder; None where there is none or it is damaged."""
    try:
        summary = json.loads((folder / SUMMARY).read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(summary, dict):
        return None
    if summary.get("schema_version") == OLD_VERSION:
        try:
            return _compared_anew(summary)
        except (KeyError, IndexError, TypeError):
            return None
    return summary if summary.get("schema_version") == SCHEMA_VERSION else None


def _compared_anew(summary: dict[str, Any]) -> dict[str, Any]:
    """A summary of the old version with the statistics of today; the ranks are the same."""
    compared = _statistics(summary["networks"])
    if compared["short_schedule"]:
        compared["short_schedule"]["ranks"] = summary["short_schedule"]["ranks"]
    summary.pop("pooled", None)
    return summary | {"schema_version": SCHEMA_VERSION} | compared


def _statistics(rows: list[Row]) -> dict[str, Any]:
    """What compares all networks; the rows get their `interval` and what `_short_schedule` adds."""
    noise = estimate_noise([row["test_accuracies"] for row in rows], rows[0]["test_images"])
    for row in rows:
        between_seeds = noise.source == "seeds"
        row["interval"] = list(noise.interval(row["test_accuracies"])) if between_seeds else None
    searched = [row for row in rows if row["family"] == SEARCHED]
    return {
        "noise": {
            "log_error_sd": noise.sd,
            "source": noise.source,
            "degrees_of_freedom": _finite(noise.degrees),
        },
        **differences(rows, noise),
        "short_schedule": _short_schedule(searched, noise),
    }


def _runs(front: FrontFile, *homes: Path) -> tuple[list[_Run], list[dict[str, str]]]:
    """The finished trainings on the front's data set, and the folders without one, with why."""
    runs, left_out = [], []
    for home in homes:
        folders = sorted({path.parent for path in home.glob(f"*/{DESCRIPTION}")})
        for folder in [*folders, *(seed.parent for one in folders for seed in _seeds(one))]:
            try:
                description = read_description(folder)
                metrics = json.loads((folder / METRICS).read_bytes())
                if description.dataset["fingerprint"] != front.dataset["fingerprint"]:
                    raise ValueError("another data set")
                if "family" not in metrics:
                    raise ValueError("trained by itself, not as a part of a retraining")
            except FileNotFoundError:
                why = "" if home.name in (RATES, SECOND) else "not finished"
            except (OSError, ValueError, TypeError) as error:
                why = str(error)
            else:
                runs.append(_Run(folder, description, metrics))
                why = ""
            if why:
                left_out.append({"folder": str(folder.relative_to(home.parent)), "why": why})
    return runs, left_out


def _seeds(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"seed-*/{DESCRIPTION}"))


def _rows(front: FrontFile, runs: Sequence[_Run]) -> list[tuple[Recipe, Row]]:
    """A row for each network and recipe, and the recipe with a learning rate of 1."""
    by_network: dict[tuple[str, str], list[_Run]] = {}
    for run in runs:
        key = str(run.metrics["network"]), run.recipe.model_dump_json()
        by_network.setdefault(key, []).append(run)
    rows = [(group[0].recipe, _row(front, group)) for group in by_network.values()]
    return sorted(
        rows, key=lambda one: (one[1]["family"] != SEARCHED, one[1]["family"], one[1]["macs"])
    )


def _row(front: FrontFile, group: list[_Run]) -> Row:
    """One network's trainings by one recipe."""
    group = sorted(group, key=lambda run: int(run.metrics["seed"]))
    runs, description, recipe = (
        [run.metrics for run in group],
        group[0].description,
        group[0].recipe,
    )
    first = runs[0]
    name, tests = first["network"], [run["test_accuracy"] for run in runs]
    entry = next((one for one in front.architectures if one.arch_id == name), None)
    latencies = [run["latency"] for run in runs if "latency" in run]
    row = {
        "name": name,
        "family": first["family"],
        "of": first["of"],
        "arch": description.arch and str(Arch.from_dict(description.arch)),
        "on_front": entry is not None,
        "macs": first["macs"],
        "params": first["params"],
        "learning_rate": description.recipe["learning_rate"],
        "recipe": recipe.name,
        "epochs": recipe.epochs,
        "seeds": len(runs),
        "test_accuracy": mean(tests),
        "test_accuracies": tests,
        "val_accuracy": mean(run["val_accuracy"] for run in runs),
        "short_accuracy": entry and entry.accuracy,
        "estimate": entry and getattr(entry, "estimate", None),
        "estimate_interval": entry and getattr(entry, "interval", None),
        "hours": sum(run["seconds"] for run in runs) / 3600,
        "teacher": recipe.teacher,
        "teacher_hours": max(run.get("teacher_seconds", 0.0) for run in runs) / 3600,
        "test_images": first.get("independent_images", first["test_images"]),
        "latency": median(latencies) if latencies else None,
        "latency_machines": sorted(
            {run["latency_machine"] for run in runs if "latency_machine" in run}
        ),
    }
    return row | _classes(runs)


def _classes(runs: list[dict[str, Any]]) -> Row:
    """Results by class, summed over seeds; empty where an earlier version trained the network."""
    if any("class_images" not in run for run in runs):
        return {}
    confusions: Counter[tuple[int, int]] = Counter()
    for run in runs:
        confusions.update({(label, taken): count for label, taken, count in run["confusions"]})
    return {
        name: [sum(column) for column in zip(*(run[name] for run in runs), strict=True)]
        for name in ("class_images", "class_right")
    } | {"confusions": [[*pair, count] for pair, count in confusions.most_common()]}


def _any_rate(recipe: Recipe) -> Recipe:
    """The recipe without its learning rate, for comparisons."""
    return recipe.model_copy(update={"learning_rate": 1.0})


def _short_schedule(searched: list[Row], noise: Noise) -> dict[str, Any] | None:
    """Rank correlations and non-dominated networks; the rows get what concerns one network."""
    if not searched:
        return None
    accuracies = [row["test_accuracies"] for row in searched]
    stay = remaining([row["macs"] for row in searched], accuracies, noise)
    ties = not_significantly_different(accuracies, noise)
    for row, stays, probability, others in zip(
        searched, stay.stays, stay.probability, ties, strict=True
    ):
        row["non_dominated"], row["non_dominated_probability"] = stays, probability
        row["not_told_apart_from"] = [searched[j]["name"] for j in others]
    return {
        "networks": len(searched),
        "non_dominated": sum(stay.stays),
        "non_dominated_low": stay.low,
        "non_dominated_high": stay.high,
    }


def _ranks(rows: Sequence[Row]) -> dict[str, Any] | None:
    """How the short schedule ranks the searched networks whose accuracy by it is known."""
    known = [row for row in rows if row["family"] == SEARCHED and row["short_accuracy"] is not None]
    ranks = rank_correlations(
        [row["short_accuracy"] for row in known], [row["test_accuracy"] for row in known]
    )
    return ranks and {name: asdict(rank) for name, rank in ranks.items()}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
