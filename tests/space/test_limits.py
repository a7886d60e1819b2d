from __future__ import annotations

import pytest

from nas.space.cost import Cost, cost
from nas.space.limits import Limits, extreme
from nas.space.space import SearchSpace

SIZES = (8, 1, 10)


@pytest.mark.parametrize("key", ["macs", "params"])
@pytest.mark.parametrize("largest", [False, True])
def test_extreme_is_that_of_the_enumerated_space(
    tiny_space: SearchSpace, key: str, largest: bool
) -> None:
    def value(counted: Cost) -> int:
        return int(getattr(counted, key))

    costs = [value(cost(arch, *SIZES)) for arch in tiny_space.architectures()]
    found = cost(extreme(tiny_space, *SIZES, value, largest), *SIZES)
    assert value(found) == (max if largest else min)(costs)


def test_limits_admit_what_is_within_both() -> None:
    limits = Limits(max_macs=100, max_params=10)
    assert limits.admit(Cost(60, 40, 10))
    assert not limits.admit(Cost(60, 41, 10))
    assert not limits.admit(Cost(60, 40, 11))
    assert Limits().admit(Cost(10**18, 0, 10**18))


def test_unreachable_limits_name_what_is_accepted(tiny_space: SearchSpace) -> None:
    smallest = Cost(100, 20, 30)
    with pytest.raises(ValueError, match=r"--max-macs 119: .* accepted: at least 120"):
        Limits(max_macs=119).require_reachable(tiny_space, (smallest, smallest))
    with pytest.raises(ValueError, match=r"--max-params 29: .* accepted: at least 30"):
        Limits(max_params=29).require_reachable(tiny_space, (smallest, smallest))
    Limits(120, 30).require_reachable(tiny_space, (smallest, smallest))
