from __future__ import annotations

import html
import html.parser
import json
import re
import shlex
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import scipy.stats
from optuna_dashboard import get_note

from nas.data import DatasetInfo
from nas.report.analysis import read_study
from nas.report.dashboard import annotate_study
from nas.report.draw import draw
from nas.report.front_plot import front_figure
from nas.report.page import render, write_report
from nas.report.running_report import RunningReport
from nas.space.arch import table2_arch
from nas.space.cost import layer_costs
from nas.space.space import SearchSpace
from nas.study.config import StudyConfig, stored_config
from nas.study.front import front
from nas.study.front_file import load_front
from nas.study.objectives import Objectives
from nas.study.storage.optuna_private import trial_handle

SyntheticStudy = Callable[..., optuna.Study]

KINDS = {
    "empty": {"trials": 0},
    "one trial": {"trials": 1, "stopped": 0, "failed": 0},
    "failed only": {"trials": 12, "failed": 1},
    "stopped only": {"trials": 12, "failed": 0, "stopped": 1},
    "two trials": {"trials": 2, "stopped": 0, "failed": 0},
    "few": {"trials": 12},
    "many": {"trials": 120},
}


class Page(html.parser.HTMLParser):
    """What a page holds: elements that are open at the end, ids, links, scripts, text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in ("meta", "link", "input"):
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src"):
                self.links.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def plots(text: str) -> dict[str, dict[str, object]]:
    """The figures' data, as the page's script gets it."""
    body = text.split("const PLOTS = {", 1)[1].split("\n};", 1)[0]
    return json.loads("{" + body.strip().rstrip(",") + "}")


def trials(text: str) -> dict[str, Any]:
    """The table of trials, as the page's script gets it."""
    return json.loads(text.split("const TRIALS = ", 1)[1].split(";\n", 1)[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("names", [("accuracy", "macs"), ("accuracy", "params", "latency")])
def test_every_kind_of_study_gets_a_report(
    synthetic_study: SyntheticStudy, tiny_config: StudyConfig, kind: str, names: tuple[str, ...]
) -> None:
    config = replace(tiny_config, objectives=Objectives(names))
    found = read_study(synthetic_study(config, **KINDS[kind]), config)
    text = render(found)
    page = Page(text)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert "nan" not in page.text.lower().replace("finance", "").split()
    assert "None" not in page.text
    drawn = {one.removeprefix("arch-") for one in page.ids if one.startswith("arch-")}
    assert drawn == {member.attributes["arch_id"] for member in found.members}
    assert set(plots(text)) <= set(page.ids)
    table = trials(text)
    assert [row["number"] for row in table["rows"]] == found.trials["number"].tolist()
    assert {row["id"] for row in table["rows"] if "retrain" in row} == drawn


def test_the_file_needs_nothing_else(
    synthetic_study: SyntheticStudy, tiny_config: StudyConfig, tmp_path: Path
) -> None:
    path = write_report(synthetic_study(tiny_config, 30), tiny_config, tmp_path / "study")
    assert path == tmp_path / "study" / "report.html"
    page = Page(path.read_text())
    assert [link for link in page.links if not link.startswith(("#", "data:"))] == []
    assert "default-src 'none'" in path.read_text()


def test_the_front_plot_holds_every_trial(
    synthetic_study: SyntheticStudy, tiny_config: StudyConfig
) -> None:
    study = synthetic_study(tiny_config, 100)
    found = read_study(study, tiny_config)
    traces = {t["name"]: t for t in plots(render(found))["front"]["data"]}
    points = {name: len(trace["x"]) for name, trace in traces.items()}
    assert points["finished"] + points["front"] == len(found.finished)
    assert points["stopped"] == len(found.of_state("stopped"))
    assert points["failed"] == len(found.of_state("failed"))
    assert points["knee"] == 1
    assert points["front, as measured"] == points["front"]
    hovers = " ".join(text for trace in traces.values() for text in trace.get("text", ()))
    assert all(arch_id in hovers for arch_id in found.trials["arch_id"])
    assert "FLOPs (multiply-adds)" in hovers


HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>\u2028&amp;"


def test_heights_are_errors_and_labels_accuracies(
    synthetic_study: SyntheticStudy, tiny_config: StudyConfig
) -> None:
    """Also where a network makes no error, which a logarithm cannot show."""
    found = read_study(synthetic_study(tiny_config, 60), tiny_config)
    perfect = int(found.front.iloc[-1]["number"])
    found.trials.loc[perfect, "accuracy"] = 1.0
    figure = front_figure(found)
    low, high = (10**end for end in reversed(figure.layout.yaxis.range))
    drawn = {}
    for trace in figure.data:
        if trace.yaxis != "y2":
            assert all(low <= y <= high for y in trace.y)
        if trace.name in ("finished", "stopped", "front, as measured"):
            drawn |= dict(zip(trace.customdata or (), trace.y, strict=True))
    accuracies = found.trials["accuracy"]
    assert len(drawn) > 40
    for number, height in drawn.items():
        if number != perfect:
            assert height == pytest.approx(100 * (1 - accuracies[number]), abs=1e-3)
    assert 0 < drawn[perfect] < min(h for number, h in drawn.items() if number != perfect)
    axis = figure.layout.yaxis
    assert [100 - float(text) for text in axis.ticktext] == pytest.approx(list(axis.tickvals))


def bars(trace: dict[str, Any]) -> dict[int, list[float]]:
    """The ends of a trace's bars as accuracies, by trial."""
    columns = (
        trace["customdata"],
        trace["y"],
        *(trace["error_y"][k] for k in ("array", "arrayminus")),
    )
    return {n: [1 - (y + up) / 100, 1 - (y - down) / 100]
            for n, y, up, down in zip(*columns, strict=True)}  # fmt: skip


def test_the_front_is_drawn_at_its_estimates_with_their_intervals(
    synthetic_study: SyntheticStudy, tiny_config: StudyConfig
) -> None:
    study = synthetic_study(tiny_config, 60)
    study.set_user_attr("val_images", 300)
    found = read_study(study, tiny_config)
    text = render(found)
    drawn = plots(text)["front"]["data"]
    front = next(trace for trace in drawn if trace["name"] == "front")
    rows = {row["number"]: row for row in trials(text)["rows"]}
    assert {n for n, row in rows.items() if "estimate" in row} == set(found.finished["number"])
    for number, (low, high) in bars(front).items():
        estimate = found.estimates[number]
        assert (low, high) == pytest.approx(estimate.interval, abs=1e-4)
        assert rows[number]["interval"] == pytest.approx(estimate.interval)
        assert rows[number]["estimate"] == pytest.approx(estimate.accuracy, abs=1e-6)
        assert rows[number]["onFront"] == estimate.on_front
    for number, y in zip(front["customdata"], front["y"], strict=True):
        assert 1 - y / 100 == pytest.approx(found.estimates[number].accuracy, abs=1e-5)
    words = Page(text).text
    assert "bars are their 95 % intervals" in words
    assert "are expected to be on the front" in words


def test_with_too_few_trials_the_bars_are_binomial_noise(
    synthetic_study: SyntheticStudy, tiny_config: StudyConfig
) -> None:
    study = synthetic_study(tiny_config, 3, stopped=0, failed=0)
    study.set_user_attr("val_images", 300)
    found = read_study(study, tiny_config)
    text = render(found)
    front = next(t for t in plots(text)["front"]["data"] if t["name"] == "front")
    for number, ends in bars(front).items():
        accuracy = found.trials.loc[number, "accuracy"]
        right = round(accuracy * 300)
        exact = scipy.stats.binomtest(right, 300).proportion_ci(0.95, method="wilson")
        assert ends == pytest.approx([exact.low, exact.high], abs=0.01)
    words = Page(text).text
    assert "binomial noise of 300 images" in words
    assert "estimates, which take" not in words


def test_nothing_is_said_of_bars_that_are_not_there(
    synthetic_study: SyntheticStudy, tiny_config: StudyConfig
) -> None:
    text = render(read_study(synthetic_study(tiny_config, 3, stopped=0, failed=0), tiny_config))
    assert not any("interval" in row for row in trials(text)["rows"])
    assert "error_y" not in json.dumps(plots(text)["front"])
    assert not re.search(r"[Bb]ars|interval", Page(text).text)


@pytest.mark.parametrize("folder", ["plain", "two words", "it's $HOME; rm -rf `x`"])
def test_commands_can_be_pasted(
    synthetic_study: SyntheticStudy, tiny_config: StudyConfig, tmp_path: Path, folder: str
) -> None:
    study = synthetic_study(tiny_config, 20)
    home = tmp_path / folder
    text = write_report(study, tiny_config, home).read_text()
    for row in trials(text)["rows"]:
        if "retrain" in row:
            words = shlex.split(row["retrain"])
            assert words == ["nas", "retrain", str(home / "front.json"), "--select", row["id"]]
            assert html.unescape(text).count(row["retrain"]) >= 1


def test_the_command_that_repeats_a_search_has_its_limits_of_latency(
    synthetic_study: SyntheticStudy, tiny_config: StudyConfig
) -> None:
    limits = replace(tiny_config.limits, max_latency=0.0025, max_macs=4_000_000)
    config = replace(tiny_config, limits=limits, latency_backend="onnxruntime", machine="m")
    text = html.unescape(render(read_study(synthetic_study(tiny_config, 5), config)))
    assert "--max-macs 4000000 --max-latency 2.5ms --latency-backend onnxruntime" in text


def test_only_the_page_of_a_running_search_reloads(
    synthetic_study: SyntheticStudy, tiny_config: StudyConfig
) -> None:
    found = read_study(synthetic_study(tiny_config, 10), tiny_config)
    assert "running" in Page(render(found, running=True)).ids
    assert "running" not in Page(render(found)).ids


def test_a_running_search_writes_its_report_now_and_then(
    synthetic_study: SyntheticStudy, tiny_config: StudyConfig, tmp_path: Path
) -> None:
    study = synthetic_study(tiny_config, 10)
    with RunningReport(study, tiny_config, tmp_path) as report:
        first = report._thread
        report.update()  # too early
        assert report._thread is first
    text = (tmp_path / "report.html").read_text()
    assert len(trials(text)["rows"]) == 10
    assert "running" in Page(text).ids
    assert len(load_front(tmp_path / "front.json").architectures) == len(
        read_study(study, tiny_config).members
    )


def test_a_report_that_cannot_be_written_does_not_end_the_search(
    synthetic_study: SyntheticStudy, tiny_config: StudyConfig, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    (tmp_path / "file").write_text("")
    with RunningReport(synthetic_study(tiny_config, 3), tiny_config, tmp_path / "file"):
        pass
    assert "was not written" in caplog.text


def test_names_and_reasons_are_text(
    synthetic_study: SyntheticStudy, tiny_config: StudyConfig
) -> None:
    config = replace(
        tiny_config,
        dataset=replace(tiny_config.dataset, name=HOSTILE),
        space=SearchSpace(tiny_config.space.schema, HOSTILE),
    )
    study = synthetic_study(config, 60, name=HOSTILE, reason=HOSTILE, failed=0.3)
    text = render(read_study(study, config))
    page = Page(text)
    assert page.open == []
    assert "img" not in page.tags
    assert text.count("<script") == 2 + text.split("<script>", 2)[1].count("<script")
    shown = page.text
    assert shown.count("<img src=x onerror=alert(1)>") >= 4
    assert "<" not in text.split("const PLOTS", 1)[1].split("const RELOAD", 1)[0]
    failed = next(t for t in plots(text)["front"]["data"] if t["name"] == "failed")
    assert "<img" not in failed["text"][0]


def test_costs_are_called_by_their_full_name(
    synthetic_study: SyntheticStudy, tiny_config: StudyConfig
) -> None:
    text = Page(render(read_study(synthetic_study(tiny_config, 60), tiny_config))).text
    assert "FLOPs (multiply-adds)" in text
    assert not re.search(r"\bFLOPs\b(?! \(multiply-adds\))", text)
    assert "MACs" not in text


def test_balanced_accuracy_is_called_so(
    synthetic_study: SyntheticStudy, tiny_config: StudyConfig
) -> None:
    """Wherever a person reads it; files and JSON keep the key."""
    recipe = tiny_config.recipe.model_copy(update={"metric": "balanced-accuracy"})
    config = replace(tiny_config, recipe=recipe)
    study = synthetic_study(config, 60)
    text = render(read_study(study, config))
    assert trials(text)["accuracy"] == "balanced accuracy"
    drawn = [plot["layout"]["yaxis"] for plot in plots(text).values() if "layout" in plot]
    axes = {axis["title"]["text"] for axis in drawn if "title" in axis}
    assert axes >= {"balanced accuracy (%), log scale of the error", "balanced accuracy (%)"}
    assert not any(axis.startswith("accuracy") for axis in axes)
    page = Page(text).text
    assert "Balanced accuracy over FLOPs" in page
    assert "Balanced accuracy on the validation split" in page
    annotate_study(study, read_study(study, config))
    assert "% balanced accuracy on the validation split" in get_note(
        trial_handle(study, front(study, config)[0].trial.number)
    )
    assert "`accuracy`: balanced accuracy (fraction)" in get_note(study)
    plain = Page(render(read_study(synthetic_study(tiny_config, 60), tiny_config))).text
    assert "alanced" not in plain


def test_accuracy_in_int8_is_called_so(
    synthetic_study: SyntheticStudy, tiny_config: StudyConfig
) -> None:
    config = replace(tiny_config, quantized=True)
    study = synthetic_study(config, 60)
    stored = stored_config(study)
    assert stored is not None
    assert stored.quantized
    text = render(read_study(study, stored))
    assert trials(text)["accuracy"] == "int8 accuracy"
    page = Page(text).text
    assert re.search(r"epochs, int8 accuracy · sampler", page)
    assert re.search(r"nas search .* --quantized ", page)
    plain = Page(render(read_study(synthetic_study(tiny_config, 60), tiny_config))).text
    assert "int8 accuracy" not in plain
    assert "--quantized" not in plain


def test_reports_agree_with_the_same_seed(
    synthetic_study: SyntheticStudy, tiny_config: StudyConfig
) -> None:
    first, second = (
        render(read_study(synthetic_study(tiny_config, 80), tiny_config)) for _ in "ab"
    )
    assert first == second


def test_a_thousand_trials_stay_under_8_megabytes(
    synthetic_study: SyntheticStudy, tiny_config: StudyConfig, tmp_path: Path
) -> None:
    config = replace(tiny_config, space=SearchSpace.from_yaml("search_spaces/dyclotnet.yaml"))
    path = write_report(synthetic_study(config, 1000), config, tmp_path)
    assert path.stat().st_size < 8e6


@pytest.mark.slow
def test_ten_thousand_trials_are_written_in_20_seconds(
    synthetic_study: SyntheticStudy, tiny_config: StudyConfig, tmp_path: Path
) -> None:
    config = replace(tiny_config, space=SearchSpace.from_yaml("search_spaces/dyclotnet.yaml"))
    study = synthetic_study(config, 10_000)
    start = time.process_time()
    write_report(study, config, tmp_path)
    assert time.process_time() - start < 20


@pytest.mark.parametrize("alpha", [0.25, 1, 2])
def test_a_drawing_has_a_bar_for_each_block(digits_info: DatasetInfo, alpha: float) -> None:
    arch = table2_arch(alpha)
    svg = draw(arch, digits_info)
    assert Page(svg).open == []
    blocks = sum(stage.repeats for stage in arch.stages)
    assert svg.count('rx="2"') == blocks + 2  # stem and classifier
    shares = [int(share) for share in re.findall(r">(\d+) %<", svg)]
    layers = layer_costs(arch, 8, 1, 10)
    stage3 = sum(layer.macs for layer in layers if layer.name.startswith("stages.2."))
    assert round(100 * stage3 / sum(layer.macs for layer in layers)) in shares
