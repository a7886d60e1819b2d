"""Asks and tells of a study in a thread of its own, ahead of need, beside Tune's loop."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable

from nas.study.study import Candidate, SearchStudy

WORTH_WHILE = 0.1  # trials that end during an ask; with fewer, none is asked for ahead


class StudyThread:
    """The only thread that uses a study: tells come first, then asks, in batches.

    A trial that is asked for ahead knows less than one that is asked for when a slot is free,
    so as few are as keep the slots busy: as many as end, at the rate of the last ones, while a
    batch is asked for. With a concurrency of 1 there are none, and the same seed gives the
    same search.

    Args:
        study: nobody else uses it while the thread runs.
        concurrency: trials in flight at the most.
    """

    def __init__(self, study: SearchStudy, concurrency: int) -> None:
        self._study, self._concurrency = study, concurrency
        self._changed = threading.Condition()
        # All below is read and written under the condition's lock.
        self._calls: deque[Callable[[], None]] = deque()
        self._ready: deque[Candidate] = deque()
        self._flying = 0  # trials that were taken and have not ended
        self._refused = self._working = self._closed = False
        self._failure: BaseException | None = None
        # The start, then ends of trials of the last two rounds, from which their rate is estimated.
        self._ends = deque([time.monotonic()], maxlen=2 * concurrency + 1)
        self._seconds = 0.0  # that the last batch took
        self._thread = threading.Thread(target=self._work, name="study", daemon=True)
        self._thread.start()

    def take(self) -> Candidate | None:
        """The next trial to launch, waited for where a slot is free; None where there is none.

        Raises:
            BaseException: what ended the thread.
        """
        with self._changed:
            if self._flying >= self._concurrency:
                self._raise_failure()
                return None
            self._changed.wait_for(self._is_answered)
            self._raise_failure()
            if not self._ready:
                return None
            self._flying += 1
            self._changed.notify_all()
            return self._ready.popleft()

    def do(self, call: Callable[[], None], *, ends: bool = False) -> None:
        """Carry out a call in the thread, soon and in order.

        Args:
            call: that uses the study.
            ends: whether a trial in flight has ended.

        Raises:
            BaseException: what ended the thread.
        """
        with self._changed:
            self._raise_failure()
            self._calls.append(call)
            if ends:
                self._flying -= 1
                self._ends.append(time.monotonic())
            self._changed.notify_all()

    def check(self) -> None:
        """Raise what ended the thread, if anything did."""
        with self._changed:
            self._raise_failure()

    def close(self) -> None:
        """Carry out the calls that are left, ask for nothing more, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _is_answered(self) -> bool:
        idle = not self._calls and not self._working
        return bool(self._ready) or self._failure is not None or (self._refused and idle)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        try:
            while self._step():
                pass
        except BaseException as error:  # for Tune's loop, which ends by it
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    def _step(self) -> bool:
        """Carry out the calls, or ask for a batch; whether there may be more to do."""
        with self._changed:
            self._working = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._calls or self._closed or self._needed() > 0)
            if self._closed and not self._calls:
                return False
            self._working = True
            needed = self._needed()
        if self._carry_out_calls() or needed <= 0:
            return True
        start = time.monotonic()
        self._study.expect(needed)
        for _ in range(needed):
            with self._changed:
                ahead = self._flying + len(self._ready) >= self._concurrency
            candidate = self._study.ask(ahead=ahead)
            with self._changed:
                if candidate is None:
                    self._refused = True
                else:
                    self._ready.append(candidate)
                self._changed.notify_all()
                if candidate is None or self._closed:
                    break
            self._carry_out_calls()
        with self._changed:
            self._seconds = time.monotonic() - start
        return True

    def _carry_out_calls(self) -> bool:
        """Whether there were any; what was refused may be had after them."""
        any_call = False
        while True:
            with self._changed:
                if not self._calls:
                    return any_call
                call = self._calls[0]
            call()
            any_call = True
            with self._changed:
                self._calls.popleft()
                self._refused = False

    def _needed(self) -> int:
        """Trials to ask for now: free slots, and what is worth while ahead of need."""
        if self._refused or self._closed:
            return 0
        return self._concurrency + self._ahead() - self._flying - len(self._ready)

    def _ahead(self) -> int:
        if self._concurrency == 1 or len(self._ends) < 2:
            return 0
        rate = (len(self._ends) - 1) / max(1e-3, self._ends[-1] - self._ends[0])
        ending = rate * self._seconds  # while a batch is asked for
        return min(self._concurrency, math.ceil(2 * ending)) if ending >= WORTH_WHILE else 0
