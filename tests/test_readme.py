"""Every command and Python example of the README works, with a smaller budget and the digits."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import fmean, geometric_mean, median, stdev
from typing import Any

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
QUICK = ["--dataset", "digits", "--epochs", "1", "--train-images", "200"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """Lines of the shell blocks, continued ones joined, without comments."""
    lines = "\n".join(blocks("sh")).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def python_commands(runner: str) -> list[list[str]]:
    """Arguments of the commands that call a runner."""
    found = []
    for line in commands():
        words = shlex.split(line)
        if f"runners/{runner}.py" in words:
            found.append(words[words.index(f"runners/{runner}.py") + 1 :])
    return found


def needs_more_than_this_machine(arguments: list[str]) -> bool:
    return any(
        word in arguments for word in ("--ray-address", "--gpus-per-trial", "cifar10")
    ) or any("postgresql" in word for word in arguments)


def with_option(arguments: list[str], option: str, value: str) -> list[str]:
    if option in arguments:
        index = arguments.index(option)
        arguments = arguments[:index] + arguments[index + 2 :]
    return [*arguments, option, value]


def run(folder: Path, runner: str, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "runners" / f"{runner}.py"), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh folder with the spaces, as a clone has them, and one finished small study."""
    fresh = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "search_spaces", fresh / "search_spaces")
    reference = "results/reference-fashion-mnist"
    shutil.copytree(ROOT / reference, fresh / reference)
    small = ["--space", "search_spaces/tiny.yaml", *QUICK, "--budget", "4", "--study", "shared"]
    ran = run(fresh, "search", small)
    assert ran.returncode == 0, ran.stderr
    return fresh


def quick_search(arguments: list[str]) -> list[str]:
    for option, value in (("--budget", "2"), *zip(QUICK[::2], QUICK[1::2], strict=True)):
        arguments = with_option(arguments, option, value)
    if "--space" not in arguments:
        arguments = with_option(arguments, "--max-macs", "200K")
    return with_option(arguments, "--study", "readme" + str(abs(hash(tuple(arguments))) % 10**6))


def test_the_readme_has_commands() -> None:
    assert python_commands("search")
    assert python_commands("retrain")


@pytest.mark.parametrize("arguments", python_commands("search"), ids=" ".join)
def test_search_commands(folder: Path, arguments: list[str]) -> None:
    if needs_more_than_this_machine(arguments):
        ran = run(folder, "search", ["--help"])
        options = {word for word in arguments if word.startswith("--")}
        assert not [option for option in options if option not in ran.stdout]
        return
    ran = run(folder, "search", quick_search(arguments))
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("arguments", python_commands("retrain"), ids=" ".join)
def test_retrain_commands(folder: Path, arguments: list[str]) -> None:
    changed = ["results/shared/front.json", *arguments[1:]]
    ran = run(folder, "retrain", with_option(changed, "--epochs", "1"))
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("runner", ["report", "status"])
def test_commands_on_a_study(folder: Path, runner: str) -> None:
    for arguments in python_commands(runner):
        changed = [re.sub(r"^results/[\w.-]+", "results/shared", word) for word in arguments]
        ran = run(folder, runner, changed)
        assert ran.returncode == 0, ran.stderr


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {w for line in commands() if line.startswith("make ") for w in line.split()[1:2]}
    assert named
    assert named <= targets


@pytest.mark.parametrize("arguments", python_commands("benchmark"), ids=" ".join)
def test_benchmark_commands_are_known(folder: Path, arguments: list[str]) -> None:
    ran = run(folder, "benchmark", [arguments[0], "--help"])
    assert ran.returncode == 0, ran.stderr
    options = {word for word in arguments if word.startswith("--")}
    assert not [option for option in options if option not in ran.stdout]


