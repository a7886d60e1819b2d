"""The trainer: the same seed twice, continuation, averaged weights, divergence."""

from __future__ import annotations

import copy
import dataclasses
import io

import numpy as np
import pytest
import torch
from torch import nn

from nas.data import Batches, SearchData
from nas.data.splits import resize, thin_out
from nas.models import DyClotNet
from nas.models.fake_quantise import calibration_images, fake_quantise
from nas.space.arch import Arch
from nas.training import Diverged, Recipe, Trainer, accuracy, build
from nas.training.ema import WeightAverage
from nas.training.evaluate import evaluate_images
from nas.training.trainer import (
    CALIBRATION_IMAGES,
    FOLDED_PIXELS,
    SUBSET_SEED,
    _mix,
)

CPU, GPU = torch.device("cpu"), torch.device("cuda")
RECIPE = Recipe(
    name="test", epochs=4, batch_size=32, learning_rate=0.1, train_images=200, val_images=100
)


def trainer(
    arch: Arch, data: SearchData, recipe: Recipe = RECIPE, seed: int = 0, weights: int = 0
) -> Trainer:
    return Trainer(build(arch, data.info, weights), data, recipe, seed=seed, device=CPU, threads=1)


def assert_same_state(a: nn.Module, b: nn.Module) -> None:
    for (name, x), y in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        assert torch.equal(x, y), name


def differs(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return any(not torch.equal(x, y) for x, y in pairs)


def test_weights_depend_on_the_seed_alone(tiny_arch: Arch, digits_data: SearchData) -> None:
    torch.manual_seed(1)
    first = build(tiny_arch, digits_data.info, 5)
    drawn = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(3), drawn), "the global generator was disturbed"
    assert_same_state(first, build(tiny_arch, digits_data.info, 5))
    assert differs(first, build(tiny_arch, digits_data.info, 6))


@pytest.mark.parametrize("ema", [None, 0.9])
def test_two_runs_are_equal_bit_for_bit(
    tiny_arch: Arch, digits_data: SearchData, ema: float | None
) -> None:
    recipe = RECIPE.model_copy(update={"ema": ema})
    first, second = (trainer(tiny_arch, digits_data, recipe) for _ in range(2))
    for _ in range(2):
        assert first.train_epoch() == second.train_epoch()
        assert first.evaluate() == second.evaluate()
    assert_same_state(first.evaluated, second.evaluated)
    other = trainer(tiny_arch, digits_data, recipe, seed=1)
    other.train_epoch()
    other.train_epoch()
    assert differs(first.network, other.network)


