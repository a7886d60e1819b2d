"""`retrained/summary.json`: comparisons of retrained networks with each other and the search."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any

from nas.files import write_json
from nas.retrain.references import SEARCHED
from nas.retrain.statistics import (
    CONFIDENCE,
    Noise,
    estimate_noise,
    not_significantly_different,
    rank_correlations,
    remaining,
)
from nas.space.arch import Arch
from nas.study.front_file import FrontFile
from nas.training import Recipe
from nas.training.full import METRICS
from nas.training.pretrained import DESCRIPTION, read_description

SUMMARY = "summary.json"
SCHEMA_VERSION = 1
Row = dict[str, Any]


def summarise(front: FrontFile, folder: Path, recipe: Recipe) -> dict[str, Any] | None:
    """Compare all networks in `folder` that were trained on this data set by this recipe.

    Their learning rates may differ. The comparison is written to `summary.json`:

    - `networks`: by family and cost, with the mean test accuracy over seeds, its interval,
      the short schedule's accuracy, whether it stays on the front and with which
      probability, and from which other searched networks it does not differ significantly;
    - `other_recipes`: networks that were trained by another recipe, and are not compared;
    - `differences`: of each searched network from each network it is compared with;
    - `short_schedule`: rank correlations between short and full accuracy of the front, and
      how many of its members stay non-dominated;
    - `noise`: the standard deviation that the intervals follow from.

    Returns:
        The contents; None, with nothing written, where no such network is trained.
    """
    every = _rows(front, folder)
    rows = [row for other, row in every if other == _any_rate(recipe)]
    if not rows:
        return None
    images = rows[0].pop("test_images")
    for row in rows[1:]:
        row.pop("test_images")
    noise = estimate_noise([row["test_accuracies"] for row in rows], images)
    for row in rows:
        half = noise.half_width(row["seeds"]) if noise.source == "seeds" else None
        row["interval"] = half and [row["test_accuracy"] - half, row["test_accuracy"] + half]
    searched = [row for row in rows if row["family"] == SEARCHED]
    summary = {
        "schema_version": SCHEMA_VERSION,
        "study": front.study,
        "dataset": front.dataset["name"],
        "recipe": recipe.model_dump(mode="json"),
        "confidence": CONFIDENCE,
        "noise": {
            "sd": noise.sd,
            "source": noise.source,
            "degrees_of_freedom": _finite(noise.degrees),
        },
        "networks": rows,
        "other_recipes": [
            row | {"recipe": other.name, "epochs": other.epochs}
            for other, row in every
            if other != _any_rate(recipe)
        ],
        "differences": _differences(rows, noise),
        "short_schedule": _short_schedule(searched, noise),
    }
    write_json(folder / SUMMARY, summary)
    return summary


def read_summary(folder: Path) -> dict[str, Any] | None:
    """The `summary.json` of a `retrained` folder; None where there is none or it is damaged."""
    try:
        summary: dict[str, Any] = json.loads((folder / SUMMARY).read_bytes())
    except (OSError, ValueError):
        return None
    return summary if summary.get("schema_version") == SCHEMA_VERSION else None


def _rows(front: FrontFile, folder: Path) -> list[tuple[Recipe, Row]]:
    """A row for each network and recipe, and the recipe with a learning rate of 1."""
    short = {entry.arch_id: entry for entry in front.architectures}
    by_network: dict[tuple[str, str], list[tuple[Recipe, Row]]] = {}
    for path in sorted([*folder.glob(f"*/{METRICS}"), *folder.glob(f"*/seed-*/{METRICS}")]):
        description = read_description(path.parent)
        metrics = json.loads(path.read_text())
        if (
            description.dataset["fingerprint"] != front.dataset["fingerprint"]
            or not (path.parent / DESCRIPTION).exists()
            or "family" not in metrics
        ):
            continue
        metrics["learning_rate"] = description.recipe["learning_rate"]
        metrics["arch"] = description.arch
        recipe = _any_rate(Recipe.model_validate(description.recipe))
        key = metrics["network"], recipe.model_dump_json()
        by_network.setdefault(key, []).append((recipe, metrics))
    rows = []
    for (name, _), found in by_network.items():
        recipe = found[0][0]
        runs = sorted((run for _, run in found), key=lambda run: int(run["seed"]))
        first, entry = runs[0], short.get(name)
        tests = [run["test_accuracy"] for run in runs]
        row = {
            "name": name,
            "family": first["family"],
            "of": first["of"],
            "arch": None if first["arch"] is None else str(Arch.from_dict(first["arch"])),
            "macs": first["macs"],
            "params": first["params"],
            "learning_rate": first["learning_rate"],
            "seeds": len(runs),
            "test_accuracy": mean(tests),
            "test_accuracies": tests,
            "val_accuracy": mean(run["val_accuracy"] for run in runs),
            "short_accuracy": entry and entry.accuracy,
            "hours": sum(run["seconds"] for run in runs) / 3600,
            "test_images": first.get("independent_images", first["test_images"]),
        }
        rows.append((recipe, row))
    return sorted(
        rows, key=lambda one: (one[1]["family"] != SEARCHED, one[1]["family"], one[1]["macs"])
    )


def _any_rate(recipe: Recipe) -> Recipe:
    """The recipe without its learning rate, for comparisons."""
    return recipe.model_copy(update={"learning_rate": 1.0})


def _differences(rows: list[Row], noise: Noise) -> list[Row]:
    """Accuracy of a searched network minus a reference's: of its twin's own, else the nearest."""
    searched = [row for row in rows if row["family"] == SEARCHED]
    differences = []
    for row in rows:
        if row["family"] == SEARCHED or not searched:
            continue
        own = [one for one in searched if one["name"] == row["of"]]
        near = own or [min(searched, key=lambda one: abs(math.log(one["macs"] / row["macs"])))]
        difference = near[0]["test_accuracy"] - row["test_accuracy"]
        half = noise.difference_half_width((near[0]["seeds"], row["seeds"]))
        differences.append(
            {
                "network": near[0]["name"],
                "reference": row["name"],
                "family": row["family"],
                "macs_ratio": row["macs"] / near[0]["macs"],
                "difference": difference,
                "low": difference - half,
                "high": difference + half,
            }
        )
    return differences


def _short_schedule(searched: list[Row], noise: Noise) -> dict[str, Any] | None:
    """Rank correlations and non-dominated networks; the rows get what concerns one network."""
    if not searched:
        return None
    means = [row["test_accuracy"] for row in searched]
    seeds = [row["seeds"] for row in searched]
    stay = remaining([row["macs"] for row in searched], means, seeds, noise)
    ties = not_significantly_different(means, seeds, noise)
    for row, stays, probability, others in zip(
        searched, stay.stays, stay.probability, ties, strict=True
    ):
        row["non_dominated"], row["non_dominated_probability"] = stays, probability
        row["not_told_apart_from"] = [searched[j]["name"] for j in others]
    known = [row for row in searched if row["short_accuracy"] is not None]
    ranks = rank_correlations(
        [row["short_accuracy"] for row in known], [row["test_accuracy"] for row in known]
    )
    return {
        "networks": len(searched),
        "ranks": ranks and {name: asdict(rank) for name, rank in ranks.items()},
        "non_dominated": sum(stay.stays),
        "non_dominated_low": stay.low,
        "non_dominated_high": stay.high,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
