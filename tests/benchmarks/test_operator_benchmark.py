"""The operator's benchmark: that its versions are one function, and how it counts."""

import pytest
import torch
from torch import nn

from benchmarks import operator
from nas.models import DCT
from nas.models.native import build as kernels

pytestmark = pytest.mark.skipif(not kernels.available(), reason="no C++ compiler")


def test_all_versions_compute_the_same():
    torch.manual_seed(0)
    dct = DCT(4, 2, 3).double()
    x = torch.randn(3, 4, 5, 5, dtype=torch.float64)
    results = [
        version(x.contiguous(memory_format=layout), dct, nn.BatchNorm2d(8).double())
        for version, layout in operator.OPERATORS.values()
    ]
    for result in results[1:]:
        torch.testing.assert_close(result, results[0])


def test_memory_of_the_operator_is_at_most_0_7_of_the_plain_versions():
    """Bytes do not depend on the machine, so the target is tested here, on one of its shapes."""
    rows = operator.measure([(128, 16)], [2, 8], batch=16, repetitions=1)
    assert [(row.what, row.p) for row in rows] == [
        ("operator", 2),
        ("operator", 8),
        ("block", 2),
        ("block", 8),
    ]
    for row in rows[:2]:
        wide = 16 * 128 * 16 * 16 * 4
        assert wide < row.peak_bytes["fused"] < 2 * wide
        assert row.memory <= 0.7
    assert all(seconds > 0 for row in rows for seconds in row.seconds.values())


def test_peak_counts_what_is_held_at_once():
    def run() -> None:
        one = torch.zeros(1000, dtype=torch.float64)
        del one
        pair = torch.zeros(250, dtype=torch.float64), torch.zeros(250, dtype=torch.float64)
        del pair

    assert 8000 <= operator.peak_bytes(run) < 8200


def test_report_compares_with_the_fastest_other_version():
    seconds = {"repeat, NCHW": 4.0, "repeat, channels-last": 6.0, "modules, NCHW": 3.0}
    peaks = {"repeat, NCHW": 100, "modules, NCHW": 80, "fused": 40}
    rows = [
        operator.Row("operator", 64, 32, 2, {**seconds, "fused": 1.0}, peaks),
        operator.Row("operator", 64, 32, 8, {**seconds, "fused": 2.0}, peaks),
    ]
    block = operator.Row("block", 64, 32, 8, {"modules, NCHW": 6.0, "fused": 3.0}, peaks)
    report = operator.report([*rows, block], operator.Start(5.0, 0.1))
    assert [row["speedup"] for row in report["rows"]] == [3.0, 1.5, 2.0]
    assert report["rows"][0]["memory"] == 0.5
    assert report["speedup"] == pytest.approx({"operator": 4.5**0.5, "block": 2.0})


@pytest.mark.slow
def test_compiling_takes_longer_than_loading():
    start = operator.start_times()
    assert 0 < start.warm < start.cold
