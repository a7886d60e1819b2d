"""The data of a front: read, and augmented, as the search did."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nas.data import load_search_data
from nas.retrain.front_data import load_front_data
from nas.study.front_file import load_front

ROOT = Path(__file__).parents[2]


def test_a_front_keeps_the_augmentation_of_its_search(tmp_path: Path) -> None:
    """A version may augment a data set that has a name otherwise than an earlier one did."""
    digits = load_search_data("digits", tmp_path).info
    earlier = replace(digits, crop=0, flip=True)
    stored = load_front(ROOT / "results/benchmarks/earlier-run/front.json")
    for info, lines in (
        (digits, []),
        (
            earlier,
            [
                "augmented as in the search: horizontal flips; a new search of digits has crops "
                "from a margin of 1 px"
            ],
        ),
    ):
        front = stored.model_copy(update={"dataset": info.to_dict(), "splits": None})
        data, notes = load_front_data(front, tmp_path / "front.json", tmp_path)
        assert data.info == info
        assert notes == lines
