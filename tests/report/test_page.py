from __future__ import annotations

import html.parser
import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from nas.data import DatasetInfo
from nas.report.analysis import read_study
from nas.report.draw import draw
from nas.report.page import render, write_report
from nas.report.plots import front_figure
from nas.space.arch import table2_arch
from nas.space.cost import layer_costs
from nas.space.space import SearchSpace
from nas.study.config import StudyConfig
from nas.study.objectives import Objectives

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
        if tag not in ("meta", "link"):
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
    anchors = {link[1:] for link in page.links if link.startswith("#")}
    assert (
        anchors == {f"arch-{i}" for i in found.front["arch_id"]} if found.members else not anchors
    )
    assert set(plots(text)) <= set(page.ids)


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
    hovers = " ".join(text for trace in traces.values() for text in trace["text"])
    assert all(arch_id in hovers for arch_id in found.trials["arch_id"])
    assert "FLOPs (multiply-adds)" in hovers


HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>\u2028&amp;"


def test_heights_are_errors_and_labels_accuracies(
    synthetic_study: SyntheticStudy, tiny_config: StudyConfig
) -> None:
    """Also where a network makes no error, which a logarithm cannot show."""
    found = read_study(synthetic_study(tiny_config, 60), tiny_config)
    perfect = found.front.iloc[-1]["arch_id"]
    found.trials.loc[found.trials["arch_id"] == perfect, "accuracy"] = 1.0
    figure = front_figure(found)
    low, high = (10**end for end in reversed(figure.layout.yaxis.range))
    drawn = {}
    for trace in figure.data:
        if trace.yaxis != "y2":
            assert all(low <= y <= high for y in trace.y)
            drawn |= dict(zip(trace.customdata or (), trace.y, strict=True))
    accuracies = found.trials.set_index("arch_id")["accuracy"]
    assert len(drawn) > 40
    for arch_id, height in drawn.items():
        if arch_id != perfect:
            assert height == pytest.approx(100 * (1 - accuracies[arch_id]), abs=1e-3)
    assert 0 < drawn[perfect] < min(h for name, h in drawn.items() if name != perfect)
    axis = figure.layout.yaxis
    assert [100 - float(text) for text in axis.ticktext] == pytest.approx(list(axis.tickvals))


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
    failed = next(t for t in plots(text)["front"]["data"] if t["name"] == "failed")
    assert "<img" not in failed["text"][0]


def test_costs_are_called_by_their_full_name(
    synthetic_study: SyntheticStudy, tiny_config: StudyConfig
) -> None:
    text = Page(render(read_study(synthetic_study(tiny_config, 60), tiny_config))).text
    assert "FLOPs (multiply-adds)" in text
    assert not re.search(r"\bFLOPs\b(?! \(multiply-adds\))", text)
    assert "MACs" not in text


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