@pytest.mark.parametrize("extra", [{}, {"ema": 0.9}, {"mixup": 0.2, "cutout": 0.5}], ids=str)
def test_continuing_equals_an_uninterrupted_run_bit_for_bit(
    tiny_arch: Arch, digits_data: SearchData, extra: dict[str, float]
) -> None:
    recipe = RECIPE.model_copy(update=extra)
    whole = trainer(tiny_arch, digits_data, recipe)
    losses = [whole.train_epoch() for _ in range(4)]

    begun = trainer(tiny_arch, digits_data, recipe)
    found = [begun.train_epoch() for _ in range(2)]
    file = io.BytesIO()
    torch.save(begun.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    begun.train_epoch()  # the saved state must not change

    continued = trainer(tiny_arch, digits_data, recipe, weights=9)
    continued.load_state_dict(state)
    assert continued.epoch == 2
    continued.evaluate()
    found += [continued.train_epoch() for _ in range(2)]
    assert found == losses
    assert_same_state(whole.network, continued.network)
    assert_same_state(whole.evaluated, continued.evaluated)
    assert whole.evaluate() == continued.evaluate()


def test_a_short_schedule_learns_the_digits(tiny_arch: Arch, digits_data: SearchData) -> None:
    recipe = Recipe(name="test", epochs=6, batch_size=16, learning_rate=0.1)
    run = trainer(tiny_arch, digits_data, recipe)
    losses = [run.train_epoch() for _ in range(recipe.epochs)]
    assert losses[-1] < losses[0] * 0.6
    assert run.evaluate() > 0.8


def test_a_loss_that_is_not_finite_names_its_epoch(
    tiny_arch: Arch, digits_data: SearchData
) -> None:
    run = trainer(tiny_arch, digits_data)
    run.train_epoch()
    with torch.no_grad():
        run.network.classifier.weight.fill_(float("inf"))  # type: ignore[union-attr,operator]
    with pytest.raises(Diverged, match="epoch 2"):
        run.train_epoch()


def test_clipped_gradients_survive_a_rate_at_which_others_diverge(
    tiny_arch: Arch, digits_data: SearchData
) -> None:
    high = RECIPE.model_copy(update={"learning_rate": 10.0, "batch_size": 20})
    with pytest.raises(Diverged):
        finish(trainer(tiny_arch, digits_data, high))
    clipped = trainer(tiny_arch, digits_data, high.model_copy(update={"clip_norm": 1.0}))
    finish(clipped)
    gradients = [p.grad for p in clipped.network.parameters() if p.grad is not None]
    assert nn.utils.get_total_norm(gradients) <= 1.0 + 1e-5


def finish(run: Trainer) -> None:
    while run.epoch < run.recipe.epochs:
        run.train_epoch()


def test_mixup_mixes_images_and_losses_alike(tiny_arch: Arch, digits_data: SearchData) -> None:
    """The loss of a linear network's mixture is that of both labels, weighted by the shares."""
    recipe = RECIPE.model_copy(update={"mixup": 0.4, "label_smoothing": 0.0})
    mixing = trainer(tiny_arch, digits_data, recipe)
    shares = mixing._draw_shares(4000)
    assert all(0 <= share <= 1 for share in shares)
    # Of Beta(a, a): mean 1/2, variance 1 / (4 (2 a + 1)).
    assert np.mean(shares) == pytest.approx(0.5, abs=0.03)
    assert np.var(shares) == pytest.approx(1 / (4 * 1.8), abs=0.01)
    logits, labels = torch.randn(8, 10), torch.arange(8)
    soft = 0.3 * torch.eye(10)[labels] + 0.7 * torch.eye(10)[labels.flip(0)]
    expected = torch.nn.functional.cross_entropy(logits, soft)
    assert mixing._loss(logits, labels, 0.3) == pytest.approx(float(expected), abs=1e-6)
    images = torch.rand(8, 1, 4, 4)
    mixed = _mix(images, 0.3)
    assert torch.allclose(mixed, 0.3 * images + 0.7 * images.flip(0))


def test_norms_and_biases_do_not_decay(tiny_arch: Arch, digits_data: SearchData) -> None:
    run = trainer(tiny_arch, digits_data)
    decays = {
        id(p): group["weight_decay"]
        for group in run._optimizer.param_groups
        for p in group["params"]
    }
    for module in run.network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            plain = isinstance(module, nn.BatchNorm2d) or name == "bias"
            assert decays.pop(id(parameter)) == (0.0 if plain else RECIPE.weight_decay)
    assert decays == {}


def test_evaluation_leaves_the_network_as_it_is(tiny_arch: Arch, digits_data: SearchData) -> None:
    run = trainer(tiny_arch, digits_data)
    run.train_epoch()
    before = copy.deepcopy(run.network)
    accuracies = {run.evaluate() for _ in range(2)}
    assert len(accuracies) == 1
    assert_same_state(before, run.network)


@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_quantized_trial_trains_in_float_and_is_evaluated_in_int8(
    tiny_arch: Arch, digits_data: SearchData, ema: float | None
) -> None:
    """At each epoch, also where norms are calibrated, and after a checkpoint."""
    recipe = RECIPE.model_copy(update={"ema": ema})

    def run(quantized: bool) -> Trainer:
        network = build(tiny_arch, digits_data.info, 0)
        return Trainer(
            network, digits_data, recipe, seed=0, device=CPU, threads=1, quantized=quantized
        )

    plain, quantized = run(False), run(True)
    images = calibration_images(thin_out(digits_data.train, 200, SUBSET_SEED))
    [(images_BCHW, _)] = Batches(images, digits_data.info, 200, CPU)
    for epoch in range(recipe.epochs):
        assert plain.train_epoch() == quantized.train_epoch()
        share = quantized.evaluate()
        float_network = plain.evaluated
        if ema is None and epoch + 1 < recipe.epochs:
            float_network = plain._calibrated()
        in_int8 = fake_quantise(float_network, images_BCHW)
        expected, right_N = evaluate_images(in_int8, quantized._val)
        assert share == expected
        assert (quantized.right == right_N.numpy()).all()
        if epoch == 1:
            state, quantized = quantized.state_dict(), run(True)
            quantized.load_state_dict(state)
    assert_same_state(plain.network, quantized.network)


@pytest.mark.parametrize("batch_size", [CALIBRATION_IMAGES, CALIBRATION_IMAGES - 1])
def test_norms_have_the_statistics_of_the_present_weights_until_the_end(
    tiny_arch: Arch, digits_data: SearchData, batch_size: int
) -> None:
    """The statistics are those of whole batches; a last batch of one image does not count."""
    recipe = RECIPE.model_copy(update={"epochs": 2, "batch_size": batch_size})
    run = trainer(tiny_arch, digits_data, recipe)
    chosen = thin_out(digits_data.train, 200, SUBSET_SEED)
    images = thin_out(chosen, CALIBRATION_IMAGES, SUBSET_SEED)
    run.train_epoch()
    exact = copy.deepcopy(run.network).train()
    for norm in exact.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.reset_running_stats()
            norm.momentum = None  # the statistics of one batch alone
    exact(next(iter(Batches(images, digits_data.info, batch_size, CPU)))[0])
    found = run._calibrated().state_dict()
    for name, tensor in exact.state_dict().items():
        if "running" in name:
            torch.testing.assert_close(found[name], tensor, msg=name)
    assert run.evaluate() == pytest.approx(accuracy(exact, run._val), abs=1.01 / run._val.size)
    assert run.evaluate() != accuracy(run.network, run._val)
    run.train_epoch()
    assert run.evaluate() == accuracy(run.network, run._val)


def test_images_are_shrunk_and_thinned_out_as_the_recipe_says(
    tiny_arch: Arch, digits_data: SearchData
) -> None:
    recipe = RECIPE.model_copy(update={"image_size": 6})
    run = trainer(tiny_arch, digits_data, recipe)
    images, _ = next(iter(run._train))
    assert images.shape == (32, 1, 6, 6)
    assert (run._train.size, run._val.size) == (200, 100)
    larger = RECIPE.model_copy(update={"image_size": 16, "train_images": 10**6, "val_images": None})
    run = trainer(tiny_arch, digits_data, larger)
    assert next(iter(run._train))[0].shape[-1] == 8
    assert (run._train.size, run._val.size) == (1000, 437)


@pytest.mark.parametrize("pads", [False, True])
def test_accuracy_counts_every_image(digits_data: SearchData, pads: bool) -> None:
    class Oracle(nn.Module):
        """Reads the label from a table, and errs on every fourth image."""

        def __init__(self, labels: torch.Tensor) -> None:
            super().__init__()
            self.labels, self.seen = labels, 0

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            assert not pads or len(images) == 100
            index = torch.arange(self.seen, self.seen + len(images)) % len(self.labels)
            self.seen += len(images)
            answer = torch.where(index % 4 == 0, (self.labels[index] + 1) % 10, self.labels[index])
            return torch.nn.functional.one_hot(answer, 10).float()

    val = digits_data.val
    assert len(val) % 100
    batches = Batches(val, digits_data.info, 100, CPU)
    batches.pads = pads  # as on a GPU
    share, right_N = evaluate_images(Oracle(val.labels), batches)
    assert share == pytest.approx(1 - -(-len(val) // 4) / len(val), abs=1e-12)
    assert right_N.tolist() == [index % 4 != 0 for index in range(len(val))]


@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_large_split_is_judged_by_the_same_network_folded(
    tiny_arch: Arch, digits_data: SearchData, ema: float | None
) -> None:
    larger = SearchData(
        dataclasses.replace(digits_data.info, image_size=16),
        resize(digits_data.train, 16),
        resize(digits_data.val, 16),
    )
    changes = {"ema": ema, "val_images": None, "train_images": 1000, "epochs": 2}
    run = trainer(tiny_arch, larger, RECIPE.model_copy(update=changes))
    assert len(larger.val) * 16**2 > FOLDED_PIXELS
    run.train_epoch()
    assert run.evaluate() > 0.12  # and the network can still be trained
    run.train_epoch()
    plain = build(tiny_arch, larger.info, 0)
    plain.load_state_dict(run.evaluated.state_dict())
    exact = accuracy(plain, Batches(larger.val, larger.info, 100, CPU))
    assert exact > 0.12  # chance is 0.1
    assert run.evaluate() == pytest.approx(exact, abs=1.01 / len(larger.val))  # rounding
    assert isinstance(run.evaluated, DyClotNet)
    assert run.evaluate() == run.evaluate()


def test_averaged_weights_follow_the_formula() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    average = WeightAverage(network, decay=0.3)
    expected = [tensor.clone() for tensor in network.state_dict().values()]
    for update in range(1, 6):
        network(torch.randn(4, 1, 3, 3))
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter))
        average.update(network)
        decay = min(0.3, (1 + update) / (10 + update))
        for index, tensor in enumerate(network.state_dict().values()):
            if tensor.is_floating_point():
                expected[index] = decay * expected[index] + (1 - decay) * tensor
    found = average.network.state_dict()
    for (name, tensor), wanted in zip(found.items(), expected, strict=True):
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, wanted, msg=name)


