"""A classifier: the probabilities of the trained network, for every form of an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import nas
from nas.data import Batches, load_search_data, load_test_data
from nas.deploy.classifier import Classifier
from nas.models import dyclotnet
from nas.training.pretrained import load_pretrained, read_description

NOWHERE = Path("unused")


@pytest.fixture(scope="module")
def classifier(trained: Path) -> Classifier:
    return nas.load_classifier(trained)


@pytest.fixture(scope="module")
def digit() -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = load_test_data("digits", NOWHERE).images[0, 0].numpy()
    return pixels


def test_predictions_equal_the_trained_network(trained: Path, classifier: Classifier) -> None:
    test = load_test_data("digits", NOWHERE)
    info = read_description(trained).dataset_info()
    normalised, _ = next(iter(Batches(test, info, 100, torch.device("cpu"))))
    with torch.inference_mode():
        expected_BK = load_pretrained(trained)(normalised).softmax(1)
    answers = classifier.predict([test.images[i, 0].numpy() for i in range(100)])
    assert len(answers) == 100
    for answer, expected in zip(answers, expected_BK.tolist(), strict=True):
        probabilities = [one.probability for one in answer]
        assert probabilities == sorted(probabilities, reverse=True)
        by_name = dict(answer)
        np.testing.assert_allclose([by_name[n] for n in info.class_names], expected, atol=1e-5)


def test_every_form_of_an_image_has_the_same_answer(
    classifier: Classifier, digit: NDArray[np.uint8], tmp_path: Path
) -> None:
    path = tmp_path / "digit.png"
    Image.fromarray(digit).save(path)
    image = Image.open(path)
    forms: list[Any] = [
        path, str(path), image, digit, digit / 255, (digit / 255).astype(np.float32),
        digit[..., None], np.repeat(digit[..., None], 3, 2), torch.from_numpy(digit),
        np.dstack([digit, digit, digit, np.full_like(digit, 255)]),
    ]  # fmt: skip
    together = classifier.predict(forms)
    for form, answer in zip(forms, together, strict=True):
        (alone,) = classifier.predict(form)
        assert [name for name, _ in alone] == [name for name, _ in answer]
        np.testing.assert_allclose([p for _, p in answer], [p for _, p in together[0]], atol=1e-6)
    image.load()  # the caller's image is still open
    assert classifier.predict([]) == classifier.predict(()) == []


def test_an_image_of_another_size_is_resized_like_a_file(
    classifier: Classifier, digit: NDArray[np.uint8], tmp_path: Path
) -> None:
    large = Image.fromarray(digit).convert("RGB").resize((83, 61))
    large.save(tmp_path / "large.png")
    of_file, of_image, of_array = classifier.predict(
        [tmp_path / "large.png", large, np.asarray(large)]
    )
    for answer in (of_image, of_array):
        assert dict(answer) == pytest.approx(dict(of_file), abs=1e-5)


def test_a_colour_network_takes_grey_images(digit: NDArray[np.uint8]) -> None:
    torch.manual_seed(0)
    info = load_search_data("digits", NOWHERE).info
    values = info.to_dict() | {"in_channels": 3, "mean": [0.4] * 3, "std": [0.2] * 3}
    coloured = Classifier(dyclotnet(0.25, 8), type(info).from_dict(values))
    grey, colour = coloured.predict([digit, np.repeat(digit[..., None], 3, 2)])
    assert [name for name, _ in grey] == [name for name, _ in colour]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((3, 8, 8), np.uint8), r"shape \(3, 8, 8\); accepted: H x W"),
        (np.zeros((2, 8, 8, 3), np.uint8), r"shape \(2, 8, 8, 3\)"),
        (np.zeros(8, np.uint8), r"shape \(8,\)"),
        (np.zeros((0, 8), np.uint8), r"shape \(0, 8\)"),
        (np.zeros((8, 8), np.int64), "array of int64; accepted: uint8"),
        (np.zeros((8, 8), bool), "array of bool"),
        (np.full((8, 8), "x"), "array of <U1"),
        (np.full((8, 8), 1.5), "accepted: 0 to 1"),
        (np.full((8, 8), np.nan), "accepted: 0 to 1"),
        (np.full((8, 8), -0.1), "accepted: 0 to 1"),
        (7, "image: int; accepted: a path, a PIL image, an array"),
        (None, "image: NoneType; accepted"),
        ([[1.0, 2.0]], "image: list; accepted"),
        ("text.png", "text.png: not an image"),
        ("missing.png", "missing.png"),
        ("folder.png", "folder.png"),
        ("nul\0.png", "not an image"),
        (Image.new("L", (0, 5)), "image: 0x5 pixels"),
    ],
)
def test_what_is_no_image_is_one_line(
    classifier: Classifier, digit: NDArray[np.uint8], image: Any, message: str,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("text.png").write_text("not an image")
    Path("folder.png").mkdir()
    for given in (image, [digit, image]):
        with pytest.raises(ValueError, match=message) as caught:
            classifier.predict(given)
        assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("images[1]: ") != isinstance(image, str)
