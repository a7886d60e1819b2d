"""What `search` says of its data before it trains: classes, images, sizes, what looks wrong."""

from __future__ import annotations

from typing import Any

from nas.data.folder_layout import describe_counts
from nas.study.plan import Plan

FIRST_CLASSES = 5


def describe_data(plan: Plan) -> dict[str, Any]:
    """What was decided about the data, as plain values."""
    info, notes, recipe = plan.config.dataset, plan.data.notes, plan.config.recipe
    return {
        "name": info.name,
        "classes": list(info.class_names),
        "images": {"train": len(plan.data.train), "val": len(plan.data.val)}
        | ({} if notes.test_images is None else {"test": notes.test_images}),
        "origin": dict(notes.origin),
        "image_size": info.image_size,
        "trained_size": recipe.trained_size(info.image_size),
        "crop": info.resized(recipe.trained_size(info.image_size)).crop,
        "flip": info.flip,
        "channels": info.in_channels,
        "background": info.background,
        "ignored": dict(notes.ignored),
        "warnings": list(notes.warnings),
        "download": notes.download,
    }


def data_rows(plan: Plan) -> dict[str, str]:
    """The same in words, one row each; a row that says nothing is left out."""
    data = describe_data(plan)
    names, size = data["classes"], plan.config.dataset.image_size
    shown = [repr(name) if "," in name else name for name in names[:FIRST_CLASSES]]
    first = ", ".join(shown) + (", ..." if len(names) > FIRST_CLASSES else "")
    words = {"train": "training", "val": "validation", "test": "test"}
    images = ", ".join(
        f"{number:,} {words[split]}"
        + (f" ({data['origin'][split]})" if split in data["origin"] else "")
        for split, number in data["images"].items()
    )
    shrunk = plan.config.recipe.size_note(size)
    trained = plan.config.dataset.resized(data["trained_size"])
    rows = {
        "data set": f"{data['name']} ({plan.dataset_reason})",
        "to download": data["download"],
        "classes": f"{len(names):,}: {first}",
        "images": images,
        "image size": f"{size}x{size}x{data['channels']}"
        + (shrunk and f"{shrunk}; --image-size N trains at N"),
        "augmentation": trained.augmentation,
        "background": data["background"] and f"{data['background']} behind transparent pixels",
        "ignored": describe_counts(data["ignored"]),
    }
    return {name: value for name, value in rows.items() if value}
