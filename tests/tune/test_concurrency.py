"""How many trials fit at once."""

from __future__ import annotations

from typing import Any

import pytest

from nas.tune import run as module
from nas.tune.run import Resources, fit_concurrency


@pytest.mark.parametrize(
    ("cpus", "gpus", "cpus_each", "gpus_each", "fitting"),
    [
        (2, 0, 1, 0, 2),
        (1, 0, 0.1, 0, 10),  # 1 // 0.1 is 9
        (16, 1, 1, 0.2, 5),
        (16, 4, 1, 0.3, 12),  # three on each GPU, whatever is left over
        (16, 4, 1, 2, 2),
        (2, 4, 1, 0.25, 2),
    ],
)
def test_what_fits(
    monkeypatch: pytest.MonkeyPatch, cpus: int, gpus: int, cpus_each: float, gpus_each: float,
    fitting: int,
) -> None:  # fmt: skip
    there: dict[str, Any] = {"CPU": float(cpus), "GPU": float(gpus)}
    monkeypatch.setattr(module.ray, "cluster_resources", lambda: there)
    assert fit_concurrency(Resources(None, cpus_each, gpus_each, None)) == fitting
    assert fit_concurrency(Resources(1, cpus_each, gpus_each, None)) == 1
    with pytest.raises(ValueError, match=f"accepted: at most {fitting} such trials"):
        fit_concurrency(Resources(fitting + 1, cpus_each, gpus_each, None))


@pytest.mark.parametrize(
    ("cpus_each", "gpus_each", "names"),
    [(4, 0, "--cpus-per-trial 4"), (1, 1, "--gpus-per-trial 1")],
)
def test_a_trial_that_does_not_fit_names_the_option(
    monkeypatch: pytest.MonkeyPatch, cpus_each: float, gpus_each: float, names: str
) -> None:
    monkeypatch.setattr(module.ray, "cluster_resources", lambda: {"CPU": 2.0})
    with pytest.raises(ValueError, match=f"^{names}: "):
        fit_concurrency(Resources(None, cpus_each, gpus_each, None))
