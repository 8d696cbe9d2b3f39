"""How long what was deleted is remembered, and that nothing else is."""

from __future__ import annotations

import sys

from dask_gitops.kube.tombstones import TOMBSTONE_S, TOMBSTONES, Tombstones


def filled(*uids: str, now: float = 1000.0) -> Tombstones:
    graves = Tombstones()
    for uid in uids:
        graves.put(uid, 5.0, now)
    return graves


def test_the_last_version_counts() -> None:
    graves = filled("a")
    assert graves.get("a") == 5.0
    graves.put("a", 3.0, 1001.0)
    assert graves.get("a") == 5.0
    graves.put("a", float("inf"), 1000.0 + TOMBSTONE_S)  # by then it is in the other half
    assert graves.get("a") == float("inf")
    assert graves.size == 1
    assert graves.get("b") is None


def test_discarded_wherever_it_lies() -> None:
    graves = filled("a")
    graves.put("b", 1.0, 1000.0 + TOMBSTONE_S)
    assert (graves.discard("a"), graves.discard("b"), graves.discard("c")) == (5.0, 1.0, None)
    assert graves.size == 0


def test_each_has_its_time_and_no_more_than_twice_that() -> None:
    graves = Tombstones()
    step = TOMBSTONE_S / 7
    for number in range(100):
        now = 1000.0 + number * step
        graves.put(str(number), 1.0, now)
        for other in range(number + 1):
            age = (number - other) * step
            if age < TOMBSTONE_S:
                assert graves.get(str(other)) is not None, (other, number)
            if age > 2 * TOMBSTONE_S:
                assert graves.get(str(other)) is None, (other, number)


def test_after_a_long_silence_all_before_it_are_forgotten() -> None:
    graves = filled("a", "b")
    graves.put("c", 1.0, 1000.0 + 2 * TOMBSTONE_S)
    assert (graves.size, graves.get("c")) == (1, 1.0)


def test_there_is_a_limit_and_the_latest_stay() -> None:
    graves = filled(*map(str, range(3 * TOMBSTONES)))
    assert TOMBSTONES // 2 <= graves.size <= TOMBSTONES
    assert all(graves.get(str(n)) for n in range(3 * TOMBSTONES - TOMBSTONES // 2, 3 * TOMBSTONES))


def test_a_busy_hour_leaves_no_memory_behind() -> None:
    graves = filled(*map(str, range(TOMBSTONES)))
    busy = sys.getsizeof(graves._young) + sys.getsizeof(graves._old)
    graves.put("quiet", 1.0, 1000.0 + 3 * TOMBSTONE_S)
    assert sys.getsizeof(graves._young) + sys.getsizeof(graves._old) < busy / 100


def test_clear() -> None:
    graves = filled("a")
    graves.clear()
    assert graves.size == 0
