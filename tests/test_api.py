import logging

import numpy as np
import optuna
import pytest
import torch

import nas
import nas.api
from nas.data import DatasetError
from nas.data.arrays import from_arrays
from nas.space.limits import Limits
from nas.stopping.right_images import decode
from nas.study.study import ENDED
from nas.training import Diverged, get_recipe

SPACE = nas.SearchSpace.from_yaml("search_spaces/tiny.yaml")


def stripes(count=120, side=8):
    """Horizontal and vertical stripes, with noise: two classes that a small network learns."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, count)
    wave = 100 * (np.arange(side) % 2)
    images = np.where(labels[:, None, None] == 0, wave[None, :, None], wave[None, None, :])
    return (images + rng.integers(0, 50, (count, side, side))).astype(np.uint8), labels


def synthetic(arch, seed):
    """An accuracy that grows with the architecture and with the epochs."""
    quality = 0.5 + 0.02 * sum(stage.repeats * stage.width**0.5 for stage in arch.stages)
    for epoch in (1, 2, 4):
        yield epoch, min(0.99, quality * epoch / (epoch + 0.2))


def trials(storage, name="search"):
    study = optuna.load_study(study_name=name, storage=storage)
    return study.get_trials(states=ENDED)


def test_images_of_ones_own_are_trained_on_and_learned(tmp_path):
    images, labels = stripes()
    data = from_arrays(images, labels, class_names=("across", "down"))
    storage = f"sqlite:///{tmp_path}/study.db"
    recipe = get_recipe("short-cpu", epochs=2)
    loggers = [logging.getLogger(name) for name in ("nas", "optuna")]
    before = [(logger.propagate, logger.level, logger.handlers[:]) for logger in loggers]
    front = nas.run_search(SPACE, data, budget=3, recipe=recipe, storage=storage)
    assert [(log.propagate, log.level, log.handlers) for log in loggers] == before
    for trial in trials(storage):
        kept = trial.user_attrs
        assert len(kept["losses"]) == 2
        assert [[epoch, decode(text).mean()] for epoch, text in kept["right"]] == kept["curve"]
    costs = [entry.macs for entry in front.architectures]
    accuracies = [entry.accuracy for entry in front.architectures]
    assert costs == sorted(costs)
    assert accuracies == sorted(accuracies)
    assert accuracies[-1] > 0.8
    assert front.architectures[0].build_arch().arch_id == front.architectures[0].arch_id


def test_a_train_function_of_ones_own_and_going_on_where_it_ended(tmp_path):
    info = from_arrays(*stripes()).info
    storage = f"sqlite:///{tmp_path}/study.db"
    recipe = get_recipe("short-cpu", epochs=4)

    def search(budget):
        return nas.run_search(
            SPACE, info, budget, train=synthetic, recipe=recipe, storage=storage, seed=3
        )

    search(6)
    before = {trial.user_attrs["arch_id"] for trial in trials(storage)}
    front = search(14)
    after = {trial.user_attrs["arch_id"] for trial in trials(storage)}
    assert len(before) == 6
    assert len(after) == 14
    assert before < after
    assert search(14) == front


def test_a_trial_that_diverges_fails_and_the_search_goes_on(tmp_path):
    calls = []

    def train(arch, seed):
        calls.append(arch)
        if len(calls) == 2:
            raise Diverged("loss is not finite")
        return [(4, 0.5)]

    storage = f"sqlite:///{tmp_path}/study.db"
    recipe = get_recipe("short-cpu", epochs=4)
    info = from_arrays(*stripes()).info
    nas.run_search(SPACE, info, 4, train=train, recipe=recipe, storage=storage)
    study = optuna.load_study(study_name="search", storage=storage)
    assert len(trials(storage)) == 4
    assert [t.user_attrs["reason"] for t in study.trials if "reason" in t.user_attrs] == [
        "diverged"
    ]


def test_a_search_that_only_diverges_ends(tmp_path):
    storage = f"sqlite:///{tmp_path}/study.db"
    recipe, info = get_recipe("short-cpu", epochs=4), from_arrays(*stripes()).info

    def diverges(arch, seed):
        raise nas.training.Diverged("the loss is nan")

    with pytest.raises(nas.training.Diverged):
        nas.run_search(
            SPACE, info, 9, train=diverges, recipe=recipe, storage=storage, max_failures=2
        )
    study = optuna.load_study(study_name="search", storage=storage)
    assert [trial.user_attrs["reason"] for trial in study.trials] == ["diverged"] * 3
    with pytest.raises(ValueError, match="recipe: none"):
        nas.run_search(SPACE, info, 9, train=diverges)


def test_an_error_of_the_train_function_is_the_users_and_the_trial_is_queued_again(tmp_path):
    storage = f"sqlite:///{tmp_path}/study.db"
    recipe = get_recipe("short-cpu", epochs=4)
    info = from_arrays(*stripes()).info
    seen = []

    def breaks(arch, seed):
        seen.append(arch.arch_id)
        raise KeyError("mine")

    def works(arch, seed):
        seen.append(arch.arch_id)
        return [(4, 0.5)]

    with pytest.raises(KeyError, match="mine"):
        nas.run_search(SPACE, info, 4, train=breaks, recipe=recipe, storage=storage)
    nas.run_search(SPACE, info, 4, train=works, recipe=recipe, storage=storage)
    assert seen[1] == seen[0]
    assert len(trials(storage)) == 4


def test_another_configuration_under_the_same_name_is_refused(tmp_path):
    storage = f"sqlite:///{tmp_path}/study.db"
    info = from_arrays(*stripes()).info
    short, longer = (get_recipe("short-cpu", epochs=epochs) for epochs in (4, 8))
    nas.run_search(SPACE, info, 2, train=synthetic, recipe=short, storage=storage)
    with pytest.raises(ValueError, match="epochs: 4 in the study, 8 asked"):
        nas.run_search(SPACE, info, 2, train=synthetic, recipe=longer, storage=storage)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((4, 8, 8)), [0, 1, 0, 1], "accepted: uint8"),
        (np.zeros((4, 8, 9), np.uint8), [0, 1, 0, 1], "square"),
        (np.zeros((4, 8, 8), np.uint8), [0, 1, 0], "whole numbers"),
        (np.zeros((4, 8, 8), np.uint8), [0, 0, 0, 0], "two classes"),
        (np.zeros((4, 8, 8), np.uint8), [0, -1, 0, 1], "from -1 to 1"),
        (np.zeros((3, 8, 8), np.uint8), [0, 1, 1], "arrays"),
    ],
)
def test_arrays_that_are_no_data_set_are_refused_in_one_line(images, labels, message):
    with pytest.raises(DatasetError, match=message) as caught:
        from_arrays(images, np.array(labels))
    assert "\n" not in str(caught.value)


def giving(*points):
    return lambda arch, seed: iter(points)


RECIPE = get_recipe("short-cpu", epochs=4)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (giving((1, 87.5)), "train: accuracy 87.5 at epoch 1; accepted: a fraction from 0 to 1"),
        (giving((1, -0.1)), "accuracy -0.1"),
        (giving((1, 0.5), (4, 1.01)), "accuracy 1.01 at epoch 4"),
        (giving(), "ended after epoch 0; accepted: .* up to epoch 4"),
        (giving((1, 0.5), (2, 0.6)), "ended after epoch 2"),
        (giving((0, 0.5)), "after epoch 0; accepted"),
        (giving((2, 0.5), (2, 0.5)), "after epoch 2; accepted"),
        (giving((5, 0.5)), "epochs growing from 1 to 4"),
        (giving(0.5), "gave 0.5 after epoch 0; accepted: pairs"),
        (giving((1, "a")), "accepted: pairs"),
        (giving((1.5, 0.5)), "accepted: pairs"),
        (lambda arch, seed: 0.5, "gave 0.5; accepted: pairs"),
        (lambda arch, seed: None, "gave None; accepted: pairs"),
    ],
)
def test_what_a_train_function_gives_is_checked_before_it_is_stored(tmp_path, train, message):
    storage = f"sqlite:///{tmp_path}/study.db"
    info = from_arrays(*stripes()).info
    with pytest.raises(ValueError, match=message) as caught:
        nas.run_search(SPACE, info, 4, train=train, recipe=RECIPE, storage=storage)
    assert "\n" not in str(caught.value)
    study = optuna.load_study(study_name="search", storage=storage)
    assert trials(storage) == []
    assert [trial.state.name for trial in study.trials] == ["FAIL", "WAITING"]
    nas.run_search(SPACE, info, 4, train=synthetic, recipe=RECIPE, storage=storage)
    assert len(trials(storage)) == 4  # nothing that was given before is in the way


@pytest.mark.parametrize("accuracy", [float("nan"), float("inf"), np.float32("nan")])
def test_an_accuracy_that_is_no_number_is_a_diverged_trial(tmp_path, accuracy):
    calls = []

    def train(arch, seed):
        calls.append(arch)
        return [(1, 0.3), (4, accuracy if len(calls) == 1 else 0.5)]

    storage = f"sqlite:///{tmp_path}/study.db"
    info = from_arrays(*stripes()).info
    front = nas.run_search(SPACE, info, 3, train=train, recipe=RECIPE, storage=storage)
    assert front.architectures
    study = optuna.load_study(study_name="search", storage=storage)
    assert study.trials[0].user_attrs["reason"] == "diverged"
    assert len(trials(storage)) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"budget": 0}, "budget: 0; accepted: 1 or more"),
        ({"budget": -3}, "budget: -3"),
        ({"budget": "3"}, "budget: str '3'; accepted: int"),
        ({"budget": 2.0}, "budget: float"),
        ({"budget": True}, "budget: bool"),
        ({"space": "tiny"}, "space: str 'tiny'; accepted: SearchSpace"),
        ({"data": "digits"}, "data: str 'digits'; accepted: SearchData or DatasetInfo"),
        ({"recipe": "short-cpu"}, "recipe: str .*; accepted: Recipe or None"),
        ({"objectives": ("accuracy", "macs")}, "objectives: tuple"),
        (
            {"limits": Limits(max_latency=0.005)},
            "limits: max_latency=0.005; accepted: limits that are known before training",
        ),
        ({"quantized": "yes"}, "quantized: 'yes'; accepted: True or False"),
        (
            {"quantized": True, "train": synthetic, "recipe": get_recipe("short-cpu", epochs=4)},
            "quantized: accuracies are what `train` gives; accepted: without `train`",
        ),
        ({"seed": None}, "seed: NoneType"),
        ({"threads": 0}, "threads: 0; accepted: 1 or more"),
        ({"sampler": "bayes"}, "bayes: accepted: known-cost"),
    ],
)
def test_other_arguments_are_one_line(arguments, message):
    given = {"space": SPACE, "data": from_arrays(*stripes()), "budget": 2} | arguments
    with pytest.raises(ValueError, match=message) as caught:
        nas.run_search(**given)
    assert "\n" not in str(caught.value)


def test_accuracies_in_int8_are_those_of_the_same_training(tmp_path):
    """The first architectures do not depend on accuracies, and float weights are trained."""
    data, recipe = from_arrays(*stripes()), get_recipe("short-cpu", epochs=1)
    told, fronts = [], []
    for quantized in (False, True):
        storage = f"sqlite:///{tmp_path}/{quantized}.db"
        given = {"recipe": recipe, "storage": storage, "quiet": True, "quantized": quantized}
        fronts.append(nas.run_search(SPACE, data, 3, **given))
        told.append([(t.user_attrs["arch_id"], t.user_attrs["losses"]) for t in trials(storage)])
        with pytest.raises(ValueError, match=r"--quantized: (no|yes) in the study, "):
            nas.run_search(SPACE, data, 4, **given | {"quantized": not quantized})
    assert told[0] == told[1]
    assert [front.quantized for front in fronts] == [False, True]
    study = optuna.load_study(study_name="search", storage=storage)
    for trial in trials(storage):
        ((_, text),) = trial.user_attrs["right"]
        seed = trial.user_attrs["seed"]
        network = nas.api.build(nas.Arch.from_dict(trial.user_attrs["arch"]), data.info, seed)
        again = nas.api.Trainer(
            network, data, recipe, seed=seed, device=torch.device("cpu"), threads=1, quantized=True
        )
        assert again.train_epoch() == pytest.approx(trial.user_attrs["losses"][0], rel=1e-5)
        assert again.evaluate() == trial.user_attrs["accuracy"]
        assert (again.right == decode(text)).all()
    assert study.user_attrs["quantized"] is True


def test_one_thread_the_same_result_and_a_progress_line(capfd, monkeypatch):
    data = from_arrays(*stripes())
    monkeypatch.setattr("nas.progress.LINE_EVERY", 0)
    recipe, seen, before = get_recipe("short-cpu", epochs=1), [], torch.get_num_threads()
    train_epoch = nas.api.Trainer.train_epoch

    def watched(self):
        seen.append(torch.get_num_threads())
        return train_epoch(self)

    monkeypatch.setattr(nas.api.Trainer, "train_epoch", watched)
    fronts = []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            fronts.append(nas.run_search(SPACE, data, 2, recipe=recipe, quiet=number == 2))
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(before)
    assert fronts[0] == fronts[1]
    assert set(seen) == {1}
    lines = capfd.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == ["search: 1/2", "search: 2/2"]
