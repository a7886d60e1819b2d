"""A teacher's logits: their file, the views that they belong to, and what a student learns."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from nas.data import Batches, SearchData, load_test_data
from nas.space.arch import Arch, StageArch
from nas.training import Recipe, Trainer, build, get_recipe
from nas.training.distillation import TEMPERATURE, WEIGHT, Teacher, distillation_loss
from nas.training.full import retrain
from nas.training.pretrained import load_pretrained, read_description
from nas.training.teacher import LOGITS, keep_logits, read_teacher
from nas.training.trainer import shorten

CPU = torch.device("cpu")
RECIPE = get_recipe("full", epochs=3, batch_size=50, train_images=200, val_images=100)
STUDENT = Arch(8, (StageArch(16, 1, 2, "pointwise", 2, None),))


class Killed(BaseException):
    """What a signal does to a training."""


@pytest.fixture(scope="module")
def data(digits_data: SearchData) -> SearchData:
    """Digits that may be mirrored, so that there are two views."""
    return replace(digits_data, info=replace(digits_data.info, flip=True))


def train(
    network: Arch, data: SearchData, folder: Path, recipe: Recipe = RECIPE, **rest: Any
) -> dict[str, Any]:
    def load() -> Any:
        return load_test_data("digits", Path("unused"))

    return retrain(network, data, load, recipe, 0, folder, device=CPU, **rest)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_arch: Arch, data: SearchData) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    train(tiny_arch, data, folder)
    keep_logits(folder, data, CPU)
    return folder


@pytest.fixture(scope="module")
def teacher(trained: Path) -> Teacher:
    found = read_teacher(trained)
    assert found is not None
    return found


@pytest.fixture
def taught(teacher: Teacher) -> Recipe:
    return RECIPE.model_copy(update={"teacher": teacher.network})


def test_the_file_holds_the_networks_logits_of_both_views(
    trained: Path, teacher: Teacher, data: SearchData
) -> None:
    network, few = load_pretrained(trained), shorten(data, RECIPE)
    images_NCHW, _ = next(iter(Batches(few.train, few.info, 200, CPU)))
    assert teacher.logits.shape == (2, 200, 10)
    with torch.no_grad():
        for view, shown in zip(teacher.logits, (images_NCHW, images_NCHW.flip(3)), strict=True):
            torch.testing.assert_close(view.float(), network(shown), atol=0.02, rtol=0.002)
    assert (teacher.logits[0] != teacher.logits[1]).any()
    assert teacher.network == read_description(trained).arch_id
    spent = json.loads((trained / "metrics.json").read_text())["seconds"]
    assert teacher.seconds > spent


def test_without_mirroring_there_is_one_view(
    tmp_path: Path, tiny_arch: Arch, digits_data: SearchData
) -> None:
    train(tiny_arch, digits_data, tmp_path)
    keep_logits(tmp_path, digits_data, CPU)
    found = read_teacher(tmp_path)
    assert found is not None
    assert found.logits.shape == (1, 200, 10)


def test_each_image_comes_with_the_logits_of_the_view_that_is_shown(data: SearchData) -> None:
    few = data.train.take(torch.arange(60).numpy())
    info = replace(data.info, crop=0)
    number_N = torch.arange(60.0)
    logits_VNK = torch.stack([number_N, number_N + 1000])[:, :, None]
    plain_NCHW = torch.cat([images for images, _ in Batches(few, info, 60, CPU)])
    batches = Batches(
        *(few, info, 20, CPU), generator=torch.Generator().manual_seed(0), logits_VNK=logits_VNK
    )
    mirrored = 0
    for images_BCHW, labels_B, logits_BK in batches:
        for image, label, (value,) in zip(images_BCHW, labels_B, logits_BK.tolist(), strict=True):
            number, flipped = int(value) % 1000, value >= 1000
            mirrored += flipped
            expected = plain_NCHW[number].flip(2) if flipped else plain_NCHW[number]
            assert torch.equal(image, expected)
            assert label == few.labels[number]
    assert 10 < mirrored < 50


def test_the_loss_is_the_divergence_of_softened_probabilities() -> None:
    torch.manual_seed(0)
    student_BK = torch.randn(6, 4, requires_grad=True)
    teacher_BK, weights_B = torch.randn(6, 4), torch.rand(6)
    p_BK = F.softmax(teacher_BK / TEMPERATURE, 1)
    q_BK = F.softmax(student_BK / TEMPERATURE, 1)
    each_B = TEMPERATURE**2 * (p_BK * (p_BK / q_BK).log()).sum(1)
    torch.testing.assert_close(distillation_loss(student_BK, teacher_BK), each_B.mean())
    torch.testing.assert_close(
        distillation_loss(student_BK, teacher_BK, weights_B),
        (each_B * weights_B).sum() / weights_B.sum(),
    )
    same = distillation_loss(student_BK, student_BK.detach())
    (gradient,) = torch.autograd.grad(same, student_BK)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-6, rtol=0)
    # Hinton et al.: with the squared temperature the gradient is T (q - p).
    (gradient,) = torch.autograd.grad(distillation_loss(student_BK, teacher_BK), student_BK)
    torch.testing.assert_close(gradient, TEMPERATURE * (q_BK - p_BK).detach() / 6)


@pytest.mark.parametrize("mixup", [0.0, 0.5])
@pytest.mark.parametrize("metric", ["accuracy", "balanced-accuracy"])
def test_a_teacher_that_is_wrong_is_learned_from(
    data: SearchData, mixup: float, metric: str
) -> None:
    """Its logits name the next class; with its weight in the loss the student names it too."""
    recipe = RECIPE.model_copy(
        update={
            "epochs": 20,
            "batch_size": 20,
            "mixup": mixup,
            "metric": metric,
            "teacher": "wrong",
        }
    )
    few = shorten(data, recipe)
    wrong_NK = 12 * F.one_hot((few.train.labels + 1) % 10, 10).half()
    teacher = Teacher("wrong", torch.stack([wrong_NK, wrong_NK]), "", 0.0)
    accuracies = []
    for one in (teacher, None):
        trainer = Trainer(
            build(STUDENT, data.info, 0), data, recipe, seed=0, device=CPU, threads=1, teacher=one
        )
        for _ in range(recipe.epochs):
            trainer.train_epoch()
        accuracies.append(trainer.evaluate())
    assert WEIGHT > 0.5
    assert accuracies[0] < 0.2 < 0.3 < accuracies[1]


def test_the_logits_are_made_once(trained: Path, data: SearchData) -> None:
    before = (trained / LOGITS).stat()
    keep_logits(trained, data, CPU)
    after = (trained / LOGITS).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def flip_a_bit(folder: Path) -> None:
    content = (folder / LOGITS).read_bytes()
    (folder / LOGITS).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def tear(folder: Path) -> None:
    (folder / LOGITS).write_bytes((folder / LOGITS).read_bytes()[:100])


def retrain_with(**change: Any) -> Callable[[Path], None]:
    """Another description, as another training in the same folder leaves it."""

    def damage(folder: Path) -> None:
        described = json.loads((folder / "arch.json").read_text())
        described["recipe"] |= change
        (folder / "arch.json").write_text(json.dumps(described))

    return damage


@pytest.mark.parametrize(
    "change",
    [flip_a_bit, tear, retrain_with(epochs=4), lambda folder: (folder / LOGITS).unlink()],
)
def test_logits_that_are_damaged_or_of_another_training_are_made_anew(
    trained: Path, teacher: Teacher, data: SearchData, tmp_path: Path, change: Any
) -> None:
    for name in ("arch.json", "metrics.json", "model.safetensors", LOGITS):
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    change(tmp_path)
    assert read_teacher(tmp_path) is None
    keep_logits(tmp_path, data, CPU)
    found = read_teacher(tmp_path)
    assert found is not None
    assert torch.equal(found.logits, teacher.logits)


def test_a_kill_while_logits_are_written_leaves_none(
    trained: Path, data: SearchData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("arch.json", "metrics.json", "model.safetensors"):
        (tmp_path / name).write_bytes((trained / name).read_bytes())

    def killed(handle: int) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("nas.files.os.fsync", killed)
        with pytest.raises(Killed):
            keep_logits(tmp_path, data, CPU)
    assert read_teacher(tmp_path) is None
    assert {path.name for path in tmp_path.iterdir()} == {
        "arch.json", "metrics.json", "model.safetensors"
    }  # fmt: skip
    keep_logits(tmp_path, data, CPU)
    assert read_teacher(tmp_path) is not None


@pytest.mark.parametrize("killed_after", [1, 3])
def test_a_killed_student_continues_to_the_same_result(
    teacher: Teacher, taught: Recipe, data: SearchData, tmp_path: Path, killed_after: int
) -> None:
    def kill(epoch: int, *rest: Any) -> None:
        if epoch == killed_after:
            raise Killed

    whole = train(STUDENT, data, tmp_path / "whole", taught, teacher=teacher)
    with pytest.raises(Killed):
        train(STUDENT, data, tmp_path / "killed", taught, teacher=teacher, progress=kill)
    other = replace(teacher, fingerprint="another")
    with pytest.raises(ValueError, match="began with other logits"):
        train(STUDENT, data, tmp_path / "killed", taught, teacher=other)
    again = train(STUDENT, data, tmp_path / "killed", taught, teacher=teacher)
    assert again | {"seconds": 0} == whole | {"seconds": 0}
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "killed")]
    assert weights[0] == weights[1]
    assert whole["teacher_seconds"] == teacher.seconds


def test_a_student_is_of_its_teacher_alone(
    teacher: Teacher, taught: Recipe, data: SearchData, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"teacher: None; accepted: \w{12}"):
        train(STUDENT, data, tmp_path, taught)
    with pytest.raises(ValueError, match="accepted: None"):
        train(STUDENT, data, tmp_path, teacher=teacher)
    train(STUDENT, data, tmp_path, taught, teacher=teacher)
    with pytest.raises(ValueError, match=r"another recipe \(teacher: \w{12} there, None asked\)"):
        train(STUDENT, data, tmp_path)
    more = taught.model_copy(update={"train_images": 300})
    with pytest.raises(ValueError, match="logits of the teacher for 200 images; accepted: for 300"):
        train(STUDENT, data, tmp_path / "more", more, teacher=teacher)
