"""The bits of a trial survive as text."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.stopping.right_images import MAX_KEPT, decode, encode


@settings(max_examples=60, deadline=None)
@given(st.integers(1, MAX_KEPT), st.floats(0, 1), st.integers(0, 9))
def test_bits_survive_as_a_short_text(images: int, accuracy: float, seed: int) -> None:
    right = np.random.default_rng(seed).random(images) < accuracy
    text = encode(right)
    assert decode(text).tolist() == right.tolist()
    assert len(text) <= 720


def test_a_large_split_keeps_a_sample_of_all_of_it() -> None:
    """In a folder's order of classes one class would be all that the first images show."""
    right = np.arange(100_000) >= 50_000
    kept = decode(encode(right))
    assert len(kept) == MAX_KEPT
    assert kept.mean() == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize(
    "text", ["", "5", "5:", "x:eJwDAAAAAAE=", "9:!", encode(np.ones(9, bool))[1:]]
)
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="right images"):
        decode(text)
    with pytest.raises(ValueError, match="right images"):
        decode(encode(np.ones(9, bool)).replace("9:", "17:"))