@pytest.mark.gpu
def test_training_on_a_gpu_learns_the_digits(tiny_arch: Arch, digits_data: SearchData) -> None:
    recipe = Recipe(name="test", epochs=6, batch_size=16, learning_rate=0.1, ema=0.99)
    network = build(tiny_arch, digits_data.info, 0)
    run = Trainer(network, digits_data, recipe, seed=0, device=GPU)
    for _ in range(recipe.epochs):
        run.train_epoch()
    assert run.evaluate() > 0.8


def trained_on_a_gpu(
    arch: Arch, data: SearchData, recipe: Recipe, graphed: bool, interrupted: bool = False
) -> Trainer:
    def make() -> Trainer:
        network = build(arch, data.info, 0)
        return Trainer(network, data, recipe, seed=0, device=GPU, graphed=graphed)

    run = make()
    for _ in range(recipe.epochs):
        if interrupted:
            state, run = run.state_dict(), make()
            run.load_state_dict(state)
        run.train_epoch()
    return run


@pytest.mark.gpu
@pytest.mark.parametrize("mixup", [0.0, 0.4])
@pytest.mark.parametrize("interrupted", [False, True])
def test_a_graph_of_the_step_trains_as_the_step_does(
    tiny_arch: Arch, digits_data: SearchData, mixup: float, interrupted: bool
) -> None:
    recipe = Recipe(
        name="test", epochs=2, batch_size=128, learning_rate=0.02, mixup=mixup, ema=0.9, cutout=0.2
    )
    runs = [
        trained_on_a_gpu(tiny_arch, digits_data, recipe, graphed, interrupted and graphed)
        for graphed in (True, False)
    ]
    assert runs[0].evaluate() == pytest.approx(runs[1].evaluate(), abs=0.02)
    graphed, launched = (run.network.state_dict() for run in runs)
    for name, tensor in launched.items():
        # A sum of a kernel may come in another order: bfloat16 then differs in its last bits.
        torch.testing.assert_close(graphed[name], tensor, atol=0.03, rtol=0.03, msg=name)


