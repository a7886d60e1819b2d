"""DyClotNet: golden values, agreement with the cost formulas, training at full depth."""

import math
import random
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from nas.models import DyClotNet, dyclotnet
from nas.space.arch import table2_arch
from nas.space.cost import cost, layer_costs
from nas.space.space import SearchSpace

SPACE = SearchSpace.from_yaml(Path(__file__).parents[2] / "search_spaces" / "dyclotnet.yaml")
GOLDEN = [
    # alpha, p, r, multiply-adds of convolutions, of FC layers, parameters
    (0.5, 2, 4, 8_564_736, 55_424, 119_058),
    (1.0, 2, 4, 28_139_520, 219_136, 431_258),
    (1.0, 4, 4, 15_949_824, 183_040, 299_834),
    (1.0, 8, 4, 10_739_712, 164_992, 240_890),
    (2.0, 8, 2, 30_720_000, 1_304_576, 1_529_130),
]


def count(network: nn.Module, image_size: int, in_channels: int) -> tuple[int, int, int]:
    """Multiply-adds in convolutions and elsewhere, and parameters, counted by PyTorch."""
    device = next(network.parameters()).device
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.empty(1, in_channels, image_size, image_size, device=device))
    by_operator = counter.get_flop_counts()["Global"]
    conv = sum(flops for op, flops in by_operator.items() if "conv" in str(op))
    params = sum(parameter.numel() for parameter in network.parameters())
    return conv // 2, (counter.get_total_flops() - conv) // 2, params


@pytest.mark.parametrize(("alpha", "p", "r", "conv_macs", "fc_macs", "params"), GOLDEN)
def test_golden_values_of_table_2(alpha, p, r, conv_macs, fc_macs, params):
    with torch.device("meta"):
        network = dyclotnet(alpha, p, r).eval()
    assert count(network, 32, 3) == (conv_macs, fc_macs, params)
    formula = cost(network.arch, 32, 3, 10)
    assert (formula.conv_macs, formula.fc_macs, formula.params) == (conv_macs, fc_macs, params)


def test_cost_equals_the_flop_counter_for_200_random_architectures():
    rng = random.Random(0)
    for _ in range(200):
        arch = SPACE.sample(rng)
        # Small images, for speed; odd sizes, because strides round up.
        image_size, in_channels, classes = rng.choice([4, 7, 8, 9]), rng.choice([1, 3]), 10
        network = DyClotNet(arch, in_channels, classes).eval()
        formula = cost(arch, image_size, in_channels, classes)
        counted = count(network, image_size, in_channels)
        assert counted == (formula.conv_macs, formula.fc_macs, formula.params), arch

        layers = layer_costs(arch, image_size, in_channels, classes)
        built = {
            name: sum(parameter.numel() for parameter in module.parameters())
            for name, module in network.named_modules()
            if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d)
        }
        assert {layer.name: layer.params for layer in layers} == built, arch
        assert len(layers) == len(built)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_network_keeps_the_memory_format_and_stays_finite(memory_format):
    torch.manual_seed(0)
    network = DyClotNet(SPACE.sample(random.Random(3)), 3, 7).to(memory_format=memory_format)
    x = torch.randn(4, 3, 16, 16).to(memory_format=memory_format)
    copies = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            module.register_forward_hook(
                lambda module, args, y: copies.append(y.is_contiguous(memory_format=memory_format))
            )
    logits = network(x)
    assert all(copies)
    assert logits.shape == (4, 7)
    F.cross_entropy(logits, torch.arange(4)).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_layouts_agree():
    torch.manual_seed(0)
    network = dyclotnet(0.25).eval()
    x = torch.randn(2, 3, 32, 32)
    plain = network(x)
    network.to(memory_format=torch.channels_last)
    torch.testing.assert_close(
        network(x.to(memory_format=torch.channels_last)), plain, rtol=1e-4, atol=1e-5
    )


def test_signal_neither_dies_nor_explodes_at_full_depth():
    """18 blocks without an activation on the shortcut path: logits of the order of one."""
    torch.manual_seed(0)
    logits = dyclotnet(0.5)(torch.randn(16, 3, 32, 32))
    assert 0.05 < logits.std() < 50


@pytest.mark.parametrize(("name", "args"), [("in_channels", (0, 10)), ("num_classes", (3, "ten"))])
def test_bad_arguments_of_the_network_are_named(name, args):
    with pytest.raises(ValueError, match=f"^{name}: .*accepted: a positive integer"):
        DyClotNet(table2_arch(0.25), *args)


@pytest.mark.slow
@pytest.mark.parametrize("expansion", ["dct", "pointwise"])
def test_full_depth_learns_the_digits(expansion):
    """Table 2's (5, 6, 7) blocks; other placements of norm and activation stay under 50 %."""
    from sklearn.datasets import load_digits

    torch.manual_seed(0)
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8) / 16
    x = (x - x.mean()) / x.std()
    y = torch.tensor(labels)
    order = torch.randperm(len(x))
    train, val = order[:1440], order[1440:]

    network = DyClotNet(table2_arch(0.5, expansion=expansion), 1, 10)
    epochs, batch = 12, 64
    steps = epochs * math.ceil(len(train) / batch)
    optimizer = torch.optim.SGD(
        network.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps)
    for _ in range(epochs):
        for index in train[torch.randperm(len(train))].split(batch):
            loss = F.cross_entropy(network(x[index]), y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    network.eval()
    with torch.no_grad():
        accuracy = (network(x[val]).argmax(1) == y[val]).float().mean().item()
    assert accuracy > 0.95
