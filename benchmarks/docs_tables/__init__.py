"""The tables of the documentation, made from the figures in results/.

`python -m benchmarks.docs_tables` writes docs/tables/*.md, which the pages include.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.docs_tables import reference, samplers, searches, trainings
from benchmarks.docs_tables.markdown import TABLES

MAKERS: tuple[Callable[[], str], ...] = (
    samplers.sampler,
    samplers.sampler_synthetic,
    samplers.sampler_peers,
    samplers.transfer,
    searches.second_search,
    samplers.device_search,
    samplers.estimates,
    searches.end_to_end,
    searches.end_to_end_fashion_mnist,
    searches.early_stopping,
    searches.stopping,
    searches.stopping_coverage,
    searches.stopping_recorded,
    searches.training_loss,
    searches.schedule,
    trainings.operator,
    trainings.training,
    trainings.training_accuracy,
    trainings.gpu_sharing,
    searches.overhead,
    searches.large_study,
    reference.reference_searches,
    reference.reference_overlap,
    reference.reference_costs,
    reference.reference_networks,
    reference.reference_differences,
    reference.reference_noise,
    reference.reference_60_epochs,
    trainings.folded,
    trainings.small_data,
    trainings.small_knees,
    trainings.trained_front,
    trainings.retraining_ideas,
    trainings.retraining_long_ideas,
    trainings.retraining_quick_ideas,
    trainings.retraining_lengths,
    trainings.short_runs,
    trainings.int8,
    trainings.latency_model,
    trainings.int8_accuracy,
)


def tables() -> dict[str, str]:
    """The text of every file in docs/tables, by name."""
    return {f"{maker.__name__.replace('_', '-')}.md": maker() for maker in MAKERS}


def main() -> None:
    """Write the files."""
    TABLES.mkdir(exist_ok=True)
    for name, text in tables().items():
        (TABLES / name).write_text(text)