@pytest.mark.parametrize("index", range(len(blocks("python"))))
def test_python_examples(folder: Path, index: int) -> None:
    retrained = next((folder / "results/shared/retrained").glob("*/arch.json"), None)
    if retrained is None:
        ran = run(folder, "retrain", ["results/shared/front.json", "--epochs", "1"])
        assert ran.returncode == 0, ran.stderr
        retrained = next((folder / "results/shared/retrained").glob("*/arch.json"))
    Image.new("RGB", (40, 30), "white").save(folder / "image.png")
    code = blocks("python")[index]
    code = re.sub(r"results/[\w.-]+/retrained/ARCH_ID", str(retrained.parent), code)
    code = re.sub(r"results/[\w.-]+/front.json", "results/shared/front.json", code)
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=600
    )
    assert ran.returncode == 0, ran.stderr


def test_sampler_figures_are_those_of_the_file() -> None:
    rows = json.loads((ROOT / "results/benchmarks/sampler.json").read_text())["rows"]
    told = re.findall(
        r"^\| ([\w -]+) \| ([\w-]+) \((\d+)\) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| (\d+) \|$",
        README,
        re.MULTILINE,
    )
    assert {table for table, *_ in told} == {row["table"] for row in rows}
    for table, sampler, seeds, *medians, ms in told:
        found = [row for row in rows if (row["table"], row["sampler"]) == (table, sampler)]
        assert {row["seeds"] for row in found} == {int(seeds)}
        assert f"{found[0]['ms_per_ask']:.0f}" == ms
        measured = [row["median"] for row in found if row["evaluations"] in (50, 100, 200)]
        assert [f"{median:.3f}" for median in measured] == medians


def test_sampler_comparisons_are_those_of_the_file() -> None:
    rows = json.loads((ROOT / "results/benchmarks/sampler.json").read_text())["rows"]
    at = {(row["table"], row["sampler"], row["evaluations"]): row["median"] for row in rows}
    ms = {(row["table"], row["sampler"]): row["ms_per_ask"] for row in rows}
    tables = {row["table"]: row["table"].startswith("full") for row in rows}
    best = {name: max(at[name, s, 200] for s in ("gp", "tpe", "nsga2")) for name in tables}
    left = {name: (1 - at[name, "known-cost", 200]) / (1 - best[name]) for name in tables}
    of_tables = [left[name] for name, full in tables.items() if not full]
    (of_full,) = (left[name] for name, full in tables.items() if full)
    text = " ".join(README.split())
    told = f"{min(of_tables):.0f} to {max(of_tables):.2f} of (1 - hypervolume) after 200"
    assert f"{told}, {of_full:.2f} on the full space" in text
    ahead = {name: at[name, "known-cost", 100] - best[name] for name in tables}
    (level,) = (name for name in tables if ahead[name] <= 0)
    assert f"four of the five, and level with it on `{level}`" in text
    assert ahead[level] == 0
    peers = [name for name in tables if (name, "botorch") in ms]
    ratios = [(1 - at[n, "known-cost", 200]) / (1 - at[n, "botorch", 200]) for n in peers]
    times = [ms[name, "known-cost"] / ms[name, "botorch"] for name in peers]
    told = f"{min(ratios):.0f} to {max(ratios):.2f}, at {min(times):.2f} to {max(times):.2f}"
    assert f"qLogNEHVI it leaves {told} of its time" in text


def test_end_to_end_figures_are_those_of_the_file() -> None:
    file = json.loads((ROOT / "results/benchmarks/end-to-end.json").read_text())
    found, medians = file["summary"], file["medians"]

    def told(name: str, digits: int) -> list[str]:
        values = [medians[name], *(f(row[name] for row in found) for f in (min, max))]
        return [f"{value:.{digits}f}" for value in values]

    text = " ".join(README.split())
    middle, least, most = told("warm_faster", 0)
    assert f"{middle} times sooner ({least} to {most} times" in text
    assert f"{told('cold_faster', 0)[0]} times while the kernels" in text
    middle, least, most = told("kept", 3)
    assert f"keeps {middle} of the hypervolume ({least} to {most})" in text
    middle, least, most = told("trained", 2)
    assert f"with {middle} of the training seconds ({least} to {most})" in text
    assert (file["setting"]["budget"], len(found)) == (100, 3)


