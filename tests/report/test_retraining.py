"""Retraining a front with references: rates by family, one look at the test set, a summary."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import optuna
import pytest
from optuna_dashboard import get_note
from PIL import Image

from nas.cli.retrain_view import show_retrained
from nas.data import load_search_data
from nas.progress import training_bars
from nas.report.analysis import read_study
from nas.report.class_tables import class_tables
from nas.report.comparison_plots import comparison_figure, comparison_rows
from nas.report.comparison_sentences import describe_retraining
from nas.report.dashboard import annotate_study
from nas.report.page import render, write_comparison
from nas.retrain.comparison import summarise
from nas.retrain.next_steps import next_steps
from nas.space.arch import Arch, StageArch
from nas.space.cost import cost
from nas.study.config import StudyConfig
from nas.study.front_file import FrontEntry, FrontFile, load_front, write_front
from nas.training import full as module
from nas.training import get_recipe
from nas.tune.resources import this_machine
from nas.tune.retrain import Retrained, retrain_front
from nas.tune.retrain_request import RetrainRequest

NOWHERE = Path("unused")
RECIPE = get_recipe("full", epochs=2, batch_size=50, train_images=200, val_images=100)
RATES = (0.4, 0.1, 0.2)


def stage(expansion: Any, repeats: int) -> StageArch:
    return StageArch(16, repeats, 2, expansion, 2, 4 if expansion == "dct" else None)


ARCHS = [Arch(8, (stage("dct", n),)) for n in (1, 2)] + [Arch(8, (stage("pointwise", 3),))]


SILENT = partial(training_bars, True)


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> RetrainRequest:
    path = tmp_path_factory.mktemp("study") / "front.json"
    info = load_search_data("digits", NOWHERE).info
    entries = []
    for number, arch in enumerate(ARCHS):
        counted = cost(arch, 8, 1, 10)
        entries.append(
            FrontEntry(
                arch_id=arch.arch_id,
                arch=arch.to_dict(),
                accuracy=0.5 + number / 10,
                macs=counted.macs,
                params=counted.params,
                trial=number,
                seed=0,
                epochs=1,
                knee=number == 1,
            )
        )
    contents = FrontFile(
        study="synthetic", dataset=info.to_dict(), recipe=RECIPE.model_dump(mode="json"),
        objectives=("accuracy", "macs"), versions={}, architectures=tuple(entries),
    )  # fmt: skip
    write_front(path, contents)
    return RetrainRequest(
        front=path, select="all", recipe=RECIPE, learning_rates=RATES, seeds=2,
        references=("twin", "equal-cost-twin"), export=(), concurrency=1, threads=1,
        data_dir=NOWHERE,
    )  # fmt: skip


class Watched:
    """Counts epochs and looks at the test set."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.epochs = self.tests = 0
        train, finish = module.Trainer.train_epoch, module._Run.finish

        def train_epoch(trainer: Any) -> float:
            self.epochs += 1
            return train(trainer)

        def finish_and_test(run: Any, load_test: Any, *rest: Any) -> Any:
            def watched() -> Any:
                self.tests += 1
                return load_test()

            return finish(run, watched, *rest)

        patch.setattr(module.Trainer, "train_epoch", train_epoch)
        patch.setattr(module._Run, "finish", finish_and_test)


@pytest.fixture(scope="module")
def done(wanted: RetrainRequest) -> tuple[Retrained, Watched]:
    with pytest.MonkeyPatch.context() as patch:
        watched = Watched(patch)
        return retrain_front(wanted, this_machine, SILENT), watched


def test_everything_is_trained_once_and_tested_once(
    wanted: RetrainRequest, done: tuple[Retrained, Watched]
) -> None:
    retrained, watched = done
    names = {one["network"] for one in retrained.metrics}
    assert len(names) == len(ARCHS) + 6  # a twin and an equal-cost twin of each
    assert watched.tests == len(retrained.metrics) == 2 * len(names)
    # Of each family one network at each rate; the best of these is that network's own training.
    choices = json.loads(
        (wanted.front.parent / "retrained/learning-rates/choices.json").read_text()
    )
    tried = [len(choice["val_accuracy"]) for choice in choices.values()]
    assert len(tried) == 3
    assert min(tried) >= len(RATES)
    assert watched.epochs == 2 * (2 * len(names) + sum(tried) - len(tried))


