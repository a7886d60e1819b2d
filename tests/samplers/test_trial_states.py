"""The known-cost sampler beside running, queued, stopped and failed trials."""

import numpy as np
import optuna
import pytest
from small_space import CHOICES, accuracy, finish, key, macs, new_study, search, stop_early, suggest

import nas
from benchmarks.synthetic import SyntheticProblem
from nas.samplers import KnownCostSampler
from nas.samplers.history import read
from nas.space.space import Choice


@pytest.mark.parametrize("finished", [0, 2, 12])
def test_sixteen_pending_trials_are_different_and_spread(finished):
    sampler = KnownCostSampler(CHOICES, macs)
    study = new_study(sampler)
    search(sampler, finished, study=study)
    asked = [suggest(study.ask()) for _ in range(16)]
    assert len({key(setting) for setting in asked}) == 16
    costs = np.log10([macs(setting)[0] for setting in asked])
    assert costs.max() - costs.min() > 0.5
    assert len({(s["width"], s["depth"]) for s in asked}) >= 6


def test_pending_trials_change_what_is_suggested():
    """The next suggestion complements the trials that are running."""
    alone = new_study(KnownCostSampler(CHOICES, macs))
    search(None, 12, study=alone)
    first = suggest(alone.ask())
    second = suggest(alone.ask())
    assert key(first) != key(second)


@pytest.mark.parametrize("space", ["small", "large"])
def test_a_batch_begins_with_the_single_suggestion_and_is_as_spread_as_pending_ones(
    space, full_space
):
    """What is chosen at once resembles what is chosen one after the other, running all."""
    problem = SyntheticProblem(0, full_space)
    choices, cost = (CHOICES, macs) if space == "small" else (
        problem.choices, lambda setting: (problem.macs(setting),))  # fmt: skip
    value = accuracy if space == "small" else lambda setting: 1 - problem.error(setting)

    def asked(batch):
        study = new_study(KnownCostSampler(choices, cost))
        search(None, 14, choices, value, cost, study)
        if batch:
            study.sampler.expect(8)
        settings = [suggest(study.ask(), choices) for _ in range(8)]
        assert len({key(setting) for setting in settings}) == 8
        return settings, np.log10([cost(setting)[0] for setting in settings])

    (single, costs), (batch, of_batch) = asked(False), asked(True)
    assert batch[0] == single[0]
    assert of_batch.std() > 0.5 * costs.std()


def test_a_batch_ends_with_what_was_announced():
    """Results that come later count: nothing is left over from before."""
    study = new_study(KnownCostSampler(CHOICES, macs))
    search(None, 14, study=study)
    study.sampler.expect(3)
    trials = [study.ask() for _ in range(3)]
    for trial in trials:
        study.tell(trial, [accuracy(setting := suggest(trial)), *macs(setting)])
    continued = new_study(KnownCostSampler(CHOICES, macs))
    continued.add_trials(study.trials)
    assert suggest(study.ask()) == suggest(continued.ask())


def test_a_batch_is_of_the_study_that_was_asked():
    """What was chosen for one study may be tried already in another one."""
    sampler = KnownCostSampler(CHOICES, macs)
    one, other = new_study(sampler), new_study(sampler)
    search(None, 14, study=one)
    other.add_trials(one.trials)
    sampler.expect(2)
    first = suggest(one.ask())
    assert suggest(other.ask()) == first  # the same as alone
    for asks in (0, -1):
        with pytest.raises(ValueError, match="asks: "):
            sampler.expect(asks)


def test_failed_out_of_memory_and_stopped_trials_are_not_suggested_again():
    study = new_study(KnownCostSampler(CHOICES, macs))
    seen = set()
    for number in range(24):
        trial = study.ask()
        setting = suggest(trial)
        assert key(setting) not in seen
        seen.add(key(setting))
        if number % 3 == 1:
            trial.set_user_attr("reason", "out_of_memory")
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        elif number % 3 == 2:
            stop_early(trial, setting)
        else:
            finish(trial, setting)


def test_a_repeat_of_a_running_trial_does_not_hide_it():
    """The repeat fails first; the result of the trial that it repeats is learned all the same."""
    sampler = KnownCostSampler(CHOICES, macs)
    study = new_study(sampler)
    trial = study.ask()
    setting = suggest(trial)
    study.enqueue_trial(setting)
    repeat = study.ask()
    assert suggest(repeat) == setting
    repeat.set_user_attr("reason", "repeats_running")
    study.tell(repeat, state=optuna.trial.TrialState.FAIL)
    seen = [read(study, -1, sampler._draw_candidates(0), 0, {})]
    study.tell(trial, [accuracy(setting), *macs(setting)])
    seen.append(read(study, -1, sampler._draw_candidates(0), 0, {}))
    assert [(len(history.pending), len(history.finished)) for history in seen] == [(1, 0), (0, 1)]


