from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.samplers import RandomSampler
from rich.console import Console
from rich.text import Text

from nas.cli.front_table import front_table, savings, subsample
from nas.cli.live_view import LiveView
from nas.cli.search_progress import SearchProgress
from nas.cli.search_view import next_selection
from nas.report.analysis import read_study
from nas.report.narrative import describe_finding
from nas.report.objective_scale import ObjectiveScale
from nas.retrain.select import select
from nas.space.arch import Arch
from nas.space.limits import Limits, extreme
from nas.space.space import SearchSpace
from nas.study.config import StudyConfig
from nas.study.front import chance_note, front, measured_front
from nas.study.front_file import front_file
from nas.study.measurement import Measurement
from nas.study.study import SearchStudy


def opened(config: StudyConfig, budget: int, study: optuna.Study | None = None) -> SearchStudy:
    study = study or optuna.create_study(
        directions=config.objectives.directions, sampler=RandomSampler(seed=0), study_name="s" * 60
    )
    return SearchStudy(study, config, budget=budget)


def work(study: SearchStudy, view: SearchProgress | LiveView, trials: int) -> None:
    """Run trials one after another: every fifth is stopped, every seventh fails."""
    for number in range(trials):
        candidate = study.ask()
        if candidate is None:
            return
        started = [candidate] if isinstance(view, SearchProgress) else []
        view.started(*started)
        accuracy = 0.3 + int(candidate.arch.arch_id[:4], 16) / 2**17
        done = Measurement(accuracy, 2, 1.0, ((1, 0.2), (2, accuracy)))
        if number % 7 == 6:
            study.fail(candidate.number, "diverged")
            state = "failed"
        elif number % 5 == 4:
            study.stop(candidate.number, replace(done, epochs=1))
            state = "stopped"
        else:
            study.complete(candidate.number, done)
            state = "finished"
        if isinstance(view, SearchProgress):
            view.ended(candidate, state, "")
        else:
            view.ended(candidate, state)


def screen(view: LiveView, width: int, height: int) -> list[str]:
    """The view as it is drawn on a terminal of that size."""
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True)
    console.print(view)
    assert isinstance(console.file, io.StringIO)
    return [Text.from_ansi(line).plain for line in console.file.getvalue().splitlines()]


@pytest.fixture(scope="module")
def wide_config(tiny_config: StudyConfig) -> StudyConfig:
    return replace(tiny_config, space=SearchSpace.from_yaml("search_spaces/dyclotnet.yaml"))


@pytest.mark.parametrize(("width", "height"), [(80, 24), (140, 40), (40, 12), (60, 8)])
def test_nothing_wraps_and_all_fits(wide_config: StudyConfig, width: int, height: int) -> None:
    study = opened(wide_config, 2000)
    view = LiveView(study)
    for steps in (0, 1, 40):
        work(study, view, steps)
        lines = screen(view, width, height)
        assert len(lines) < height
        assert all(len(line.rstrip()) <= width for line in lines)
        assert lines[0].startswith("study sss")


def test_the_view_agrees_with_the_study(wide_config: StudyConfig) -> None:
    study = opened(wide_config, 100)
    view = LiveView(study)
    work(study, view, 35)
    again = LiveView(opened(wide_config, 100, study.study))
    members = measured_front(study.study.get_trials(), wide_config.objectives)
    numbers = [member.trial.number for member in members]
    assert [member.trial.number for member in view.members] == numbers
    assert [member.trial.number for member in again.members] == numbers
    assert view.volume == again.volume > 0
    assert view.counted == again.counted == study.counted
    assert view.counts["failed"] == 5
    assert view.improved is not None
    assert again.improved is not None
    assert view.improved[0] == again.improved[0]
    assert "in an earlier run" in again.progress()
    scale = ObjectiveScale(wide_config)
    tracker = scale.tracker()
    for member in members:
        tracker.add(scale.point(dict(zip(("accuracy", "macs"), member.trial.values, strict=True))))
    assert view.volume == pytest.approx(tracker.volume)


def test_a_terminal_is_left_clean(wide_config: StudyConfig) -> None:
    file = io.StringIO()
    study = opened(wide_config, 30)
    console = Console(file=file, width=80, height=24, force_terminal=True)
    with SearchProgress(console, study) as view:
        work(study, view, 30)
    kept = _replay(file.getvalue())
    assert [line for line in kept if line.strip()] == []


def test_an_echo_of_ctrl_c_does_not_wrap(wide_config: StudyConfig) -> None:
    """A line more below the view would leave its first line behind when it is erased."""
    study = opened(wide_config, 30)
    view = LiveView(study)
    work(study, view, 30)
    assert len(screen(view, 80, 24)[-1] + "^C^C") < 80