def test_a_family_shares_the_rate_that_validated_best(
    wanted: RetrainRequest, done: tuple[Retrained, Watched]
) -> None:
    home = wanted.front.parent / "retrained"
    choices = json.loads((home / "learning-rates/choices.json").read_text())
    for family in ("searched", "twin", "dct-twin"):
        choice = choices[family]
        tried = choice["val_accuracy"]
        assert set(tried) >= {"0.1", "0.2", "0.4"}  # more where the best is at an end
        assert tried[f"{choice['rate']:g}"] == max(tried.values())
        members = [one for one in done[0].metrics if one["family"] == family]
        assert {one["learning_rate"] for one in members} == {choice["rate"]}
        (own,) = [m for m in members if m["network"] == choice["network"] and m["seed"] == 0]
        assert own["val_accuracy"] == max(tried.values())


def test_the_summary_says_what_was_measured(
    wanted: RetrainRequest, done: tuple[Retrained, Watched]
) -> None:
    summary = json.loads((wanted.front.parent / "retrained/summary.json").read_text())
    assert summary == done[0].summary
    assert summary["noise"]["degrees_of_freedom"] == len(summary["networks"])
    for row in summary["networks"]:
        runs = [one for one in done[0].metrics if one["network"] == row["name"]]
        assert row["test_accuracy"] == pytest.approx(mean(one["test_accuracy"] for one in runs))
        assert row["interval"][0] < row["test_accuracy"] < row["interval"][1]
    searched = [row for row in summary["networks"] if row["family"] == "searched"]
    assert [row["short_accuracy"] for row in searched] == [0.5, 0.6, 0.7]
    assert summary["short_schedule"]["networks"] == 3
    assert (
        sum(row["non_dominated"] for row in searched)
        == (summary["short_schedule"]["non_dominated"])
    )
    by_name = {row["name"]: row["test_accuracy"] for row in summary["networks"]}
    assert len(summary["differences"]) == 6
    for row in summary["differences"]:
        assert row["reference"].endswith(row["network"])
        gap = by_name[row["network"]] - by_name[row["reference"]]
        assert row["difference"] == pytest.approx(gap)
        assert row["low"] < row["fewer_errors"] < row["high"]
        assert row["joint_low"] < row["low"]
        assert row["high"] < row["joint_high"]
    assert summary["comparisons"] == 6 + 2
    for kind in summary["mean_differences"]:
        gaps = [
            row["difference"]
            for row in summary["differences"]
            if row["reference"] == f"{kind['reference']}-{row['network']}"
            and row["family"] == kind["family"]
        ]
        assert len(gaps) == kind["pairs"]
        assert kind["difference"] == pytest.approx(mean(gaps))
        assert kind["high"] - kind["low"] < row["high"] - row["low"]
        sentence = f"Mean of the {kind['pairs']} pairs with"
        assert sentence in " ".join(describe_retraining(summary))
    equal = [row for row in summary["differences"] if row["reference"].startswith("equal")]
    assert all(abs(row["macs_ratio"] - 1) <= 0.05 for row in equal)
    page = (wanted.front.parent / "retrained/comparison.html").read_text()
    assert all(row["name"] in page for row in summary["networks"])


def test_report_and_dashboard_know_the_retraining(
    done: tuple[Retrained, Watched],
    synthetic_study: Callable[..., optuna.Study],
    tiny_config: StudyConfig,
) -> None:
    summary = done[0].summary
    assert summary is not None
    study = synthetic_study(tiny_config, 20)
    annotate_study(study, read_study(study, tiny_config))
    assert "After full training" not in get_note(study)
    annotate_study(study, read_study(study, tiny_config), summary)
    note = get_note(study)
    for row in comparison_rows(summary):
        assert f"| {row['network']} | " in note
        assert f" | {row['test']} | " in note
    text = render(read_study(study, tiny_config), summary)
    assert "bars are 95 % intervals from the spread between seeds" in text
    for name in ("macs", "params"):
        assert any(trace.error_y.array for trace in comparison_figure(summary, name).data)