def test_schedule_figures_are_those_of_the_file() -> None:
    rows = json.loads((ROOT / "results/benchmarks/schedule.json").read_text())["summary"]
    text = " ".join(README.split())

    def with_interval(row: dict, name: str) -> str:
        low, high = row[f"{name}_interval"]
        return f"{row[name]:.2f} ({low:.2f} to {high:.2f})"

    (fashion,) = (row for row in rows if "short-cpu-subset" in row["schedule"])
    assert f"On Fashion-MNIST ({fashion['architectures']} architectures)" in text
    assert f"regressed out, is {with_interval(fashion, 'partial')}" in text
    assert f"two seeds {with_interval(fashion, 'seeds_partial')}" in text
    assert f"at {fashion['cost_ratio']:.1f} times less cost" in text
    (digits,) = (row for row in rows if "(short-cpu)" in row["schedule"])
    assert f"it is {digits['partial']:.2f} and {digits['seeds_partial']:.2f}:" in text


def test_operator_and_overhead_figures_are_those_of_the_files() -> None:
    text = " ".join(README.split())
    file = json.loads((ROOT / "results/benchmarks/operator.json").read_text())
    rows = [row for row in file["rows"] if row["what"] == "operator"]
    speedup = file["speedup"]
    assert f"is {speedup['operator']:.1f} times faster than the fastest plain form" in text
    assert f"(at least {min(row['speedup'] for row in rows):.1f} times)" in text
    assert f"at most {max(row['memory'] for row in rows):.2f} of the memory" in text
    assert f"whole blocks are {speedup['block']:.1f} times faster" in text
    file = json.loads((ROOT / "results/benchmarks/overhead.json").read_text())
    over, busy = file["seconds_over_the_floor"]["known-cost"], file["busy_share"]
    assert f"adds {over:.2f} s to each" in text
    assert f"{busy['known-cost']:.2f} of the slots are busy, {busy['bare Tuner']:.2f} with" in text
    opening = next(timing for timing in file["study"] if timing["operation"].startswith("open"))
    assert f"A study of {file['sizes']['stored']:,} trials in SQLite opens in" in text
    assert f"opens in {opening['seconds']:.1f} s" in text


def test_training_figures_on_a_gpu_are_those_of_the_file() -> None:
    runs = json.loads((ROOT / "results/benchmarks/training-gpu.json").read_text())["rows"]
    cases: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in runs:
        cases.setdefault((run["images"], run["arch"]), []).append(run)
    users, launched, higher = [], [], []
    for of_case in cases.values():
        versions = of_case[0]["seconds"]
        seconds = {name: median(run["seconds"][name] for run in of_case) for name in versions}
        best = min((name for name in seconds if name.startswith("user")), key=seconds.__getitem__)
        users.append(seconds[best] / seconds["ours"])
        launched.append(seconds["ours, kernel by kernel"] / seconds["ours"])
        accuracies = (run["accuracy"] for run in of_case)
        higher += [100 * (reached["ours"] - reached[best]) for reached in accuracies]
    text = " ".join(README.split())
    assert f"{len(runs)} runs: {len(cases)} comparisons, up to three seeds" in text
    assert {run["seed"] for run in runs} == {0, 1, 2}
    assert f"trains {geometric_mean(users):.1f} times as many images a second" in text
    assert f"({min(users):.1f} to {max(users):.1f} times)" in text
    assert f"{geometric_mean(launched):.1f} times as many as without the CUDA graph" in text
    error = stdev(higher) / len(higher) ** 0.5
    assert f"{fmean(higher):.1f} points higher (standard error {error:.1f})" in text
