"""Earlier studies as sources of a new one, through the Python interface and the command line."""

import html
import json
import math
from pathlib import Path

import optuna
import pytest

import nas
from nas.data import load_search_data
from nas.report.analysis import read_study
from nas.report.page import render
from nas.space.limits import Limits
from nas.space.space import SearchSpace
from nas.study.begin import begin
from nas.study.config import StudyConfig, stored_config
from nas.study.front_file import load_front
from nas.study.location import StudyLocation
from nas.study.measurement import Measurement
from nas.study.objectives import Objectives
from nas.study.plan import make_plan
from nas.study.repair import repair
from nas.study.request import Request
from nas.study.resources import ClusterResources, Node
from nas.study.sources import (
    StudySource,
    describe_arch,
    find_sources,
    read_source,
    store_sources,
    stored_sources,
)
from nas.study.storage.engine import open_storage
from nas.study.study import SearchStudy
from nas.training import get_recipe
from nas.tune.run import SearchEnded
from nas.tune.search import _sharing

TINY = SearchSpace.from_yaml("tiny")
RECIPE = get_recipe("short-cpu", epochs=2)


def train(arch, seed):
    size = math.log(sum(stage.repeats * stage.width for stage in arch.stages))
    best = 0.3 + 0.1 * size + 0.02 * (arch.stages[0].expansion == "dct")
    yield from ((1, best * 0.8), (2, best))


@pytest.fixture(scope="module")
def info():
    return load_search_data("digits", Path("data")).info


@pytest.fixture(scope="module")
def storage(tmp_path_factory, info):
    url = f"sqlite:///{tmp_path_factory.mktemp('studies') / 'all.db'}"
    search(info, url, "first", 14)
    return url


def search(info, url, name, budget, space=TINY, **options):
    return nas.run_search(
        space, info, budget, train=train, recipe=RECIPE, storage=url, name=name, quiet=True,
        **options,
    )  # fmt: skip


def study(url, name):
    return optuna.load_study(study_name=name, storage=open_storage(url))


def tried(url, name):
    return [trial.user_attrs["arch_id"] for trial in study(url, name).get_trials()]


def test_the_second_search_stores_its_source_and_says_what_it_shared(info, storage):
    front = search(info, storage, "second", 8, sources=["first"])
    (source,) = stored_sources(study(storage, "second"))
    assert (source.name, source.dataset) == ("first", "digits")
    assert source.num_trials == len(source.archs) == len(source.accuracies)
    known = {arch.arch_id for arch in source.archs}
    assert set(tried(storage, "second")[:3]) <= known
    assert front.sharing is not None
    assert front.sharing.sources[0].shared > 0.5
    assert "first (digits, " in front.sharing.sentences()[0]


def test_a_source_takes_forecasts_of_trials_that_were_stopped_early(info):
    """Learning curves by one rule; the stopped ones are of the networks that are worst."""
    made = optuna.create_study(directions=["maximize", "minimize"])
    config = StudyConfig(TINY, info, RECIPE, Objectives(("accuracy", "macs")), Limits())
    begin(made, config)
    made.set_user_attr("val_images", 437)
    study = SearchStudy(made, config, budget=16)
    stopped = {}
    for index in range(16):
        candidate = study.ask()
        error = 0.1 + 0.02 * index
        curve = [(1, 1 - 2 * error), (2, 1 - error)]
        if index < 10:
            study.complete(candidate.number, Measurement(1 - error, 2, 1.0, curve))
        else:
            study.stop(candidate.number, Measurement(1 - 2 * error, 1, 1.0, curve[:1]))
            stopped[candidate.arch.arch_id] = error
    source = StudySource.of(made, config, "first")
    forecasts = [
        (stopped[arch.arch_id], 1 - accuracy, variance)
        for arch, accuracy, variance in zip(
            source.archs, source.accuracies, source.log_variances, strict=True
        )
        if arch.arch_id in stopped
    ]
    assert (source.num_trials, len(source.archs), len(forecasts)) == (10, 16, 6)
    for true, forecast, variance in forecasts:
        assert forecast == pytest.approx(true, rel=0.1)
        assert variance > 0
    assert sum(variance > 0 for variance in source.log_variances) == 6
    assert StudySource.from_dict(json.loads(json.dumps(source.to_dict()))) == source
    told = source.for_sampler(config)
    assert told.log_variances == source.log_variances


def test_a_source_that_an_older_version_stored_has_no_forecasts():
    arch = next(TINY.architectures())
    old = {
        "name": "first", "dataset": "digits", "fingerprint": "", "images": 437, "num_trials": 1,
        "archs": [arch.to_dict()], "accuracies": [0.9], "quantized": False,
    }  # fmt: skip
    assert StudySource.from_dict(old).archs == (arch,)
    assert StudySource.from_dict(old).log_variances == ()


