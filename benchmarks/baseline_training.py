"""The baseline training, as one writes it with PyTorch and torchvision.

Plain modules, clones by `Tensor.repeat`, NCHW, a `DataLoader` over PIL images.

Shape suffixes: B images of a batch, C channels before and N after the expansion, K classes,
H x W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from nas.data import DatasetInfo, SearchData
from nas.data.splits import Split
from nas.models.bottleneck import Bottleneck
from nas.models.dct import DCT
from nas.space.arch import Arch
from nas.training import Recipe, build
from nas.training.evaluate import EVALUATION_BATCH

CPU = torch.device("cpu")


class RepeatedDCT(nn.Module):
    """Equation (5) written literally: repeat the channels, add the coefficients."""

    def __init__(self, dct: DCT) -> None:
        super().__init__()
        self.p, self.recalibrator = dct.p, dct.recalibrator

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, C, H, W] to [B, N, H, W]."""
        g_BN: Tensor = self.recalibrator(x_BCHW)
        return x_BCHW.repeat(1, self.p, 1, 1) + g_BN[:, :, None, None]


def plain_network(arch: Arch, info: DatasetInfo, seed: int) -> nn.Module:
    """The network of `nas.training.build` in plain modules; equal weights for equal seeds."""
    network = build(arch, info, seed)
    for block in network.modules():
        if isinstance(block, Bottleneck) and isinstance(block.expand, DCT):
            block.register_module("expand", RepeatedDCT(block.expand))
    return network


class Images(Dataset[tuple[Tensor, int]]):
    """A split as PIL images that are transformed one by one, as in torchvision's data sets."""

    def __init__(self, split: Split, transform: transforms.Compose) -> None:
        images_NHWC = split.images.permute(0, 2, 3, 1).contiguous().numpy()
        self._images = images_NHWC[..., 0] if images_NHWC.shape[3] == 1 else images_NHWC
        self._labels = split.labels.tolist()
        self._transform = transform

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image: Tensor = self._transform(Image.fromarray(self._images[index]))
        return image, self._labels[index]


def train(
    network: nn.Module,
    data: SearchData,
    recipe: Recipe,
    *,
    seed: int,
    workers: int,
    device: torch.device = CPU,
) -> Iterator[float]:
    """Train `network` in place; yields the validation accuracy after each epoch.

    Args:
        network: made of plain modules; moved to `device`.
        data: trained on as it is; the recipe's subset and image size are ignored.
        recipe: epochs, batch size and optimiser.
        seed: of order and augmentation.
        workers: processes that load images.
        device: where to train.
    """
    info = data.info
    network.to(device)
    to_input = [transforms.ToTensor(), transforms.Normalize(info.mean, info.std)]
    augment = [transforms.RandomCrop(info.image_size, padding=info.crop)] if info.crop else []
    if info.flip:
        augment.append(transforms.RandomHorizontalFlip())
    torch.manual_seed(seed)
    train_loader = DataLoader(
        Images(data.train, transforms.Compose([*augment, *to_input])),
        min(recipe.batch_size, len(data.train)),
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
    )
    val_loader = DataLoader(
        Images(data.val, transforms.Compose(to_input)),
        EVALUATION_BATCH,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
    )
    groups: list[dict[str, Any]] = [
        {
            "params": [p for p in network.parameters() if p.ndim > 1],
            "weight_decay": recipe.weight_decay,
        },
        {"params": [p for p in network.parameters() if p.ndim <= 1]},
    ]
    optimizer = torch.optim.SGD(
        groups,
        lr=1.0,
        momentum=recipe.momentum,
        nesterov=recipe.momentum > 0,
    )
    steps = recipe.epochs * len(train_loader)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: recipe.learning_rate_at(step, steps)
    )
    for _ in range(recipe.epochs):
        network.train()
        for images_BCHW, labels_B in train_loader:
            images_BCHW = images_BCHW.to(device, non_blocking=True)
            labels_B = labels_B.to(device, non_blocking=True)
            optimizer.zero_grad()
            loss = F.cross_entropy(
                network(images_BCHW), labels_B, label_smoothing=recipe.label_smoothing
            )
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        yield evaluate(network, val_loader, device)


@torch.no_grad()
def evaluate(
    network: nn.Module, loader: DataLoader[tuple[Tensor, int]], device: torch.device
) -> float:
    """Accuracy, a fraction in [0, 1]."""
    network.eval()
    right = total = 0
    for images_BCHW, labels_B in loader:
        predicted_B = network(images_BCHW.to(device)).argmax(1)
        right += int((predicted_B == labels_B.to(device)).sum())
        total += len(labels_B)
    return right / total
