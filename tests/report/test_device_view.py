"""The view of a device: fits or not, by how much, and which layer is the peak."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from xml.etree import ElementTree

import optuna

from nas.report.analysis import read_study
from nas.report.device_view import describe_fit, draw_memory, memory_lines
from nas.report.page import render
from nas.space.arch import Arch
from nas.space.cost import cost
from nas.space.devices import Device
from nas.space.limits import Limits
from nas.space.memory import layer_peaks
from nas.study.config import StudyConfig
from nas.study.objectives import Objectives


def test_it_says_by_how_much_a_network_fits_or_does_not(
    tiny_config: StudyConfig, tiny_arch: Arch
) -> None:
    dataset = tiny_config.dataset
    sizes = (dataset.image_size, dataset.in_channels, dataset.num_classes)
    counted = cost(tiny_arch, *sizes)
    exact = Device("exact", "Exact", counted.memory, counted.flash, "")
    assert describe_fit(tiny_arch, dataset, exact).startswith("fits Exact: int8 memory")
    assert describe_fit(tiny_arch, dataset, exact).count("(100 %)") == 2
    small = replace(exact, ram=counted.memory - 1, flash=None)
    text = describe_fit(tiny_arch, dataset, small)
    assert text.startswith("does not fit Exact")
    assert "1 B too much" in text
    peaks, lines = layer_peaks(tiny_arch, *sizes), memory_lines(tiny_arch, dataset)
    largest = max(range(len(peaks)), key=lambda i: peaks[i].memory)
    assert next(i for i, line in enumerate(lines) if "peak" in line) == largest
    svg = ElementTree.fromstring(draw_memory(tiny_arch, dataset, exact))
    assert len([one for one in svg.iter() if one.tag.endswith("rect")]) == len(peaks)
    assert len([one for one in svg.iter() if one.tag.endswith("line")]) == 2


def test_the_report_shows_it_where_memory_counts(
    tiny_config: StudyConfig, synthetic_study: Callable[..., optuna.Study]
) -> None:
    plain = render(read_study(synthetic_study(tiny_config, 30), tiny_config))
    assert "int8 memory of each layer" not in plain
    device = replace(
        tiny_config,
        objectives=Objectives(("accuracy", "macs", "memory")),
        limits=Limits(max_memory=2**18, max_flash=2**20, device="stm32f412"),
    )
    page = render(read_study(synthetic_study(device, 30), device))
    assert "int8 memory of each layer" in page
    assert "fits STM32F412" in page
    assert "Accuracy over int8 memory" in page
    assert "--device stm32f412" in page