def _replay(written: str) -> list[str]:
    """What a terminal shows after control sequences for moving up and erasing lines."""
    lines, row = [""], 0
    for part in re.split(r"(\x1b\[[0-9;?]*[A-Za-z]|\r|\n)", written):
        if part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif match := re.fullmatch(r"\x1b\[(\d*)A", part):
            row -= int(match[1] or 1)
        elif part == "\x1b[2K":
            lines[row] = ""
        elif part and not part.startswith(("\x1b", "\r")):
            lines[row] += part
    return lines


def test_elsewhere_there_are_lines_without_colour(
    wide_config: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.cli.search_progress.LINE_EVERY", 0)
    file = io.StringIO()
    study = opened(wide_config, 10)
    with SearchProgress(Console(file=file), study) as view:
        work(study, view, 20)
    lines = file.getvalue().splitlines()
    assert lines[-1].startswith("10/10 architectures")
    assert len(lines) >= 10
    assert "\x1b" not in file.getvalue()


def test_quiet_says_nothing(wide_config: StudyConfig) -> None:
    file = io.StringIO()
    study = opened(wide_config, 5)
    with SearchProgress(Console(file=file, force_terminal=True), study, quiet=True) as view:
        work(study, view, 5)
    assert file.getvalue() == ""


def test_no_color_takes_the_colour_away(
    wide_config: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    study = opened(wide_config, 20)
    view = LiveView(study)
    work(study, view, 12)
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True)
    console.print(view)
    assert isinstance(console.file, io.StringIO)
    colours = re.findall(r"\x1b\[[0-9;]*(?:3[0-7]|38;|9[0-7])[0-9;]*m", console.file.getvalue())
    assert colours == []


def test_savings_are_the_epochs_that_were_not_trained(
    synthetic_study: Callable[..., optuna.Study], tiny_config: StudyConfig
) -> None:
    study = synthetic_study(tiny_config, 50)
    stopped = [t for t in study.get_trials() if t.state.name == "PRUNED"]
    found = savings(study, 2)
    assert (found.repeats, found.stopped, found.epochs) == (0, len(stopped), len(stopped))


@pytest.mark.parametrize("width", [80, 60, 200])
def test_the_table_has_a_line_for_the_figures_of_each_network(
    synthetic_study: Callable[..., optuna.Study], wide_config: StudyConfig, width: int
) -> None:
    members = front(synthetic_study(wide_config, 300), wide_config)
    console = Console(file=io.StringIO(), width=width)
    console.print(front_table(members, wide_config.columns, wide_config.objectives, width))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    figures, archs = text.split("architecture", 1)
    for member in members:
        arch_id, estimate = member.attributes["arch_id"], member.estimate
        assert estimate is not None
        (line,) = (line for line in figures.splitlines() if line.lstrip().startswith(f"{arch_id} "))
        for share in (member.attributes["accuracy"], estimate.accuracy):
            assert f"{100 * share:.2f} %" in line
        assert "{:.1f}-{:.1f}".format(*(100 * end for end in estimate.interval)) in line
        assert f" {100 * estimate.on_front:.0f} %" in line
        assert sum(arch_id in line for line in archs.splitlines()) == 1
    column = next(line.index("stem") for line in archs.splitlines() if "stem" in line)
    words = "".join(line[column:] for line in archs.splitlines()).replace(" ", "")
    for member in members:
        assert str(Arch.from_dict(member.attributes["arch"])).replace(" ", "") in words


def test_thinning_keeps_the_ends_and_the_knee(
    synthetic_study: Callable[..., optuna.Study], wide_config: StudyConfig, tmp_path: Path
) -> None:
    members = front(synthetic_study(wide_config, 900), wide_config)
    assert len(members) > 6
    shown = subsample(members, 5)
    assert len(shown) <= 5
    assert {members[0].trial.number, members[-1].trial.number} <= {m.trial.number for m in shown}
    assert sum(member.knee for member in shown) == 1


@pytest.mark.parametrize(
    ("trials", "limit", "expected"),
    [
        (300, None, "knee"),
        (2, None, "top:1"),
        (300, 4_000_000, "under:4M"),
        (2, 1_500_000, "under:1500K"),
        (300, 1_234_567, "under:1234567"),
        (300, 1, "knee"),
    ],
)
def test_the_next_step_selects_something(
    synthetic_study: Callable[..., optuna.Study], wide_config: StudyConfig, tmp_path: Path,
    trials: int, limit: int | None, expected: str,
) -> None:  # fmt: skip
    study = synthetic_study(wide_config, trials, stopped=0, failed=0)
    members = front(study, wide_config)
    chosen = next_selection(Limits(max_macs=limit), members)
    assert chosen == expected
    contents = front_file("s", wide_config, members)
    (entry,) = select(contents, chosen)
    if limit is not None and limit > 1:
        affordable = [one for one in contents.architectures if one.macs <= limit]
        assert entry == max(affordable, key=lambda one: one.expected)


def test_a_signal_is_acknowledged_at_once(wide_config: StudyConfig) -> None:
    received: list[int] = []
    view = LiveView(opened(wide_config, 30), received)
    assert "stopping" not in "".join(screen(view, 100, 24))
    received.append(2)
    assert "stopping: running trials are queued for the next start" in "".join(
        screen(view, 100, 24)
    )


def test_networks_no_better_than_guessing_are_said_to_be(tiny_config: StudyConfig) -> None:
    study = opened(tiny_config, 3)
    view = LiveView(study)
    assert "no network has been trained to the end yet" in view.progress()
    for _ in range(3):
        candidate = study.ask()
        assert candidate is not None
        study.complete(candidate.number, Measurement(0.1, 2, 1.0, [(2, 0.1)]))
        view.ended(candidate, "finished")
    assert "no network is better than guessing yet" in view.progress()
    members = front(study.study, tiny_config)
    note = chance_note(members, tiny_config)
    assert note is not None
    assert "guessing among 10 classes has 10.00 %" in note
    assert note in describe_finding(read_study(study.study, tiny_config), [], None)
    study = opened(tiny_config, 1)
    candidate = study.ask()
    assert candidate is not None
    study.complete(candidate.number, Measurement(0.4, 2, 1.0, [(2, 0.4)]))
    assert chance_note(front(study.study, tiny_config), tiny_config) is None
    assert chance_note([], tiny_config) is None


def test_the_speed_is_that_of_trials_at_work(
    wide_config: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two trials of 10 s at a time, which end together: 12 trials per minute, whenever asked."""
    clock = 0.0
    monkeypatch.setattr("nas.cli.live_view.time.monotonic", lambda: clock)
    study = opened(wide_config, 9)
    view = LiveView(study)
    said = [view.estimate()]
    while study.counted < 9:
        pair = [one for one in (study.ask(), study.ask()) if one is not None]
        for _ in pair:
            view.started()
        clock += 9.7 if study.counted else 40.0  # the first ones start their workers
        for candidate in pair:
            clock += 0.15
            study.complete(candidate.number, Measurement(0.5, 2, 1.0, [(2, 0.5)]))
            view.ended(candidate, "finished")
            said.append(view.estimate())
    waiting = "first trials running"
    assert said[:4] == ["starting Ray", waiting, waiting, waiting]
    assert said[-1] == "the budget is reached"
    speeds = [float(text.split()[0]) for text in said[4:-1]]
    assert len(speeds) == 5
    assert all(11.5 < speed < 12.5 for speed in speeds), said
    assert "12.0 trials/min, about 5 s left" in said[-2]


def test_balanced_accuracy_heads_its_column(wide_config: StudyConfig) -> None:
    recipe = wide_config.recipe.model_copy(update={"metric": "balanced-accuracy"})
    config = replace(wide_config, recipe=recipe)
    study = opened(config, 40)
    view = LiveView(study)
    work(study, view, 30)
    console = Console(file=io.StringIO(), width=100)
    console.print(front_table(view.members, config.columns, config.objectives, 100))
    assert isinstance(console.file, io.StringIO)
    for lines in (console.file.getvalue().splitlines(), screen(view, 100, 40)):
        first = next(i for i, line in enumerate(lines) if "balanced" in line)
        assert lines[first + 1].index("accuracy") == lines[first].index("balanced")
    work(plain := opened(wide_config, 40), plain_view := LiveView(plain), 30)
    assert "balanced" not in "".join(screen(plain_view, 100, 40))


def test_a_hypervolume_of_0_is_explained(tiny_config: StudyConfig) -> None:
    study = opened(tiny_config, 3)
    view = LiveView(study)
    most = extreme(tiny_config.space, 8, 1, 10, lambda cost: cost.macs, largest=True)
    study.study.enqueue_trial(tiny_config.space.encode(most))
    candidate = study.ask()
    assert candidate is not None
    assert candidate.arch == most
    study.complete(candidate.number, Measurement(0.9, 2, 1.0, [(2, 0.9)]))
    view.ended(candidate, "finished")
    assert view.progress().endswith("only the most expensive network is better than guessing yet")