def test_an_interrupted_trial_may_be_suggested_again():
    choices = (Choice("x", (1, 2)),)
    study = new_study(KnownCostSampler(choices, lambda s: (float(s["x"]),)))
    trial = study.ask()
    first = suggest(trial, choices)
    trial.set_user_attr("reason", "interrupted")
    study.tell(trial, state=optuna.trial.TrialState.FAIL)
    assert first in [suggest(study.ask(), choices) for _ in range(2)]


def test_trials_in_several_threads_are_all_different():
    sampler = KnownCostSampler(CHOICES, macs)
    study = new_study(sampler)

    def objective(trial):
        setting = suggest(trial)
        return accuracy(setting), *macs(setting)

    study.optimize(objective, n_trials=40, n_jobs=4)
    tried = [key(trial.params) for trial in study.get_trials()]
    assert len(set(tried)) == len(tried) == 40
    assert not sampler._suggested


def test_what_was_suggested_is_running_before_the_study_has_its_parameters():
    sampler = KnownCostSampler(CHOICES, macs)
    study = new_study(sampler)
    search(sampler, 10, study=study)
    asked = [study.ask() for _ in range(4)]
    assert len({key(trial.relative_params) for trial in asked}) == 4


def shared_study(folder):
    """The study as another process opens it, with a sampler of its own."""
    return optuna.create_study(
        study_name="shared",
        storage=f"sqlite:///{folder}/study.db",
        directions=["maximize", "minimize"],
        sampler=KnownCostSampler(CHOICES, macs),
        load_if_exists=True,
    )


@pytest.mark.parametrize("before", [0, 10])
def test_processes_that_ask_at_the_same_time_get_different_suggestions(tmp_path, before):
    studies = [shared_study(tmp_path) for _ in range(4)]
    search(studies[0].sampler, before, study=studies[0])
    asked = [study.ask() for study in studies]  # each sees earlier trials without parameters
    # Optuna samples here and stores nothing.
    assert len({key(trial.relative_params) for trial in reversed(asked)}) == 4


def test_a_trial_whose_parameters_are_half_written_is_being_asked_for(tmp_path):
    first, second = shared_study(tmp_path), shared_study(tmp_path)
    search(first.sampler, 10, study=first)
    half, other = first.ask(), second.ask()
    nas.suggest(half, CHOICES[:1])
    assert suggest(other) != suggest(half)


def test_a_trial_of_other_parameters_does_not_count_as_being_asked_for():
    study = new_study(KnownCostSampler(CHOICES, macs))
    study.ask().suggest_float("learning_rate", 0.0, 1.0)
    candidates = KnownCostSampler(CHOICES, macs)._draw_candidates(0)
    first = study.ask()
    assert read(study, first.number, candidates, 0, {}).asking == []
    second = study.ask()
    assert read(study, study.ask().number, candidates, 0, {}).asking == [
        first.number,
        second.number,
    ]


def test_a_queued_trial_is_running_before_the_study_has_its_parameters():
    sampler = KnownCostSampler(CHOICES, macs)
    study = new_study(sampler)
    study.enqueue_trial({"width": 3, "kind": "pointwise", "depth": 4})
    study.ask()
    candidates = sampler._draw_candidates(0)
    queued = candidates.encoding.encode({"width": 3, "kind": "pointwise", "depth": 4})
    assert read(study, -1, candidates, 0, {}).pending == [queued]


def test_a_queued_trial_keeps_its_values():
    study = new_study(KnownCostSampler(CHOICES, macs))
    study.enqueue_trial({"width": 3, "kind": "dct", "r": 8, "depth": 2})
    assert suggest(study.ask()) == {"width": 3, "kind": "dct", "r": 8, "depth": 2, "fixed": 7}


def test_trials_are_in_the_order_of_their_end_when_summer_time_ends(clock_set_back):
    """Half an hour later the clock shows an earlier time."""
    sampler = KnownCostSampler(CHOICES, macs)
    before = new_study(sampler)
    search(sampler, 2, study=before)
    trials = before.get_trials()
    for trial, minutes in zip(trials, (-10, 20), strict=True):
        trial.datetime_complete = clock_set_back(minutes)
    study = new_study(sampler)
    study.add_trials(trials)
    history = read(study, -1, sampler._draw_candidates(0), 0, {})
    assert history.errors == [1 - trial.values[0] for trial in trials]
