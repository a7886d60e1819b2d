"""The file of a teacher's logits, in the folder of the trained network."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor

from nas.data import Batches, SearchData
from nas.files import write_atomic
from nas.models.fold import fold
from nas.models.native.fused import use_fused
from nas.training.distillation import Teacher
from nas.training.evaluate import evaluation_batch
from nas.training.folder import METRICS
from nas.training.pretrained import Description, load_pretrained, read_description
from nas.training.recipe import Recipe
from nas.training.trainer import shorten

LOGITS = "logits.safetensors"
FORM = 1  # of the views and numbers in the file; another one makes it anew


def keep_logits(folder: Path, data: SearchData, device: torch.device) -> None:
    """Write a finished network's logits on its training images, unless they are there.

    The file is written whole or not at all. One of other weights, of another recipe or data set,
    or a damaged one is replaced.

    Args:
        folder: of the finished network.
        data: the splits that it was trained on.
        device: where to compute.
    """
    if read_teacher(folder) is not None:
        return
    start, description = time.perf_counter(), read_description(folder)
    logits_VNK = training_logits(folder, data, device)
    metadata = {
        "fingerprint": _fingerprint(description),
        "sha256": _hash(logits_VNK),
        "seconds": f"{time.perf_counter() - start:.3f}",
    }
    write_atomic(folder / LOGITS, save_tensors({"logits": logits_VNK}, metadata))


def read_teacher(folder: Path) -> Teacher | None:
    """The network of a folder as a teacher; None where its logits are not there or not its own.

    Raises:
        ValueError: the folder holds no finished network.
    """
    description = read_description(folder)
    try:
        with safe_open(folder / LOGITS, "pt") as file:
            metadata, logits_VNK = file.metadata(), file.get_tensor("logits")
        fingerprint, seconds = metadata["fingerprint"], float(metadata["seconds"])
        whole = metadata["sha256"] == _hash(logits_VNK)
    except (OSError, SafetensorError, ValueError, TypeError, KeyError):
        return None  # missing or damaged
    if not whole or fingerprint != _fingerprint(description):
        return None
    trained = json.loads((folder / METRICS).read_bytes())["seconds"]
    name = str(description.arch_id or description.reference)
    return Teacher(name, logits_VNK, fingerprint, trained + seconds)


@torch.inference_mode()
def training_logits(folder: Path, data: SearchData, device: torch.device) -> Tensor:
    """Logits [V, N, K] of the network in a folder, in half precision, on the CPU.

    Args:
        folder: of the finished network.
        data: the splits that it was trained on; its recipe's subset and image size are applied.
        device: where to compute.
    """
    data = shorten(data, Recipe.model_validate(read_description(folder).recipe))
    network = fold(load_pretrained(folder)).to(device).to(memory_format=torch.channels_last)
    if device.type == "cpu":
        use_fused(network)
    views: tuple[list[Tensor], ...] = ([], []) if data.info.flip else ([],)
    batch = evaluation_batch(data.info, device)
    for images_BCHW, _ in Batches(data.train, data.info, batch, device):
        for mirrored, view in enumerate(views):
            shown_BCHW = images_BCHW.flip(3) if mirrored else images_BCHW
            logits_BK = network(shown_BCHW.contiguous(memory_format=torch.channels_last))
            view.append(logits_BK.half().cpu())
    return torch.stack([torch.cat(view) for view in views])


def _fingerprint(description: Description) -> str:
    content = {**description.settings(), "weights": description.weights_sha256, "form": FORM}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _hash(logits_VNK: Tensor) -> str:
    return hashlib.sha256(logits_VNK.numpy().tobytes()).hexdigest()
