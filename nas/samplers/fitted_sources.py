"""All sources of a study, fitted: their predictions, and the study's first trials."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.format import format_number
from nas.samplers.candidates import Candidates
from nas.samplers.ehvi import box_decomposition, expected_improvement
from nas.samplers.encoding import Code
from nas.samplers.gaussian_process import FitError
from nas.samplers.source_model import SourceModel, SourcePosterior
from nas.samplers.sources import Description, Source

Array = NDArray[np.float64]

REFERENCE_PERCENTILE = 90  # the reference point has this percentile of the predicted errors

_log = logging.getLogger(__name__)


class FittedSources:
    """The posteriors of several sources over the candidates of a study.

    A source that cannot be fitted is left out with a warning.

    Args:
        sources: the results.
        describe: a setting of the study in the terms of the sources.
        candidates: of the study.
        scale: standardises log10 costs, [N, costs].
        seed: see `SourceModel`.

    Raises:
        ValueError: a source has another number of costs than the study.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        describe: Callable[[Mapping[str, Any]], Description],
        candidates: Candidates,
        scale: Callable[[Array], Array],
        seed: int,
    ) -> None:
        self._candidates, self._describe, self._scale = candidates, describe, scale
        for source in sources:
            if len(source.costs[0]) != candidates.base_costs.shape[1]:
                costs = format_number(len(source.costs[0]), "cost")
                raise ValueError(
                    f"source {source.name}: {costs} of an architecture; "
                    f"accepted: {candidates.base_costs.shape[1]}, as the sampler has"
                )
        described = [describe(candidates.encoding.decode(code)) for code in candidates.codes]
        self.models: list[SourceModel] = []
        self._codes: list[list[Code]] = []  # of each source, those in the study's space
        for source in sources:
            try:
                self.models.append(SourceModel(source, described, scale, seed))
            except FitError as error:
                _log.warning("known-cost: %s; it is left out", error)
            else:
                self._codes.append(self._codes_of(source))

    def predict(
        self, codes: Sequence[Code], costs: Array
    ) -> tuple[Array, tuple[SourcePosterior, ...]]:
        """Posterior means of the sources at N architectures, [N, sources], and covariances.

        Args:
            codes: of the architectures.
            costs: [N, costs], standardised log costs.
        """
        described = [self._describe(self._candidates.encoding.decode(code)) for code in codes]
        means, covariances = zip(
            *(model.predict(described, costs) for model in self.models), strict=True
        )
        return np.column_stack(means), covariances

    def start(
        self,
        untried: Sequence[int],
        tried: AbstractSet[int],
        taken: Sequence[Code],
        *,
        front_only: bool = False,
    ) -> Code | None:
        """The architecture to try next, by what the sources know alone.

        Sources take turns. The one whose turn it is proposes the architecture that adds most
        hypervolume to those taken, by the errors that the source predicts: one that it
        measured itself where any adds some, else one of the pool.

        Args:
            untried: rows of the pool that were not tried, at least one.
            tried: identities that are never suggested again.
            taken: codes tried or running.
            front_only: propose nothing where no architecture that the source measured adds some.
        """  # fmt: skip
        turn = len(taken) % len(self.models)
        candidates = self._candidates
        pool = [candidates.codes[row] for row in untried]
        own = [c for c in self._codes[turn] if candidates.info(c).identity not in tried]
        predicted = self._errors(turn, pool)
        worst = np.percentile(predicted, REFERENCE_PERCENTILE)
        reference = [*candidates.base_costs.max(axis=0), worst]
        costs = candidates.costs(taken).reshape(len(taken), len(reference) - 1)
        boxes = box_decomposition(costs, self._errors(turn, taken), reference)
        proposals = [(own, self._errors(turn, own))]
        if not front_only:
            proposals.append((pool, predicted))
        for codes, errors in proposals:
            if codes:
                logs = np.log(np.maximum(errors, 1e-12))
                certain = np.full(len(codes), 1e-6)
                added = expected_improvement(boxes, candidates.costs(codes), logs, certain)
                if added.max() > 0:
                    return codes[int(added.argmax())]
        return None if front_only else pool[0]

    def _errors(self, turn: int, codes: Sequence[Code]) -> Array:
        """Errors of some codes that a source predicts, [N]."""
        if not codes:
            return np.zeros(0)
        costs = self._scale(self._candidates.costs(codes))
        described = [self._describe(self._candidates.encoding.decode(code)) for code in codes]
        return self.models[turn].errors(self.models[turn].predict(described, costs)[0])

    def _codes_of(self, source: Source) -> list[Code]:
        """The architectures that a source measured and the study may try, each once."""
        settings = source.settings or source.descriptions
        forecast = source.log_variances or [0.0] * len(settings)
        codes = [
            self._candidates.encoding.encode(setting)
            for setting, variance in zip(settings, forecast, strict=True)
            if setting is not None and variance == 0
        ]
        by_identity: dict[int, Code] = {}
        for code in codes:
            if code is not None and (info := self._candidates.info(code)).feasible:
                by_identity.setdefault(info.identity, code)
        return list(by_identity.values())