@pytest.mark.parametrize("device", [CPU, pytest.param(GPU, marks=pytest.mark.gpu)], ids=str)
def test_each_step_has_its_own_learning_rate_and_share(
    tiny_arch: Arch, digits_data: SearchData, device: torch.device
) -> None:
    """Not those with which the CUDA graph was recorded."""
    recipe = RECIPE.model_copy(update={"mixup": 0.4})
    run = Trainer(build(tiny_arch, digits_data.info, 0), digits_data, recipe, seed=0, device=device)
    run.train_epoch()
    batch = next(iter(run._train))
    rates, shares = run._each_step([0.0, 0.1]), run._each_step([1.0, 0.5])

    def weights() -> list[torch.Tensor]:
        return [parameter.detach().clone() for parameter in run.network.parameters()]

    before = weights()
    losses = [float(run._run_step(*batch, rates[0], share)) for share in shares]
    assert abs(losses[0] - losses[1]) > 0.01
    assert all(torch.equal(x, y) for x, y in zip(before, weights(), strict=True))
    run._run_step(*batch, rates[1], shares[0])
    assert not any(torch.equal(x, y) for x, y in zip(before, weights(), strict=True))


@pytest.mark.gpu
@pytest.mark.parametrize("graphed", [True, False])
def test_a_step_on_a_gpu_does_not_wait_for_it(
    tiny_arch: Arch, digits_data: SearchData, graphed: bool
) -> None:
    recipe = RECIPE.model_copy(update={"ema": 0.9, "mixup": 0.4})
    run = trained_on_a_gpu(tiny_arch, digits_data, recipe, graphed)
    rates = run._each_step([0.1, 0.1])
    batches = iter(run._train)
    torch.cuda.set_sync_debug_mode("error")
    try:
        images_BCHW, labels_B = next(batches)
        run._run_step(images_BCHW, labels_B, rates[0], rates[1])
        assert run._average is not None
        run._average.update(run.network)
    finally:
        torch.cuda.set_sync_debug_mode("default")
