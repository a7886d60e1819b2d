"""The full recipe adapts to few training images."""

from __future__ import annotations

import pytest

from nas.training import get_recipe
from nas.training.small_data import ADAPTED, FEW_IMAGES, LEAST_BATCH, LEAST_STEPS, adapt, stretch

FULL = get_recipe("full")


@pytest.mark.parametrize("images", [1, 15, 16, 100, 240, 511, 512, 1150, FEW_IMAGES - 1])
def test_few_images_get_small_batches_and_many_steps(images: int) -> None:
    adapted = adapt(FULL, images)
    steps = max(1, images // adapted.batch_size) * adapted.epochs
    assert steps >= LEAST_STEPS
    assert LEAST_BATCH <= adapted.batch_size <= FULL.batch_size
    assert adapted.learning_rate / adapted.batch_size == pytest.approx(
        FULL.learning_rate / FULL.batch_size
    )
    changed = {name for name in ADAPTED if getattr(adapted, name) != getattr(FULL, name)}
    assert changed >= {"batch_size", "learning_rate"}
    fields = {name: getattr(adapted, name) for name in ADAPTED} | {"clip_norm": None}
    assert adapted == FULL.model_copy(update=fields)
    assert FULL.clip_norm is not None


def test_more_images_keep_the_recipe() -> None:
    assert adapt(FULL, FEW_IMAGES) == FULL
    assert adapt(FULL.model_copy(update={"train_images": 300}), 50_000) != FULL


def test_what_the_user_gave_stays() -> None:
    assert adapt(FULL, 240, ()) == FULL
    assert adapt(FULL, 240, ("batch_size",)).learning_rate == FULL.learning_rate
    assert adapt(FULL, 240, ("learning_rate", "batch_size")).epochs == FULL.epochs
    own_batch = adapt(FULL, 240, ("learning_rate", "epochs"))
    assert (own_batch.batch_size, own_batch.clip_norm) == (FULL.batch_size, FULL.clip_norm)


def test_a_stretched_schedule_trains_on_all_images_at_their_own_size() -> None:
    short = get_recipe("short-cpu-subset")
    stretched = stretch(short, 100)
    assert (stretched.epochs, stretched.trained_size(28)) == (100, 28)
    assert stretched.train_images is stretched.val_images is None
    assert stretched.batch_size == short.batch_size
    assert stretch(short, 1).epochs == short.epochs
