"""Limits of CPU threads, also where the blocks of two Python threads overlap."""

import threading
from concurrent.futures import ThreadPoolExecutor

import optuna
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from nas.samplers import KnownCostSampler, suggest
from nas.space.space import Choice
from nas.threads import blas_threads, cpu_threads

CHOICES = (Choice("width", (1, 2, 3)), Choice("depth", (1, 2)))


def threads() -> tuple[set[int], int]:
    """Of BLAS and of PyTorch."""
    blas = {lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"}
    return blas, torch.get_num_threads()


def in_a_thread(function):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def threads_elsewhere() -> tuple[set[int], int]:
    """In a new Python thread: PyTorch keeps a number for each, and a default for new ones."""
    return in_a_thread(threads)


@pytest.fixture
def three_threads():
    """What the process has outside, set by a thread that ends: it keeps no right to the limit."""
    before = in_a_thread(threads)
    in_a_thread(lambda: (threadpool_limits(3, "blas"), torch.set_num_threads(3)))
    yield
    in_a_thread(lambda: (threadpool_limits(*before[0], "blas"), torch.set_num_threads(before[1])))


def test_nested_blocks_restore_the_enclosing_number():
    with cpu_threads(3):
        with cpu_threads(2):
            with blas_threads(1):
                assert threads() == ({1}, 2)
            assert threads() == ({2}, 2)
        assert threads() == ({3}, 3)


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("first_out", [0, 1])
def test_two_samplers_asked_in_two_threads_leave_the_threads_of_the_process(first_out):
    """Both are inside an ask at the same time, and end it in either order."""
    assert threads_elsewhere() == ({3}, 3)
    entered = [threading.Event(), threading.Event()]
    leave = [threading.Event(), threading.Event()]

    def ask(index: int) -> set[int]:
        seen = []

        def costs(setting):
            seen.append(threads()[0])
            entered[index].set()
            assert leave[index].wait(30)
            return (float(setting["width"] * setting["depth"]),)

        study = optuna.create_study(
            sampler=KnownCostSampler(CHOICES, costs), directions=["maximize", "minimize"]
        )
        suggest(study.ask(), CHOICES)
        return seen[0]

    with ThreadPoolExecutor(2) as pool:
        asks = []
        for index in (0, 1):
            asks.append(pool.submit(ask, index))
            assert entered[index].wait(30)
        for index in (first_out, 1 - first_out):
            leave[index].set()
            assert asks[index].result() == {1}
    assert threads_elsewhere() == ({3}, 3)


@pytest.mark.usefixtures("three_threads")
def test_a_second_measurement_waits_for_the_first():
    entered, leave = threading.Event(), threading.Event()

    def first():
        with cpu_threads(1):
            entered.set()
            assert leave.wait(30)

    def second():
        with cpu_threads(2):
            return leave.is_set(), threads()

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(first)
        assert entered.wait(30)
        other = pool.submit(second)
        assert not other.done()
        leave.set()
        one.result()
        assert other.result() == (True, ({2}, 2))
    assert threads_elsewhere() == ({3}, 3)
