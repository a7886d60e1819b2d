"""Numbers in the documents' tables are those of the files that they were made from."""

from __future__ import annotations

import json
import re

import pytest
from documents import README, ROOT

import nas
from benchmarks import docs_tables
from benchmarks.docs_tables import markdown, samplers, searches

TABLES = docs_tables.tables()


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_what_its_file_says(name: str) -> None:
    """Write them again with `python -m benchmarks.docs_tables`."""
    assert (markdown.TABLES / name).read_text() == TABLES[name]


def test_every_table_is_shown_and_made() -> None:
    pages = "".join(path.read_text() for path in (ROOT / "docs").rglob("*.md"))
    assert set(re.findall(r'--8<-- "tables/([\w-]+\.md)"', pages)) == TABLES.keys()
    assert {path.name for path in markdown.TABLES.iterdir()} == TABLES.keys()


def cells(text: str) -> list[list[str]]:
    """The rows of a Markdown table."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]


def test_the_readmes_differences_are_those_of_the_reference_run() -> None:
    heading, *rows = cells(TABLES["reference-differences.md"])
    means = {row[0].strip("*"): row[2:] for row in rows if row[0].startswith("**")}
    readme = [row for row in cells(README.read_text()) if row[0].startswith("mean of")]
    assert {row[0]: row[1:] for row in readme} == means
    assert "| " + " | ".join(heading[2:]) + " |" in README.read_text()


def test_the_readmes_searches_are_those_of_the_reference_run() -> None:
    rows = cells(TABLES["reference-searches.md"])[2:]
    *searches, pointwise = [float(row[4]) for row in rows]
    *without_cheapest, _ = [float(row[5]) for row in rows]
    readme = " ".join(README.read_text().split())
    assert f"{min(searches):.3f} to {max(searches):.3f} of the hypervolume" in readme
    assert f"the three have {min(without_cheapest):.3f} to {max(without_cheapest):.3f}" in readme
    assert f"a search without DCT {pointwise:.3f}" in readme
    minutes = f"{rows[0][1]} minutes"
    assert f"searched in {minutes}" in readme
    assert f"[{minutes} for 200 networks]" in (ROOT / "docs/index.md").read_text()


def test_the_readmes_hypervolumes_are_those_of_the_published_tables() -> None:
    rows = [
        row
        for file in samplers.SAMPLER_FILES
        for row in json.loads((markdown.BENCHMARKS / file).read_text())["rows"]
    ]

    def best(table: str, evaluations: int, names: set[str]) -> float:
        return max(
            row["median"]
            for row in rows
            if (row["table"], row["evaluations"]) == (table, evaluations)
            and row["sampler"] in names
        )

    def listed(values: list[float]) -> str:
        first, second, third = (f"{value:.3f}" for value in values)
        return f"{first}, {second} and {third}"

    ours = listed([best(table, 100, {"known-cost"}) for table in samplers.REAL])
    others = listed([best(table, 200, {"gp", "tpe", "nsga2"}) for table in samplers.REAL])
    botorch = listed([best(table, 200, {"botorch"}) for table in samplers.REAL])
    readme = " ".join(README.read_text().split())
    assert f"after 100 evaluations is {ours} in the median of 15 runs" in readme
    assert f"After 200, the best of Optuna's samplers has {others}, qLogNEHVI" in readme
    assert f"5 runs) {botorch}." in readme


def test_the_readmes_ratios_are_those_of_whole_searches() -> None:
    name = searches.WHOLE_SEARCHES["Fashion-MNIST"]
    file = json.loads((markdown.BENCHMARKS / name).read_text())
    medians, setting = file["medians"], file["setting"]
    readme = " ".join(README.read_text().split())
    assert setting["dataset"] == "fashion-mnist"
    assert f"On Fashion-MNIST, with {setting['budget']} trials of a compact space" in readme
    assert f"{medians['baseline_ratio']:.1f} times sooner, and that of a careful baseline" in readme
    assert f"{medians['careful_ratio']:.1f} times sooner, in the median of 3 seeds" in readme
    assert len(file["summary"]) == 3


def test_the_reference_lists_every_public_name() -> None:
    page = (ROOT / "docs/reference/index.md").read_text()
    assert set(re.findall(r"`nas\.(\w+)`\]", page)) == set(nas.__all__) - {"__version__"}
