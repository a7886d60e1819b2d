"""A study that measures latency belongs to one machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from nas.space.cost import cost
from nas.space.memory import operators
from nas.space.space import SearchSpace
from nas.study import latency_setting as module
from nas.study.config import StudyConfig, stored_config
from nas.study.latency_setting import smallest_networks
from nas.study.measurement import Measurement
from nas.study.plan import make_plan
from nas.study.request import Request
from nas.study.resources import ClusterResources, Node
from nas.study.storage.engine import open_storage, sqlite_url
from nas.study.storage.lock import lock_study
from nas.study.study import Candidate, SearchStudy
from nas.study.trial_state import trial_state
from nas.tune.search import _open

ROOT = Path(__file__).parents[2]
HERE = ClusterResources((Node(2),), 1)


@pytest.fixture
def request_for_latency(tmp_path: Path) -> Request:
    return Request(
        budget=3, space=ROOT / "search_spaces/tiny.yaml", dataset="digits", study="timed",
        results=tmp_path, objectives="accuracy,macs,latency",
    )  # fmt: skip


def begin(request: Request) -> StudyConfig:
    plan = make_plan(request, HERE)
    plan.folder.mkdir()
    study = optuna.create_study(
        storage=open_storage(plan.storage, create=True), study_name="timed",
        directions=plan.config.objectives.directions,
    )  # fmt: skip
    for key, value in plan.config.to_attributes().items():
        study.set_user_attr(key, value)
    recorded = stored_config(study)
    assert recorded is not None
    assert recorded.to_attributes() == plan.config.to_attributes()
    return plan.config


def test_another_machine_is_refused_in_one_line(
    request_for_latency: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = begin(request_for_latency)
    assert make_plan(request_for_latency, HERE).config.to_attributes() == config.to_attributes()
    with pytest.raises(ValueError, match=r"latencies .* 1 thread,.* in the study, .* 2 threads"):
        make_plan(replace(request_for_latency, cpus_per_trial=2), HERE)
    storage = open_storage(sqlite_url(request_for_latency.results / "timed" / "study.db"))
    before = str(config.machine).replace(" 1 thread,", " 1 threads,")  # as earlier versions said
    assert before != config.machine
    optuna.load_study(study_name="timed", storage=storage).set_user_attr("machine", before)
    assert make_plan(request_for_latency, HERE).config.machine == config.machine
    monkeypatch.setattr(module, "machine_identity", lambda *of: "another processor")
    with pytest.raises(
        ValueError, match=r"latencies .* in the study, this is another processor"
    ) as caught:
        make_plan(request_for_latency, HERE)
    assert "\n" not in str(caught.value)


def test_a_study_without_latency_moves_freely(
    request_for_latency: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = replace(request_for_latency, objectives="accuracy,macs")
    config = begin(request)
    assert config.machine is None
    monkeypatch.setattr(module, "machine_identity", lambda *of: "another processor")
    assert make_plan(request, HERE).config.to_attributes() == config.to_attributes()


def test_trials_that_measure_latency_have_a_gpu_alone(
    request_for_latency: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = ClusterResources((Node(16, 2),), trials_per_gpu=8)
    monkeypatch.setattr(module.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(module, "machine_identity", lambda *of: "a GPU")
    plan = make_plan(request_for_latency, cluster)
    assert (plan.gpus_per_trial, plan.concurrency) == (1, 2)
    shared = replace(request_for_latency, gpus_per_trial=0.5)
    with pytest.raises(ValueError, match=r"--gpus-per-trial 0\.5: .*latency; accepted: 1 with"):
        make_plan(shared, cluster)
    without = replace(request_for_latency, objectives="accuracy,macs")
    assert make_plan(without, cluster).gpus_per_trial == 0.125


def test_latencies_of_a_study_are_multiples_of_its_first_control(
    request_for_latency: Request,
) -> None:
    config = begin(request_for_latency)
    storage = open_storage(make_plan(request_for_latency, HERE).storage)

    def trained(ratio: float, control: float) -> optuna.trial.FrozenTrial:
        study = SearchStudy(
            optuna.load_study(study_name="timed", storage=storage), config, budget=3, seed=0
        )
        study.recover()
        candidate = study.ask()
        assert isinstance(candidate, Candidate)
        measured = Measurement(
            *(0.9, 8, 1.0, [(8, 0.9)]),
            latency_ratio=ratio,
            latency_noise=0.01,
            latency_control=control,
        )
        study.complete(candidate.number, measured)
        return study.study.trials[candidate.number]

    first = trained(2.0, 0.003)
    assert first.user_attrs["latency"] == first.values[2] == pytest.approx(0.006)
    # The machine is half as fast now, and the network as slow beside the control as the first.
    again = trained(2.0, 0.006)
    assert again.values[2] == pytest.approx(0.006)
    assert again.user_attrs["latency_noise"] == 0.01


def test_the_backend_is_stored_and_another_one_is_refused(request_for_latency: Request) -> None:
    pytest.importorskip("onnxruntime")
    config = begin(replace(request_for_latency, latency_backend="onnxruntime"))
    assert "onnxruntime" in str(config.machine)
    again = make_plan(request_for_latency, HERE).config  # the study's, where none is asked for
    assert (again.latency_backend, again.machine) == ("onnxruntime", config.machine)
    with pytest.raises(ValueError, match=r"onnxruntime .* in the study, .* torch") as caught:
        make_plan(replace(request_for_latency, latency_backend="pytorch"), HERE)
    assert "\n" not in str(caught.value)


def test_a_limit_of_latency_that_nothing_meets_is_one_line(request_for_latency: Request) -> None:
    with pytest.raises(
        ValueError, match=r"--max-latency 0.001ms: the smallest network of tiny"
    ) as e:
        make_plan(replace(request_for_latency, max_latency=1e-6), HERE)
    assert "\n" not in str(e.value)
    unused = replace(request_for_latency, objectives="accuracy,macs", latency_backend="onnxruntime")
    with pytest.raises(ValueError, match="neither an objective nor a limit; accepted: with"):
        make_plan(unused, HERE)


def test_the_smallest_networks_have_the_fewest_multiply_adds_and_the_fewest_operators() -> None:
    space, sizes = SearchSpace.from_yaml(ROOT / "search_spaces/tiny.yaml"), (8, 1, 10)
    archs = list(space.architectures())
    cheap, short = smallest_networks(space, *sizes)
    assert cost(cheap, *sizes).macs == min(cost(arch, *sizes).macs for arch in archs)
    counts = {arch: (len(operators(arch, *sizes)), cost(arch, *sizes).macs) for arch in archs}
    assert counts[short] == min(counts.values())
    assert {stage.expansion for stage in short.stages} == {"pointwise"}


def test_a_limited_study_has_one_control_before_its_first_trial(
    request_for_latency: Request,
) -> None:
    """Trials that start together are compared with the limit by what is stored of them."""
    request = replace(request_for_latency, objectives="accuracy,macs", max_latency=1.0)
    plan = make_plan(request, HERE)
    assert plan.control_seconds is not None
    assert make_plan(request_for_latency, HERE).control_seconds is None
    plan.folder.mkdir()
    for again in (plan, replace(plan, control_seconds=9.0)):  # a study keeps the one that it has
        lock = lock_study(plan.storage, plan.study_name)
        try:
            study = _open(again, lock, [])
        finally:
            lock.release()
        assert study.control_seconds == plan.control_seconds
    first, second = study.ask(), study.ask()
    assert first is not None
    assert second is not None
    for candidate, control in ((first, 0.5), (second, 0.1)):  # of its own, beside each
        timed = Measurement(
            *(0.9, 8, 1.0, [(8, 0.9)]),
            latency_ratio=2.0, latency_noise=0.01, latency_control=control,
        )  # fmt: skip
        study.complete(candidate.number, timed)
        stored = study.study.trials[candidate.number].user_attrs["latency"]
        assert stored == 2.0 * plan.control_seconds


def test_a_refused_network_is_not_asked_for_again(request_for_latency: Request) -> None:
    config = begin(replace(request_for_latency, objectives="accuracy,macs", max_latency=1.0))
    storage = open_storage(sqlite_url(request_for_latency.results / "timed" / "study.db"))
    study = SearchStudy(optuna.load_study(study_name="timed", storage=storage), config, budget=9)
    study.recover()
    first = study.ask()
    assert first is not None
    study.refuse(first.number, latency=2.0)
    assert not study.failures
    seen = {first.arch}
    while (candidate := study.ask()) is not None:
        assert candidate.arch not in seen
        seen.add(candidate.arch)
        study.complete(candidate.number, Measurement(0.9, 8, 1.0, [(8, 0.9)]))
    assert study.counted == 9
    frozen = study.study.trials[first.number]
    assert (trial_state(frozen), frozen.user_attrs["latency"]) == ("refused", 2.0)