def test_repair_keeps_what_was_shared_in_the_front_file(info, storage, tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    front = search(info, url, "next", 5, sources=[storage + "#first"])
    assert front.sharing is not None
    repair(StudyLocation("next", url, tmp_path))
    assert load_front(tmp_path / "front.json").sharing == front.sharing
    page = render(read_study(study(url, "next"), stored_config(study(url, "next"))))
    assert "--from-study first" in page


def test_after_ctrl_c_nothing_is_simulated_and_what_was_stored_stays(info, storage, tmp_path):
    request = Request(
        budget=8, space=Path("tiny"), dataset="digits", study="second", results=tmp_path,
        storage=f"sqlite:///{tmp_path / 'own.db'}", recipe="short-cpu", overrides={"epochs": 2},
        from_study=(storage + "#first",),
    )  # fmt: skip
    plan = make_plan(request, ClusterResources((Node(2),), 1))
    made = optuna.create_study(directions=plan.config.objectives.directions)
    begin(made, plan.config)
    store_sources(made, plan.sources)
    search = SearchStudy(made, plan.config, budget=8)
    for stored in (0, 5, 5):
        for _ in range(5 if not stored else 1):
            candidate = search.ask()
            *_, (_, accuracy) = train(candidate.arch, 0)
            search.complete(candidate.number, Measurement(accuracy, 2, 1.0, [(2, accuracy)]))
        interrupted = _sharing(search, plan, SearchEnded("interrupted", 2), ran=True)
        again = _sharing(search, plan, None, ran=False)
        assert again.trials == 5
        assert (interrupted and interrupted.trials) == (stored or None)


def test_a_study_continues_with_what_it_stored_where_the_source_is_gone(info, storage, tmp_path):
    url = f"sqlite:///{tmp_path / 'own.db'}"
    whole = f"sqlite:///{tmp_path / 'whole.db'}"
    gone = storage + "#first"
    for where in (url, whole):
        search(info, where, "next", 5, sources=[gone])
    study(url, "next").set_user_attr("moved", True)
    search(info, url, "next", 8)  # nothing but the study itself
    search(info, whole, "next", 8, sources=[gone])
    assert tried(url, "next") == tried(whole, "next")
    with pytest.raises(ValueError, match="was started with first"):
        search(info, url, "next", 9, sources=["other"])


def test_a_database_without_a_name_means_the_same_study_when_a_search_goes_on(info, tmp_path):
    source, own = (f"sqlite:///{tmp_path / name}" for name in ("lone.db", "own.db"))
    search(info, source, "lone", 5)
    search(info, own, "next", 3, sources=[source])
    search(info, own, "next", 4, sources=[source])
    assert [one.name for one in stored_sources(study(own, "next"))] == ["lone"]


def test_two_sources_of_one_name_are_refused_and_one_given_twice_counts_once(info, tmp_path):
    urls = [f"sqlite:///{tmp_path / name}" for name in ("a.db", "b.db", "own.db")]
    for url, budget in zip(urls, (4, 5), strict=False):
        search(info, url, "same", budget)
    with pytest.raises(ValueError, match=r"b\.db: another source is called same"):
        search(info, urls[2], "next", 3, sources=urls[:2])
    search(info, urls[2], "next", 3, sources=[urls[0], urls[0] + "#same"])
    assert len(stored_sources(study(urls[2], "next"))) == 1


def test_a_study_without_a_trial_keeps_its_sources_or_takes_what_is_asked_for(info, storage):
    search(info, storage, "third", 4)
    opened = open_storage(storage, create=True)
    made = optuna.create_study(storage=opened, study_name="begun", directions=["maximize"] * 2)
    (source,) = find_sources(["first"], Path(), StudyLocation("begun", storage, None), made, TINY)
    store_sources(made, [source])
    own = StudyLocation("begun", storage, None)
    assert find_sources([], Path(), own, made, TINY) == (source,)
    (other,) = find_sources(["third"], Path(), own, made, TINY)
    store_sources(made, [other])
    assert [one.name for one in stored_sources(study(storage, "begun"))] == ["third"]


@pytest.mark.parametrize("text", ["x", "://x", "mysql://me:secret@host/db", "sqlite:///none.db#x"])
def test_a_database_that_cannot_be_a_source_is_one_line_that_names_the_option(text):
    with pytest.raises(ValueError, match=r"^--from-study.*accepted") as raised:
        read_source(text, Path("results"), StudyLocation("own", "", None), TINY)
    assert "secret" not in str(raised.value)
    assert "--storage" not in str(raised.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("none", "there is no such study"),
        ("new", "the study itself"),
        ("empty", "no finished trial"),
        ("foreign", "was not made by this program"),
        ("elsewhere", "shares no architecture"),
    ],
)
def test_bad_sources_are_one_line(info, storage, source, message):
    opened = open_storage(storage, create=True)
    names = optuna.get_all_study_names(opened)
    if source == "foreign" and source not in names:
        made = optuna.create_study(storage=opened, study_name=source)
        made.add_trial(optuna.trial.create_trial(value=1.0))
    if source == "empty" and source not in names:
        made = optuna.create_study(storage=opened, study_name=source, directions=["maximize"] * 2)
        for key, value in study(storage, "first").user_attrs.items():
            made.set_user_attr(key, value)
    if source == "elsewhere" and source not in names:
        schema = TINY.to_dict()
        schema["stages"][0]["width"] *= 32
        other = SearchSpace.from_dict(schema, "wide")
        search(info, storage, source, 5, other)
    with pytest.raises(ValueError, match=message) as raised:
        search(info, storage, "new", 4, sources=[source])
    assert "\n" not in str(raised.value)
    assert "new" not in optuna.get_all_study_names(open_storage(storage))