def test_latencies_of_several_machines_are_said_not_to_compare(
    done: tuple[Retrained, Watched],
) -> None:
    summary = done[0].summary
    assert summary is not None
    assert "kinds of machine" not in " ".join(describe_retraining(summary))
    rows = [dict(row) for row in summary["networks"]]
    rows[0]["latency_machines"] = ["a slow one"]
    text = " ".join(describe_retraining(summary | {"networks": rows}))
    assert "2 kinds of machine and cannot be compared: " in text
    assert "a slow one" in text


def test_it_ends_with_classes_latency_change_and_next_steps(
    wanted: RetrainRequest,
    done: tuple[Retrained, Watched],
    synthetic_study: Callable[..., optuna.Study],
    tiny_config: StudyConfig,
) -> None:
    summary = done[0].summary
    assert summary is not None
    for row, texts in zip(summary["networks"], comparison_rows(summary), strict=True):
        runs = [one for one in done[0].metrics if one["network"] == row["name"]]
        assert row["class_images"] == [2 * n for n in runs[0]["class_images"]]  # two seeds
        right = sum(row["class_right"]) / sum(row["class_images"])
        assert right == pytest.approx(row["test_accuracy"])
        wrong = sum(count for *_, count in row["confusions"])
        assert wrong + sum(row["class_right"]) == sum(row["class_images"])
        assert texts["latency"].endswith(" ms")
        if row["family"] == "searched":
            change = 100 * (row["test_accuracy"] - row["short_accuracy"])
            assert float(texts["change"]) == pytest.approx(change, abs=0.006)
        else:
            assert texts["change"] == ""
    tables = class_tables(summary)
    assert [table.network for table in tables][-1] == max(
        (row for row in summary["networks"] if row["family"] == "searched"),
        key=lambda row: row["test_accuracy"],
    )["name"]
    for line in tables[-1].rows:
        assert sum(line.shares) == pytest.approx(1)
        assert line.shares[line.index] == line.accuracy
    home, arch_id = wanted.front.parent / "retrained", ARCHS[0].arch_id
    steps = dict(next_steps(summary, [arch_id]))
    assert steps["load"] == f'classifier = nas.load_classifier("{home / arch_id}")'
    assert steps["predict"] == f"nas predict {home / arch_id} IMAGE"
    assert steps["export"] == (
        f"nas retrain {wanted.front} --select {arch_id} --epochs 2 --batch-size 50 "
        "--learning-rate 0.4,0.1,0.2 --data-dir unused --export onnx"
    )
    study = synthetic_study(tiny_config, 8)
    page = render(read_study(study, tiny_config), summary)
    annotate_study(study, read_study(study, tiny_config), summary)
    note = get_note(study)
    assert "What to do next" in page
    for text in (page, note):
        assert "least accurate classes" in text
        assert "nas predict" in text


def test_nothing_that_was_trained_disappears_without_a_word(
    wanted: RetrainRequest, done: tuple[Retrained, Watched], tmp_path: Path
) -> None:
    home = tmp_path / "retrained"
    shutil.copytree(wanted.front.parent / "retrained", home)
    first, second, third = (arch.arch_id for arch in ARCHS)
    (home / first).rename(home / "learning-rates" / f"{first}-9")
    (home / second / "arch.json").write_text("{")
    (home / third / "seed-1" / "metrics.json").unlink()
    summary = summarise(load_front(wanted.front), home, [wanted.recipe])
    assert summary is not None
    searched = {row["name"]: row for row in summary["networks"] if row["family"] == "searched"}
    assert {name: row["seeds"] for name, row in searched.items()} == {second: 1, third: 1}
    assert [row["name"] for row in summary["set_aside"]] == [first]
    marks = {row["network"]: row["mark"] for row in comparison_rows(summary)}
    assert marks[first] == "replaced by a better training"
    left_out = {one["folder"]: one["why"] for one in summary["left_out"]}
    assert left_out.keys() == {f"retrained/{second}", f"retrained/{third}/seed-1"}
    assert left_out[f"retrained/{third}/seed-1"] == "not finished"
    (line,) = (line for line in describe_retraining(summary) if line.startswith("Not in the"))
    assert all(folder in line for folder in left_out)


