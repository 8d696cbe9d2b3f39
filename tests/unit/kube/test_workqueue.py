from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter

import pytest
from dask_gitops.kube import ApiError, WorkQueue

from tests.support import virtual_time
from tests.support.virtual_time import EPOCH


class Worker:
    """Records when each key was processed; some keys take time or fail."""

    def __init__(
        self, takes_s: float = 0.0, fails: int = 0, error: Exception | None = None
    ) -> None:
        self.takes_s = takes_s
        self.fails = fails
        self.error = error or RuntimeError("no luck")
        self.turns: list[tuple[float, str]] = []
        self.active: Counter[str] = Counter()
        self.most = 0

    async def __call__(self, key: str) -> None:
        self.turns.append((asyncio.get_running_loop().time() - EPOCH, key))
        self.active[key] += 1
        assert self.active[key] == 1, "two turns of one key at a time"
        self.most = max(self.most, sum(self.active.values()))
        try:
            await asyncio.sleep(self.takes_s)
            if self.fails:
                self.fails -= 1
                raise self.error
        finally:
            self.active[key] -= 1

    @property
    def keys(self) -> list[str]:
        return [key for _, key in self.turns]


def test_puts_merge_and_order_is_kept() -> None:
    async def main() -> None:
        worker = Worker()
        queue = WorkQueue(worker, workers=1)
        for key in "abcab":
            queue.put(key)
        assert (queue.depth, worker.turns) == (3, [])
        queue.start()
        await queue.idle()
        assert worker.keys == ["a", "b", "c"]

    virtual_time.run(main())


def test_a_put_during_the_turn_means_one_more_turn() -> None:
    async def main() -> None:
        worker = Worker(takes_s=10)
        queue = WorkQueue(worker)
        queue.start()
        queue.put("a")
        await asyncio.sleep(5)
        for _ in range(3):
            queue.put("a")
        await queue.idle()
        assert worker.turns == [(0, "a"), (10, "a")]

    virtual_time.run(main())


def test_no_more_turns_at_a_time_than_workers() -> None:
    async def main() -> None:
        worker = Worker(takes_s=1)
        queue = WorkQueue(worker, workers=3)
        queue.start()
        for number in range(10):
            queue.put(str(number))
        assert (queue.running, queue.depth) == (3, 7)
        await asyncio.sleep(0.5)
        assert queue.oldest_age() == queue.longest_run() == 0.5
        await queue.idle()
        assert (worker.most, len(worker.turns)) == (3, 10)
        assert queue.oldest_age() == queue.longest_run() == 0

    virtual_time.run(main())


def test_put_after_keeps_the_sooner_and_put_beats_both() -> None:
    async def main() -> None:
        worker = Worker()
        queue = WorkQueue(worker)
        queue.start()
        queue.put_after("a", 50)
        queue.put_after("a", 20)
        queue.put_after("a", 30)
        queue.put_after("b", 60)
        await asyncio.sleep(10)
        queue.put("b")
        await asyncio.sleep(1000)
        assert worker.turns == [(10, "b"), (20, "a")]
        queue.put_after("c", 0)
        queue.put_after("c", -5)
        await queue.idle()
        assert worker.keys == ["b", "a", "c"]

    virtual_time.run(main())


def test_a_turn_says_when_it_wants_to_be_back() -> None:
    async def main() -> None:
        turns = []

        async def process(key: str) -> None:
            turns.append(asyncio.get_running_loop().time() - EPOCH)
            if len(turns) < 4:
                queue.put_after(key, 15)

        queue = WorkQueue(process)
        queue.start()
        queue.put("a")
        await asyncio.sleep(3)
        queue.put("a")  # drops the timer of the first turn; the second sets its own
        await asyncio.sleep(1000)
        assert turns == [0, 3, 18, 33]

    virtual_time.run(main())


def test_a_timer_that_rings_during_the_turn_means_one_more() -> None:
    async def main() -> None:
        worker = Worker(takes_s=10)
        queue = WorkQueue(worker)
        queue.start()
        queue.put("a")
        await asyncio.sleep(1)
        queue.put_after("a", 2)
        await asyncio.sleep(1000)
        assert worker.turns == [(0, "a"), (10, "a")]

    virtual_time.run(main())


def test_failures_back_off_and_success_resets() -> None:
    async def main() -> None:
        worker = Worker(fails=10)
        queue = WorkQueue(worker, base_s=0.5, cap_s=60)
        queue.start()
        queue.put("a")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert queue.failing == 1
        await asyncio.sleep(2000)
        times = [when for when, _ in worker.turns]
        pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert len(pauses) == 10
        for number, pause in enumerate(pauses):
            full = min(60, 0.5 * 2**number)
            assert full / 2 <= pause <= full
        assert queue.failing == 0
        worker.fails = 1
        queue.put("a")
        await asyncio.sleep(0.51)
        assert len(worker.turns) == 13  # begins anew with the short pause

    virtual_time.run(main())


