"""Batches of images, augmented on the device, where they stay unless they are mapped from a file.

Shape suffixes: N images of the split, B of a batch, C channels, H x W pixels, V views, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.data.info import DatasetInfo
from nas.data.splits import Split


class Batches:
    """Iterates over one epoch's (images [B, C, H, W], labels [B]).

    Images are normalised float32 in channels-last layout. For training they come in a
    new order at each epoch, cropped at random from a black margin and flipped where that
    keeps the label, a square at a random place is set to the mean where `cutout` asks for
    it (DeVries and Taylor, arXiv 1708.04552), and the last partial batch is dropped; for
    evaluation they come in their own order, all of them. Nothing synchronises with the
    device.

    Args:
        split: moved to the device once; images that are mapped from a file are read batch by
            batch.
        info: says how to normalise, crop and flip.
        batch_size: images; a smaller split is one batch.
        device: where the batches are made.
        generator: on the CPU, draws order, crops and flips, so that they are the same on
            every device; None for evaluation.
        augment: whether to crop and flip while training.
        cutout: side of the masked square, a share of the image's; 0 masks nothing. Its
            centre is anywhere in the image, so part of it may lie outside.
        logits_VNK: of each image as it is and, where flips keep the label, mirrored. A batch
            for training then has a third part, the logits [B, K] of its images as they are shown.
    """

    def __init__(
        self,
        split: Split,
        info: DatasetInfo,
        batch_size: int,
        device: torch.device,
        *,
        generator: torch.Generator | None = None,
        augment: bool = True,
        cutout: float = 0.0,
        logits_VNK: Tensor | None = None,
    ) -> None:
        self.size = len(split)
        self.batch_size = min(batch_size, self.size)
        self.generator = generator
        self._crop = info.crop if augment and generator is not None else 0
        self._flip = info.flip and augment and generator is not None
        self._side = split.images.shape[-1]
        self._masked = round(cutout * self._side) if generator is not None else 0
        self._mapped_NCHW = split.images if split.file is not None else None
        self._images_NHWC = self._prepare(split.images[:0] if split.file else split.images, device)
        self._labels_N = split.labels.to(device)
        self._logits_VNK = None if logits_VNK is None else logits_VNK.to(device)
        self.class_counts = torch.bincount(split.labels, minlength=info.num_classes)  # on the CPU
        mean = torch.tensor(info.mean, device=device)
        std = torch.tensor(info.std, device=device)
        self._scale_C, self._shift_C = 1 / (255 * std), -mean / std
        self.device = device
        self.pads = device.type == "cuda"  # whether evaluation fills up the last batch

    @property
    def labels(self) -> Tensor:
        """Labels of all images [N], in the split's own order, on the device."""
        return self._labels_N

    def __len__(self) -> int:
        """Number of batches of an epoch, at least one."""
        if self.generator is None:
            return -(-self.size // self.batch_size)
        return self.size // self.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        if self.generator is None:
            for start in range(0, self.size, self.batch_size):
                chosen = slice(start, start + self.batch_size)
                images_BHWC = self._images_NHWC[chosen]
                if self._mapped_NCHW is not None:
                    images_BHWC = self._prepare(self._mapped_NCHW[chosen], self.device)
                yield self._normalise(images_BHWC), self._labels_N[chosen]
            return
        order_N, rows_N, columns_N, flipped_N, *corners_N = self._draw()
        pixels = torch.arange(self._side, device=self.device)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            chosen = slice(start, start + self.batch_size)
            order_B11 = order_N[chosen, None, None]
            rows_BH1 = (rows_N[chosen, None] + pixels).unsqueeze(2)
            shown_BW = torch.where(flipped_N[chosen, None], self._side - 1 - pixels, pixels)
            columns_B1W = (columns_N[chosen, None] + shown_BW).unsqueeze(1)
            images_NHWC = self._images_NHWC
            if self._mapped_NCHW is not None:
                read = self._mapped_NCHW[order_N[chosen].cpu()]
                images_NHWC = self._prepare(read, self.device)
                order_B11 = torch.arange(len(read), device=self.device)[:, None, None]
            images_BHWC = images_NHWC[order_B11, rows_BH1, columns_B1W]
            x_BCHW = self._normalise(images_BHWC)
            if corners_N:
                inside = [
                    (pixels >= corner_N[chosen, None])
                    & (pixels < corner_N[chosen, None] + self._masked)
                    for corner_N in corners_N
                ]
                x_BCHW.masked_fill_((inside[0][:, :, None] & inside[1][:, None])[:, None], 0.0)
            order_B = order_N[chosen]
            if self._logits_VNK is None:
                yield x_BCHW, self._labels_N[order_B]
            else:
                logits_BK = self._logits_VNK[flipped_N[chosen].long(), order_B]
                yield x_BCHW, self._labels_N[order_B], logits_BK

    def _draw(self) -> list[Tensor]:
        """An epoch's order, and for each of its images the crop's corner and the flip.

        With cutout also the first row and column of the masked square.
        """
        margins = 2 * self._crop + 1
        drawn = [
            torch.randperm(self.size, generator=self.generator),
            torch.randint(margins, (self.size,), generator=self.generator),
            torch.randint(margins, (self.size,), generator=self.generator),
            torch.randint(2 if self._flip else 1, (self.size,), generator=self.generator).bool(),
        ]
        if self._masked:
            drawn += [
                torch.randint(self._side, (self.size,), generator=self.generator)
                - self._masked // 2
                for _ in range(2)
            ]
        if self.device.type == "cuda":  # from pinned memory the device need not be waited for
            return [n.pin_memory().to(self.device, non_blocking=True) for n in drawn]
        return drawn

    def _prepare(self, images_NCHW: Tensor, device: torch.device) -> Tensor:
        """Pad images, on the device.

        Pixels come before channels: rows and columns are then gathered straight into
        channels-last images.
        """
        padded_NCHW = F.pad(images_NCHW.to(device), [self._crop] * 4)
        return padded_NCHW.permute(0, 2, 3, 1).contiguous()

    def _normalise(self, images_BHWC: Tensor) -> Tensor:
        x_BHWC = images_BHWC.float().mul_(self._scale_C).add_(self._shift_C)
        return x_BHWC.permute(0, 3, 1, 2)
