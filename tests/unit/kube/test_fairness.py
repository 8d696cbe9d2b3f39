"""However much one namespace wants, the others get theirs."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import pytest
from dask_gitops.kube import WorkQueue
from dask_gitops.kube.fairness import SHARE, Line, Places

from tests.support import virtual_time

PLACES = 64


def test_lanes_take_turns_and_each_keeps_its_order() -> None:
    line: Line[str] = Line(100)
    for item in ("a1", "a2", "a3", "b1", "c1", "b2"):
        line.push(item[0], item, 0.0)
    line.push("a", "a1", 9.0)  # it waits already
    assert (line.depth, line.oldest()) == (6, 0.0)
    order = []
    while (found := line.pop()) is not None:
        order.append(found[1])
    assert order == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert (line.depth, line.oldest()) == (0, None)


@pytest.mark.parametrize("greedy", range(1, 9))
def test_there_is_always_a_place_for_one_more_lane(greedy: int) -> None:
    """And a lane that is alone has most of them."""
    line: Line[tuple[int, int]] = Line(PLACES)
    for lane in range(greedy):
        for number in range(10 * PLACES):
            line.push(lane, (lane, number), 0.0)
    taken: Counter[Any] = Counter()
    while (found := line.pop()) is not None:
        taken[found[0]] += 1
    assert max(taken.values()) - min(taken.values()) <= 1
    assert sum(taken.values()) >= PLACES * SHARE * greedy / (SHARE * greedy + 1)
    line.push("modest", (-1, -1), 0.0)
    found = line.pop()
    assert found is not None
    assert found[0] == "modest"


def test_random_histories_of_a_line() -> None:
    """Never more than there are places; whoever waits gets one when all others have given theirs back."""
    rng = random.Random(7)
    for _ in range(200):
        places = rng.randrange(1, 9)
        line: Line[int] = Line(places)
        held: list[int] = []
        waits = 0
        for number in range(100):
            lane = rng.randrange(3)
            if rng.random() < 0.5:
                line.push(lane, number, float(number))
                waits += 1
            elif held:
                line.give_back(held.pop(rng.randrange(len(held))))
            while rng.random() < 0.7 and (found := line.pop()) is not None:
                held.append(int(str(found[0])))
                waits -= 1
            assert len(held) <= places
            assert line.depth == waits
        while waits:
            for lane in held:
                line.give_back(lane)
            held.clear()
            found = line.pop()
            assert found is not None
            held.append(int(str(found[0])))
            waits -= 1


@pytest.mark.parametrize("hostile", [1, 3])
def test_a_good_neighbours_turns_do_not_wait(hostile: int) -> None:
    """Others want 5,000 turns of a minute each; its own begin at once, all the while."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        waited: dict[str, list[float]] = {"good": [], "bad": []}

        async def turn(key: tuple[str, int]) -> None:
            await asyncio.sleep(0.1 if key[0] == "good" else 60)

        def note(key: tuple[str, int], wait: float, ran: float, error: object) -> None:
            waited["good" if key[0] == "good" else "bad"].append(wait)

        queue = WorkQueue(turn, lane=lambda key: key[0], workers=PLACES, on_turn=note)
        queue.start()
        for number in range(5_000):
            queue.put((f"bad{number % hostile}", number))
        for number in range(600):
            queue.put(("good", number))
            await asyncio.sleep(1)
        assert len(waited["good"]) == 600
        assert max(waited["good"]) == 0
        assert len(waited["bad"]) > 300  # and the others are served
        assert queue.depth == 5_000 - len(waited["bad"]) - queue.running
        assert queue.oldest_age() == pytest.approx(loop.time() - virtual_time.EPOCH, abs=1)
        await queue.stop(0)

    virtual_time.run(main())


def test_who_stands_aside_leaves_the_place_of_its_lane_to_others() -> None:
    async def main() -> None:
        begun: list[str] = []

        async def turn(key: str) -> None:
            begun.append(key)

            async def wait() -> None:  # in a task of its own, as what is asked side by side
                with queue.aside():
                    await asyncio.sleep(60)

            await asyncio.gather(wait())

        queue = WorkQueue(turn, lane=lambda key: "one", workers=4)
        queue.start()
        for number in range(100):
            queue.put(str(number))
        await asyncio.sleep(1)
        assert len(begun) == 100
        await asyncio.sleep(100)
        assert (queue.running, queue.depth) == (0, 0)
        with queue.aside():  # in no turn: nobody's place
            queue.put("one more")
        await asyncio.sleep(1)
        assert queue.running == 1

    virtual_time.run(main())


def test_places_are_given_back_whoever_gives_up() -> None:
    """Cancelled while it waits, in the moment when it is its turn, or while it holds one."""

    async def main() -> None:
        rng = random.Random(3)
        places, most, now = Places(4), 0, 0

        async def hold(lane: str) -> None:
            nonlocal most, now
            async with places.of(lane):
                now += 1
                most = max(most, now)
                try:
                    await asyncio.sleep(rng.random())
                finally:
                    now -= 1

        tasks = [asyncio.create_task(hold(rng.choice("abc"))) for _ in range(300)]
        while not all(task.done() for task in tasks):
            rng.choice(tasks).cancel()
            await asyncio.sleep(rng.choice([0, 0, 0.1]))
        assert most <= 4
        for lane in "abcd":  # all of them are free: of four, one lane alone may have all
            async with places.of(lane), places.of(lane), places.of(lane), places.of(lane):
                pass

    virtual_time.run(main())