def test_retry_after_is_honoured() -> None:
    async def main() -> None:
        worker = Worker(fails=1, error=ApiError(429, "TooManyRequests", retry_after=77))
        queue = WorkQueue(worker, quiet=(ApiError,))
        queue.start()
        queue.put("a")
        await asyncio.sleep(1000)
        assert worker.turns == [(0, "a"), (77, "a")]

    virtual_time.run(main())


def test_a_failing_turn_that_disturbs_itself_does_not_run_hot() -> None:
    async def main() -> None:
        turns = 0

        async def process(key: str) -> None:
            nonlocal turns
            turns += 1
            queue.put(key)  # as a create does whose answer is observed
            queue.put_after(key, 0.001)
            raise RuntimeError("and then it fails")

        queue = WorkQueue(process, base_s=1, cap_s=60)
        queue.start()
        queue.put("a")
        await asyncio.sleep(600)
        assert 10 < turns < 40

    virtual_time.run(main())


def test_news_from_outside_does_not_wait_for_the_back_off() -> None:
    async def main() -> None:
        worker = Worker(fails=1, error=ApiError(500, retry_after=500))
        queue = WorkQueue(worker, quiet=(ApiError,))
        queue.start()
        queue.put("a")
        await asyncio.sleep(3)
        queue.put("a")
        await asyncio.sleep(1000)
        assert worker.turns == [(0, "a"), (3, "a")]

    virtual_time.run(main())


def test_one_bad_key_does_not_hold_up_others() -> None:
    async def main() -> None:
        done = []

        async def process(key: str) -> None:
            if key == "bad":
                raise RuntimeError("always")
            done.append(key)

        queue = WorkQueue(process, workers=1)
        queue.start()
        for key in ["bad", "a", "b"]:
            queue.put(key)
        await queue.idle()
        assert done == ["a", "b"]

    virtual_time.run(main())


def test_a_cancelled_turn_is_repeated() -> None:
    async def main() -> None:
        worker = Worker(fails=1, error=asyncio.CancelledError())  # type: ignore[arg-type]
        queue = WorkQueue(worker)
        queue.start()
        queue.put("a")
        await asyncio.sleep(10)
        assert worker.keys == ["a", "a"]

    virtual_time.run(main())


@pytest.mark.parametrize(("grace_s", "finished"), [(10, 1), (1, 0)])
def test_stop_waits_for_running_turns_then_cancels(grace_s: float, finished: int) -> None:
    async def main() -> None:
        ends = []

        async def process(key: str) -> None:
            await asyncio.sleep(5)
            ends.append(key)

        queue = WorkQueue(process, workers=1)
        queue.start()
        queue.put("a")
        queue.put("b")
        queue.put_after("c", 1)
        await asyncio.sleep(0.5)
        await queue.stop(grace_s)
        queue.put("d")
        queue.put_after("e", 1)
        await asyncio.sleep(100)
        assert len(ends) == finished
        assert (queue.depth, queue.running) == (0, 0)
        await queue.idle()

    virtual_time.run(main())


def test_stop_of_a_turn_that_never_took_its_first_step() -> None:
    async def main() -> None:
        queue = WorkQueue(Worker())
        queue.start()
        queue.put("a")
        await queue.stop(0)
        assert queue.running == 0

    virtual_time.run(main())


def test_metrics_hook_and_logs(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        seen = []

        def on_turn(key: str, waited: float, ran: float, error: BaseException | None) -> None:
            seen.append((key, waited, ran, type(error)))

        worker = Worker(takes_s=2, fails=1, error=ApiError(403, "Forbidden", "exceeded quota"))
        queue = WorkQueue(worker, workers=1, on_turn=on_turn, quiet=(ApiError,))
        queue.start()
        queue.put("a")
        queue.put("b")
        await asyncio.sleep(4)
        await queue.stop()
        assert seen[:2] == [("a", 0, 2, ApiError), ("b", 2, 2, type(None))]

    with caplog.at_level(logging.WARNING):
        virtual_time.run(main())
    assert "a failed 1 time(s)" in caplog.text
    assert "Traceback" not in caplog.text


def test_rest_costs_nothing() -> None:
    """No timer and no task is left behind: the loop would stand still, not tick."""

    async def main() -> None:
        queue = WorkQueue(Worker())
        queue.start()
        for number in range(100):
            queue.put(str(number))
        await queue.idle()
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1
        assert not [
            handle
            for handle in asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
            if not handle.cancelled()
        ]

    virtual_time.run(main())
