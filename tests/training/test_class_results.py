"""Results by class add up to the confusion matrix."""

from __future__ import annotations

import torch
from sklearn.metrics import confusion_matrix

from nas.training.class_results import class_results


def test_they_are_the_confusion_matrix() -> None:
    generator = torch.Generator().manual_seed(0)
    labels_N = torch.randint(0, 4, (200,), generator=generator)  # of 5 classes one has no image
    predicted_N = torch.randint(0, 5, (200,), generator=generator)
    results = class_results(labels_N, predicted_N, 5)
    matrix = torch.zeros(5, 5, dtype=torch.long)
    matrix.diagonal().copy_(torch.tensor(results["class_right"]))
    for label, taken, count in results["confusions"]:
        assert label != taken
        matrix[label, taken] = count
    expected = confusion_matrix(labels_N, predicted_N, labels=range(5))
    assert matrix.tolist() == expected.tolist()
    assert results["class_images"] == expected.sum(1).tolist()
    counts = [count for *_, count in results["confusions"]]
    assert counts == sorted(counts, reverse=True)


def test_without_errors_there_are_no_confusions() -> None:
    labels_N = torch.tensor([0, 1, 1])
    assert class_results(labels_N, labels_N, 2)["confusions"] == []
