import numpy as np
import optuna
import pytest

import nas
from nas.data import DatasetError
from nas.data.arrays import from_arrays
from nas.study.study import FINISHED
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
    return study.get_trials(states=FINISHED)


def test_images_of_ones_own_are_trained_on_and_learned():
    images, labels = stripes()
    data = from_arrays(images, labels, class_names=("across", "down"))
    front = nas.run_search(SPACE, data, budget=3, recipe=get_recipe("short-cpu", epochs=2))
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
    with pytest.raises(ValueError, match="epochs: 4 recorded, 8 asked"):
        nas.run_search(SPACE, info, 2, train=synthetic, recipe=longer, storage=storage)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((4, 8, 8)), [0, 1, 0, 1], "accepted: uint8"),
        (np.zeros((4, 8, 9), np.uint8), [0, 1, 0, 1], "square"),
        (np.zeros((4, 8, 8), np.uint8), [0, 1, 0], "whole numbers"),
        (np.zeros((4, 8, 8), np.uint8), [0, 0, 0, 0], "two classes"),
        (np.zeros((4, 8, 8), np.uint8), [0, -1, 0, 1], "not from 0"),
        (np.zeros((3, 8, 8), np.uint8), [0, 1, 1], "arrays"),
    ],
)
def test_arrays_that_are_no_data_set_are_refused_in_one_line(images, labels, message):
    with pytest.raises(DatasetError, match=message) as caught:
        from_arrays(images, np.array(labels))
    assert "\n" not in str(caught.value)
