"""The replay of stopping rules: its accounting, and the rules on synthetic curves."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.curves import CurveTable, generate_curves, read_curves
from benchmarks.stopping import compare, one_epoch, replay
from benchmarks.stopping_rules import STRENGTHS, halving, sorting
from nas.stopping.rule import StoppingSettings, TrialCurve, rungs

NAAP = Path(__file__).parents[3] / "shared/tables/naap-440.csv"


@pytest.fixture(scope="module")
def table() -> CurveTable:
    return generate_curves(2, networks=60, epochs=9)


def test_without_stopping_everything_is_spent_and_found(table: CurveTable) -> None:
    for in_flight in (1, 8, 100):
        outcome = replay(table, lambda trial, others: True, range(60), (1, 3, 9), in_flight)
        shares = (outcome.hypervolume, outcome.epochs, outcome.multiply_adds, outcome.finished)
        assert shares == pytest.approx((1, 1, 1, 1))


def test_what_is_stopped_at_once_costs_its_first_rung(table: CurveTable) -> None:
    outcome = replay(table, lambda trial, others: False, range(60), (3, 9))
    assert outcome.epochs == pytest.approx(1 / 3)
    assert outcome.finished == 0
    assert outcome.hypervolume == 0


def test_a_rule_sees_the_past_only_and_itself_never(table: CurveTable) -> None:
    seen: list[tuple[float, int, int]] = []

    def rule(trial: TrialCurve, others: object) -> bool:
        assert isinstance(others, list)
        assert trial not in others
        seen.append((trial.costs[0], max(trial.curve), len(others)))
        return True

    replay(table, rule, range(20), (1, 3, 9), in_flight=1)
    assert [entry[1] for entry in seen] == [1, 3] * 20
    assert [entry[2] for entry in seen] == [n for n in range(20) for _ in range(2)]
    seen.clear()
    replay(table, rule, range(20), (1, 3, 9), in_flight=20)
    cheapest = float(table.macs[:20].min())
    assert seen[0] == (cheapest, 1, 0)


def test_after_one_epoch_the_best_of_all_are_trained_to_the_end(table: CurveTable) -> None:
    everything, some = one_epoch(table, 1.0), one_epoch(table, 0.3)
    assert (everything.hypervolume, everything.epochs) == pytest.approx((1, 1))
    assert some.finished == pytest.approx(0.3)
    assert some.epochs == pytest.approx(0.3 + 0.7 / 9)
    first = CurveTable("", table.macs, np.repeat(table.accuracy[:, -1:], 9, axis=1))
    assert one_epoch(first, 0.3).hypervolume == pytest.approx(1)  # nothing changes after it


def test_baselines_keep_the_share_that_they_are_asked_for() -> None:
    rng = np.random.default_rng(1)
    shown = [TrialCurve((float(m),), {1: float(a)}) for m, a in rng.uniform(0.1, 1, (200, 2))]
    for make in (halving, sorting):
        rule = make(0.3, 9, None)
        kept = sum(rule(s, [other for other in shown if other is not s]) for s in shown[:100])
        assert 18 <= kept <= 42, make.__name__


def test_ours_beats_both_on_generated_curves_at_equal_epochs() -> None:
    tables = [generate_curves(seed, networks=120) for seed in (200, 201, 202)]
    strengths = {
        "front": (StoppingSettings.confidence,),
        "halving": (0.3, 0.6, 0.9),
        "sorting": (0.3, 0.6, 0.9),
    }
    rows = compare(tables, orders=1, in_flight=(2,), strengths=strengths)
    ours = rows[0]
    assert ours.hypervolume >= 0.97
    assert ours.epochs < 0.5
    assert ours.halving is not None
    assert ours.sorting is not None
    assert ours.hypervolume >= max(ours.halving, ours.sorting)


@pytest.mark.slow
@pytest.mark.skipif(not NAAP.exists(), reason="needs the published table NAAP-440")
def test_the_rule_on_naap_440() -> None:
    rows = compare(
        [read_curves(NAAP)],
        orders=5,
        in_flight=(1, 8),
        strengths={
            "front": (StoppingSettings.confidence,),
            "halving": (0.6, 0.7),
            "sorting": (0.5, 0.6, 0.7),
        },
    )
    for ours in (row for row in rows if row.rule == "front"):
        assert ours.hypervolume >= 0.99
        assert ours.epochs <= 1 / 3
        assert ours.hypervolume >= max(ours.halving or 0, ours.sorting or 0)


def test_reading_a_table_back(table: CurveTable, tmp_path: Path) -> None:
    columns = {f"epoch_{e + 1}": 100 * table.accuracy[:, e] for e in range(table.epochs)}
    pd.DataFrame({"id": 1, "macs": table.macs, **columns}).to_csv(tmp_path / "t.csv")
    again = read_curves(tmp_path / "t.csv")
    assert again.accuracy == pytest.approx(table.accuracy)
    assert again.best == pytest.approx(table.best)
    assert rungs(again.epochs) == (1, 2, 4, 9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "accepted: columns macs and epoch_1"),
        ("macs,epoch_1,epoch_2\n1,2,x\n", "column epoch_2 is not numeric"),
        ("macs,epoch_1,epoch_2\n0,2,3\n", "accepted: positive numbers"),
        ("macs,epoch_1,epoch_2\n5,2,300\n", "outside of 0 to 100"),
        ("", "cannot be read"),
    ],
)
def test_a_bad_table_says_what_is_wrong(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(ValueError, match=message) as raised:
        read_curves(tmp_path / "bad.csv")
    assert "\n" not in str(raised.value)


def test_the_command_prints_a_table_and_writes_the_rows(
    table: CurveTable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks.stopping_table import parse_rungs, run_stopping

    columns = {f"epoch_{e + 1}": 100 * table.accuracy[:, e] for e in range(table.epochs)}
    pd.DataFrame({"macs": table.macs, **columns}).to_csv(tmp_path / "t.csv")
    target = tmp_path / "rows.json"
    run_stopping(
        tmp_path / "t.csv",
        orders=1,
        in_flight=(2,),
        evaluated=parse_rungs("3,9"),
        json_file=target,
    )
    printed = capsys.readouterr().out
    written = json.loads(target.read_text())
    assert {row["rule"] for row in written["rows"]} == set(STRENGTHS)
    assert "1 replays, 2 in flight" in printed
    for text in ("3,2", "0,9", "a", ""):
        with pytest.raises(ValueError, match="ascending epochs"):
            parse_rungs(text)
    with pytest.raises(ValueError, match="last epoch"):
        run_stopping(tmp_path / "t.csv", evaluated=(1, 3))
    with pytest.raises(ValueError, match="one of the two"):
        run_stopping(None)
