from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.generate import KINDS, Kind, build, generate
from benchmarks.tables import from_frame, read_table


def frame():
    return pd.DataFrame(
        {
            "x1": ["a", "a", "b", "b"],
            "x2": [8, 16, 8, 16],
            "accuracy_1": [50.0, 60.0, 55.0, 70.0],
            "accuracy_2": [52.0, 60.0, 57.0, 70.0],
            "macs": [100, 200, 150, 300],
            "params": [10, 20, 15, 30],
        }
    )


def test_a_file_is_read_with_its_words_and_numbers(tmp_path: Path):
    frame().to_csv(tmp_path / "small.csv", index=False)
    table = read_table(tmp_path / "small.csv")
    assert table.name == "small"
    assert [choice.ordinal for choice in table.choices] == [False, True]
    assert table.choices[1].values == (8, 16)
    assert table.row({"x1": "b", "x2": 8}) == 2
    np.testing.assert_allclose(table.error, [0.49, 0.4, 0.44, 0.3])
    assert table.reference == (np.log10(300), pytest.approx(np.percentile(table.error, 90)))


def test_words_that_pandas_takes_for_missing_are_words(tmp_path: Path):
    frame().replace("a", "none").replace("b", "NA").to_csv(tmp_path / "t.csv", index=False)
    assert read_table(tmp_path / "t.csv").choices[0].values == ("none", "NA")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="x1"), "no column x1"),
        (lambda f: f.drop(columns="accuracy_1"), "no column accuracy_1"),
        (lambda f: f.drop(columns="macs"), "no column 'macs'"),
        (lambda f: f.assign(macs=0), "positive"),
        (lambda f: f.assign(accuracy_1="high"), "not numeric"),
        (lambda f: f.assign(x2=[0.5, 1.5, 0.5, 1.5]), "words or integers"),
        (lambda f: pd.concat([f, f]), "appears twice"),
    ],
)
def test_mistakes_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        from_frame(change(frame()), "t")


def test_a_missing_file_is_one_line():
    with pytest.raises(ValueError, match="cannot be read"):
        read_table(Path("nowhere.csv"))


@pytest.mark.parametrize("kind", KINDS)
def test_generated_tables_are_complete_and_the_same_every_time(kind):
    table = generate(kind, 3)
    sizes = [len(choice.values) for choice in table.choices]
    assert len(table.codes) == np.prod(sizes) == len({tuple(code) for code in table.codes})
    assert table.fingerprint == generate(kind, 3).fingerprint
    assert table.fingerprint != generate(kind, 4).fingerprint
    assert (table.macs > 0).all()
    assert ((table.accuracy >= 0) & (table.accuracy <= 1)).all()


def test_a_processor_that_rounds_otherwise_makes_the_same_table():
    table = generate("mixed", 3)
    rounded = replace(table, accuracy=np.nextafter(table.accuracy, 1.0))
    assert (rounded.accuracy != table.accuracy).all()
    assert rounded.fingerprint == table.fingerprint
    assert replace(table, accuracy=table.accuracy + 1e-6).fingerprint != table.fingerprint


def test_generated_tables_have_interactions():
    """Main effects and cost alone do not explain the quality; pairs explain more."""
    table = build(Kind(categorical=3, operations=4, ordinal=0, widths=0, own=0.0), 0, "t")
    y = np.log(table.error)
    onehot = np.hstack([np.eye(4)[column] for column in table.codes.T])
    pairs = np.hstack(
        [
            (
                np.eye(4)[table.codes[:, i]][:, :, None] * np.eye(4)[table.codes[:, j]][:, None]
            ).reshape(len(y), -1)
            for i in range(3)
            for j in range(i)
        ]
    )

    def unexplained(features):
        fitted = features @ np.linalg.lstsq(features, y, rcond=None)[0]
        return np.var(y - fitted) / np.var(y)

    main = unexplained(np.column_stack([onehot, np.log(table.macs)]))
    assert main > 0.1
    assert unexplained(np.hstack([onehot, pairs])) < 0.6 * main


def test_an_unknown_kind_is_named():
    with pytest.raises(ValueError, match="accepted: categorical, ordinal, mixed"):
        generate("cubic")