@pytest.mark.parametrize(
    ("attribute", "changed", "kind"),
    [
        ("quantized", True, "int8 accuracy"),
        (
            "recipe",
            get_recipe("short-cpu", epochs=2, metric="balanced-accuracy").model_dump(mode="json"),
            "balanced accuracy",
        ),
    ],
)
def test_a_source_of_another_kind_of_accuracy_is_called_so(
    info, tmp_path, attribute, changed, kind
):
    url = f"sqlite:///{tmp_path / 'own.db'}"
    search(info, url, "first", 4)
    study(url, "first").set_user_attr(attribute, changed)
    front = search(info, url, "second", 5, sources=["first"])
    (source,) = stored_sources(study(url, "second"))
    words = f"first (digits, 4 finished trials of {kind}; this study: accuracy)"
    assert source.describe("accuracy") == words
    assert source.describe(kind) == "first (digits, 4 finished trials)"
    assert front.sharing.sentences()[0].startswith(words)
    page = render(read_study(study(url, "second"), stored_config(study(url, "second"))))
    assert words in html.unescape(page)


def test_samplers_that_use_no_sources_are_refused(info, storage):
    with pytest.raises(ValueError, match="--sampler known-cost"):
        search(info, storage, "new", 4, sources=["first"], sampler="random")
    with pytest.raises(ValueError, match="a list of names"):
        search(info, storage, "new", 4, sources="first")


def test_architectures_to_try_come_first_once_and_within_the_limits(info, tmp_path):
    url = f"sqlite:///{tmp_path / 'try.db'}"
    archs = list(TINY.architectures())[:3]
    foreign = nas.space.arch.table2_arch()
    search(info, url, "try", 2, first=[archs[1], foreign, archs[0], archs[1]])
    search(info, url, "try", 4, first=[archs[1], archs[0], archs[2]])
    assert tried(url, "try")[:3] == [archs[1].arch_id, archs[0].arch_id, archs[2].arch_id]
    assert len(set(tried(url, "try"))) == 4


def test_an_architecture_to_try_that_was_never_launched_is_tried_by_the_next_start(info, tmp_path):
    url, archs = f"sqlite:///{tmp_path / 'try.db'}", list(TINY.architectures())
    search(info, url, "try", 1, first=archs[:1])
    waiting = study(url, "try")
    waiting.enqueue_trial(TINY.encode(archs[1]), user_attrs={"try_arch": archs[1].arch_id})
    waiting.ask()  # a driver that died here left it without its architecture
    search(info, url, "try", 2, first=archs[:2])
    ended = [t for t in study(url, "try").get_trials() if t.state.name in ("COMPLETE", "PRUNED")]
    assert [t.user_attrs["arch_id"] for t in ended] == [arch.arch_id for arch in archs[:2]]


def test_descriptions_agree_where_alpha_is_all_that_differs():
    half, whole = nas.space.arch.table2_arch(0.5), nas.space.arch.table2_arch(1.0)
    one, two = describe_arch(half), describe_arch(whole)
    assert two["width"] - one["width"] == 1
    assert {k: v for k, v in one.items() if k != "width"} == {
        k: v for k, v in two.items() if k != "width"
    }


def test_spaces_share_an_architecture_exactly_where_one_is_in_both():
    schema = TINY.to_dict()
    schema["stages"][0]["repeats"] = schema["stages"][0]["repeats"][:1]
    part = SearchSpace.from_dict(schema, "part")
    assert TINY.shares_architecture(part)
    assert set(part.architectures()) <= set(TINY.architectures())
    schema["stages"][0]["repeats"] = [7]
    assert not TINY.shares_architecture(SearchSpace.from_dict(schema, "deep"))


def test_without_the_source_front_the_first_trials_are_those_of_a_cold_start(info, storage):
    search(info, storage, "cold", 4)
    search(info, storage, "spread", 4, sources=["first"], source_front=False)
    search(info, storage, "from front", 4, sources=["first"])
    assert tried(storage, "spread") == tried(storage, "cold")
    assert set(tried(storage, "from front")) <= set(tried(storage, "first"))
    assert tried(storage, "from front") != tried(storage, "cold")
