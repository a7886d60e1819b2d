from __future__ import annotations

import random

import pytest

from nas.space.cost import Cost, cost
from nas.space.devices import device_limits, devices
from nas.space.limits import LIMITED, Limits, extreme
from nas.space.space import SearchSpace

SIZES = (8, 1, 10)


@pytest.mark.parametrize("key", ["macs", "params", "memory", "flash"])
@pytest.mark.parametrize("largest", [False, True])
def test_extreme_is_that_of_the_enumerated_space(
    tiny_space: SearchSpace, key: str, largest: bool
) -> None:
    def value(counted: Cost) -> int:
        return int(getattr(counted, key))

    costs = [value(cost(arch, *SIZES)) for arch in tiny_space.architectures()]
    found = cost(extreme(tiny_space, *SIZES, value, largest), *SIZES)
    assert value(found) == (max if largest else min)(costs)


def test_limits_admit_what_is_within_all() -> None:
    limits = Limits(max_macs=100, max_params=10, max_memory=5, max_flash=7)
    assert limits.admit(Cost(60, 40, 10, 5, 7))
    assert not limits.admit(Cost(60, 41, 10, 5, 7))
    assert not limits.admit(Cost(60, 40, 11, 5, 7))
    assert not limits.admit(Cost(60, 40, 10, 6, 7))
    assert not limits.admit(Cost(60, 40, 10, 5, 8))
    assert Limits().admit(Cost(10**18, 0, 10**18, 10**18, 10**18))


def smallest(space: SearchSpace, name: str) -> int:
    return min(getattr(cost(arch, *SIZES), name) for arch in space.architectures())


@pytest.mark.parametrize("name", LIMITED)
def test_unreachable_limits_name_what_is_accepted(tiny_space: SearchSpace, name: str) -> None:
    least = smallest(tiny_space, name)
    Limits(**{f"max_{name}": least}).require_reachable(tiny_space, *SIZES)
    expected = f"--max-{name} {least - 1}: no architecture of .* accepted: at least {least}"
    with pytest.raises(ValueError, match=expected):
        Limits(**{f"max_{name}": least - 1}).require_reachable(tiny_space, *SIZES)


def test_limits_that_are_met_one_by_one_may_not_be_met_together() -> None:
    """Exact: compared with the enumeration of a space whose costs are opposed."""
    stages = [
        {"width": 16, "stride": 1, "repeats": [1, 2], "p": [2, 4], "r": [1, 8]},
        {"width": 32, "stride": 2, "repeats": [1, 3], "p": [1, 8], "r": [2]},
    ]
    space = SearchSpace.from_dict({"stem": 8, "width_multiplier": [0.5, 1], "stages": stages})
    costs = [cost(arch, *SIZES) for arch in space.architectures()]
    rng = random.Random(0)
    met = 0
    for _ in range(300):
        bounds = {
            f"max_{name}": rng.choice(sorted(getattr(one, name) for one in costs)[:30])
            for name in LIMITED
        }
        limits = Limits(**bounds)
        if any(map(limits.admit, costs)):
            limits.require_reachable(space, *SIZES)
            met += 1
        else:
            with pytest.raises(ValueError, match="within all of them"):
                limits.require_reachable(space, *SIZES)
    assert 0 < met < 300


def test_devices_are_limits_with_a_source() -> None:
    for name, device in devices().items():
        assert device.name == name == name.lower()
        assert device.ram >= 2**16
        assert device.source
        limits = device_limits(Limits(max_macs=5), name.upper())
        assert limits == Limits(5, None, device.ram, device.flash, name)
    board = devices()["stm32f746"]
    assert (board.ram, board.flash) == (320 * 1024, 1024**2)
    both = device_limits(Limits(max_memory=board.ram + 1, max_flash=9), "stm32f746")
    assert (both.max_memory, both.max_flash) == (board.ram, 9)
    assert board.fits(Cost(1, 1, 1, board.ram, 1024**2))
    assert not board.fits(Cost(1, 1, 1, board.ram + 1, 1))
    assert not board.fits(Cost(1, 1, 1, 1, 1024**2 + 1))
    with pytest.raises(ValueError, match=r"--device: 'arduino'; accepted: stm32f746, "):
        device_limits(Limits(), "arduino")


def test_a_device_that_is_too_small_is_named(tiny_space: SearchSpace) -> None:
    limits = Limits(max_memory=10, device="rp2040")
    with pytest.raises(ValueError, match=r"--max-memory 10 \(--device rp2040\): no architecture"):
        limits.require_reachable(tiny_space, *SIZES)


@pytest.mark.parametrize("name", LIMITED)
@pytest.mark.parametrize("share", [1.0, 1.1, 1.5])
def test_architectures_within_tight_limits_are_all_found(
    tiny_space: SearchSpace, name: str, share: float
) -> None:
    least = smallest(tiny_space, name)
    limits = Limits(**{f"max_{name}": int(share * least)})
    found = list(limits.all_admitted(tiny_space, SIZES))
    within = {arch for arch in tiny_space.architectures() if limits.admit(cost(arch, *SIZES))}
    assert len(found) == len(within) > 0
    assert set(found) == within