def test_one_seed_has_no_bars_and_no_caption_about_them(
    done: tuple[Retrained, Watched], tmp_path: Path
) -> None:
    summary = json.loads(json.dumps(done[0].summary))
    summary["study"] = "<b>study</b>"
    summary["noise"] = {"log_error_sd": None, "source": "test images", "degrees_of_freedom": None}
    for row in summary["networks"]:
        row |= {"interval": None, "seeds": 1, "name": f"<i>{row['name']}"}
    page = write_comparison(summary, tmp_path).read_text()
    assert "bars" not in page.split("<script>")[0]
    assert "One seed each" in page
    for figure in (comparison_figure(summary, name) for name in ("macs", "params")):
        assert all(trace.error_y.array is None for trace in figure.data)
    assert "<b>" not in page.split("<script>")[0]
    assert "<i>" not in page.split("<script>")[0] + page.split("const PLOTS")[1].split("RELOAD")[0]
    assert "<title>&lt;b&gt;study&lt;/b&gt;: networks after full training</title>" in page


def test_again_nothing_is_trained(
    wanted: RetrainRequest, done: tuple[Retrained, Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(monkeypatch)
    assert retrain_front(wanted, this_machine, SILENT).summary == done[0].summary
    assert (watched.epochs, watched.tests) == (0, 0)


def test_another_recipe_does_not_mix(
    wanted: RetrainRequest, done: tuple[Retrained, Watched]
) -> None:
    other = replace(wanted, recipe=RECIPE.model_copy(update={"epochs": 3}))
    with pytest.raises(ValueError, match="another recipe"):
        retrain_front(replace(other, learning_rates=(0.1,)), this_machine, SILENT)


def test_a_retraining_by_another_recipe_keeps_the_first_in_the_tables(
    wanted: RetrainRequest,
    tmp_path: Path,
    synthetic_study: Callable[..., optuna.Study],
    tiny_config: StudyConfig,
) -> None:
    front = tmp_path / "front.json"
    front.write_bytes(wanted.front.read_bytes())
    one = replace(wanted, front=front, learning_rates=(0.1,), seeds=1, references=())
    first, second = ARCHS[0].arch_id, ARCHS[1].arch_id
    shorter = RECIPE.model_copy(update={"epochs": 1})
    retrain_front(replace(one, select=first, recipe=shorter), this_machine, SILENT)
    summary = retrain_front(replace(one, select=second), this_machine, SILENT).summary
    assert summary is not None
    assert [row["name"] for row in summary["networks"]] == [second]
    assert [(row["name"], row["epochs"]) for row in summary["other_recipes"]] == [(first, 1)]
    rows = comparison_rows(summary)
    assert [(row["network"], row["mark"]) for row in rows] == [
        (second, ""),
        (first, "other recipe, 1 epoch"),
    ]
    page = render(read_study(synthetic_study(tiny_config, 8), tiny_config), summary)
    assert first in page
    del summary["other_recipes"]  # as earlier versions wrote it
    assert [row["network"] for row in comparison_rows(summary)] == [second]


def test_a_network_below_its_short_schedule_is_trained_again(
    wanted: RetrainRequest, tmp_path: Path
) -> None:
    """Here the first recipe hardly learns; what was given, the number of epochs, stays."""
    contents = load_front(wanted.front)
    short = get_recipe("short-cpu", epochs=2, batch_size=50)
    front = tmp_path / "front.json"
    write_front(front, contents.model_copy(update={"recipe": short.model_dump(mode="json")}))
    slow = RECIPE.model_copy(update={"learning_rate": 1e-6, "epochs": 6})
    request = replace(
        wanted, front=front, references=(), seeds=1, select=ARCHS[0].arch_id, recipe=slow,
        learning_rates=(), adapted=("batch_size", "learning_rate"),
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        watched = Watched(patch)
        retrained = retrain_front(request, this_machine, SILENT)
        assert (watched.epochs, watched.tests) == (12, 1)  # the test set decides nothing
        again = retrain_front(request, this_machine, SILENT)
        assert (watched.epochs, watched.tests) == (12, 1)
    assert again.metrics == retrained.metrics
    assert retrained.metrics[0]["learning_rate"] == short.learning_rate
    assert retrained.metrics[0]["epochs"] == 6
    assert "batches of 16 in the place of 50" in retrained.notes[-1]
    assert retrained.summary is not None
    (row,) = comparison_rows(retrained.summary)
    assert row["mark"] == "recipe short-cpu, 6 epochs"
    told = describe_retraining(retrained.summary)[0]
    assert "below the 50.00 % of its short schedule" in told
    assert (tmp_path / "retrained/second-recipe" / f"{ARCHS[0].arch_id}-first").is_dir()
    taken = retrain_front(
        replace(request, front=front, select=ARCHS[1].arch_id, adapted=()), this_machine, SILENT
    )  # a recipe that the user gave is not replaced
    assert taken.metrics[0]["learning_rate"] == 1e-6


def test_the_report_shows_it(
    done: tuple[Retrained, Watched],
    synthetic_study: Callable[..., optuna.Study],
    tiny_config: StudyConfig,
) -> None:
    found = read_study(synthetic_study(tiny_config, 8), tiny_config)
    page = render(found, done[0].summary)
    assert 'id="full-training"' in page
    assert "Kendall" in page
    assert "stay non-dominated" in page
    assert 'id="full-training"' not in render(found)


def test_a_test_set_that_cannot_be_read_is_refused_before_any_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for place in ("train/a", "train/b", "val/a", "val/b"):  # val serves where there is no test
        (tmp_path / "photos" / place).mkdir(parents=True)
        for number in range(8):
            pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / place / f"{number}.png")
    info = load_search_data(f"folder:{tmp_path / 'photos'}", NOWHERE, image_size=8).info
    arch = Arch(8, (stage("dct", 1),))
    counted = cost(arch, 8, 3, 2)
    entry = FrontEntry(
        arch_id=arch.arch_id, arch=arch.to_dict(), accuracy=0.5, macs=counted.macs,
        params=counted.params, trial=0, seed=0, epochs=1, knee=True,
    )  # fmt: skip
    contents = FrontFile(
        study="photos", dataset=info.to_dict(),
        recipe=RECIPE.model_dump(mode="json") | {"metric": "balanced-accuracy"},
        objectives=("accuracy", "macs"), versions={}, architectures=(entry,),
    )  # fmt: skip
    front = tmp_path / "study" / "front.json"
    front.parent.mkdir()
    write_front(front, contents)
    request = RetrainRequest(
        front=front, select="knee", recipe=RECIPE, learning_rates=(0.1,), seeds=1, references=(),
        export=(), concurrency=1, threads=1, data_dir=NOWHERE,
    )  # fmt: skip
    damaged = tmp_path / "photos" / "val" / "b" / "3.png"
    content = damaged.read_bytes()
    damaged.write_bytes(content[:40])
    with pytest.raises(ValueError, match=r"3\.png: not an image that can be read"):
        retrain_front(request, this_machine, SILENT)
    assert not (front.parent / "retrained").exists()
    damaged.write_bytes(content)
    retrained = retrain_front(request, this_machine, SILENT)
    assert retrained.notes == ["16 test images: val/, as there is no folder of test images"]
    metrics = retrained.metrics[0]
    assert metrics["test_images"] == 16
    assert metrics["independent_images"] == 16  # the metric is the search's: balanced accuracy
    show_retrained(retrained)
    page = (front.parent / "retrained" / "comparison.html").read_text()
    for text in (capsys.readouterr().out, page.lower()):
        assert "balanced test accuracy" in text
        assert text.count("test accuracy") == text.count("balanced test accuracy")


def test_what_a_retraining_says_of_a_folder_that_has_changed(tmp_path: Path) -> None:
    photos, rng = tmp_path / "photos", np.random.default_rng(0)
    for place, images in (("train/a", 8), ("train/b", 8), ("test/a", 3), ("test/b", 3)):
        (photos / place).mkdir(parents=True)
        for number in range(images):
            pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(photos / place / f"{number}.png")
    data = load_search_data(f"folder:{photos}", NOWHERE, image_size=8)
    arch = Arch(8, (stage("dct", 1),))
    counted = cost(arch, 8, 3, 2)
    entry = FrontEntry(
        arch_id=arch.arch_id, arch=arch.to_dict(), accuracy=0.5, macs=counted.macs,
        params=counted.params, trial=0, seed=0, epochs=1, knee=True,
    )  # fmt: skip
    contents = FrontFile(
        study="photos", dataset=data.info.to_dict(), recipe=RECIPE.model_dump(mode="json"),
        splits=data.record, objectives=("accuracy", "macs"), versions={}, architectures=(entry,),
    )  # fmt: skip
    front = tmp_path / "study" / "front.json"
    front.parent.mkdir()
    write_front(front, contents)
    request = RetrainRequest(
        front=front, select="knee", recipe=RECIPE, learning_rates=(0.1,), seeds=1, references=(),
        export=(), concurrency=1, threads=1, data_dir=NOWHERE,
    )  # fmt: skip
    (photos / "test" / "b" / "2.png").unlink()  # the test set alone: said, and gone on
    retrained = retrain_front(request, this_machine, SILENT)
    assert retrained.metrics[0]["test_images"] == 5
    assert retrained.notes[0] == (
        "the test set has changed since the search began: 6 images then, 5 now; what is retrained "
        "now is tested on those of now"
    )
    (photos / "train" / "b" / "2.png").unlink()
    with pytest.raises(ValueError, match="13 training and 3 validation images then, 12 and 3 now"):
        retrain_front(request, this_machine, SILENT)
    with pytest.raises(ValueError, match="accepted: the files as they were, or a new study: "):
        retrain_front(request, this_machine, SILENT)
    photos.rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"photos, which is not there; .* symbolic link") as caught:
        retrain_front(request, this_machine, SILENT)
    assert "\n" not in str(caught.value)


def test_other_settings_are_refused_before_any_work(
    wanted: RetrainRequest, done: tuple[Retrained, Watched]
) -> None:
    longer = replace(wanted, recipe=wanted.recipe.model_copy(update={"epochs": 3}))
    with pytest.MonkeyPatch.context() as patch:
        watched = Watched(patch)
        with pytest.raises(ValueError, match=r"another recipe \(epochs: 2 there, 3 asked\)"):
            retrain_front(longer, this_machine, SILENT)
        assert watched.epochs == 0
        again = retrain_front(
            wanted, this_machine, SILENT
        )  # the rates that were chosen are among those asked
    assert again.metrics == done[0].metrics
    assert watched.epochs == 0


def test_rates_are_compared_after_a_network_was_trained_at_one(
    wanted: RetrainRequest, tmp_path: Path
) -> None:
    """What was trained is used where its rate wins, and set aside where it does not."""
    front = tmp_path / "front.json"
    front.write_bytes(wanted.front.read_bytes())
    alone = replace(wanted, front=front, references=(), seeds=1, select=ARCHS[1].arch_id)
    first = retrain_front(replace(alone, learning_rates=(0.1,)), this_machine, SILENT)
    with pytest.MonkeyPatch.context() as patch:
        watched = Watched(patch)
        again = retrain_front(alone, this_machine, SILENT)
        choice = json.loads((tmp_path / "retrained/learning-rates/choices.json").read_text())
        best = choice["searched"]["rate"]
        assert choice["searched"]["val_accuracy"]["0.1"] == first.metrics[0]["val_accuracy"]
        tried = choice["searched"]["val_accuracy"]
        assert watched.epochs == 2 * (len(tried) - 1)  # at the other rates
        assert watched.tests == (best != 0.1)
    assert again.metrics[0]["learning_rate"] == best
    assert again.summary is not None
    assert [(row["name"], row["seeds"]) for row in again.summary["networks"]] == [
        (ARCHS[1].arch_id, 1)
    ]


def test_a_worse_network_makes_more_errors_in_an_interval_around_that(
    done: tuple[Retrained, Watched],
) -> None:
    summary = json.loads(json.dumps(done[0].summary))
    row = summary["differences"][0] | {
        "difference": -0.005, "fewer_errors": -0.053, "low": -0.146, "high": 0.033,
    }  # fmt: skip
    summary["differences"] = [row]
    text = " ".join(describe_retraining(summary))
    assert "-0.50 points, 5.3 % more errors (-3.3 to 14.6), not significant" in text
    summary["recipe"]["metric"] = "balanced-accuracy"
    assert "5.3 % more balanced error" in " ".join(describe_retraining(summary))
