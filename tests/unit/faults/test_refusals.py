"""Every kind of write refused with every answer, in every scenario: nothing runs hot, and the rest is done all the same.

A sample is tried here, by a seed that the test's name says, and all of it by `make soak`.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator

import pytest
from dask_gitops.kube.resource import DASKAUTOSCALERS, DASKCLUSTERS, DASKJOBS, DASKWORKERGROUPS
from dask_gitops.reconcile.stores import Key

from tests.support import memory_api
from tests.unit.faults.refusals import (
    REFUSALS,
    SAID,
    SCENARIOS,
    Counting,
    calm,
    combinations,
    most_in_a_minute,
    run,
    unreached,
    write,
    writes,
)
from tests.unit.faults.trial import SEED, _quick_copy

#: Turns of one key in any minute, of which the busiest scenario takes 22 without a refusal.
TURNS = 35
#: How often one write to one object may be refused in any minute: an autoscaler's, which asks every 5 s, comes nearest.
REFUSED = 15
SAMPLE = 0.25
KINDS = (DASKCLUSTERS, DASKWORKERGROUPS, DASKAUTOSCALERS, DASKJOBS)


def wrong(scenario: str, kind: str, how: str) -> Iterator[str]:
    """What should not be after this refusal."""
    try:
        h = run(scenario, kind, how)
    except AssertionError as error:
        yield str(error)
        return
    yield from (f"{key}: {n} turns in a minute" for key, n in busiest(h).items() if n > TURNS)
    tried: dict[str | None, list[float]] = defaultdict(list)
    for request in h.api.log:
        if request.is_write and write(request) == kind and request.status not in (200, 201):
            tried[request.name].append(request.time)
    if not tried:
        yield "nothing was refused"
    yield from (
        f"{name}: refused {n} times in a minute"
        for name, times in tried.items()
        if (n := most_in_a_minute(times)) > REFUSED
    )
    yield from (f"not reached: {goal}" for goal in unreached(h, scenario, kind))
    left = [found.get("status") for res in KINDS for found in h.api.items(res)]
    if left and SAID not in str(left) and not kind.endswith("/status"):
        yield "no status tells of it"
    yield from map(repr, h.bugs)


def busiest(h: Counting) -> dict[Key, int]:
    """Each key's turns in its busiest minute."""
    times: dict[Key, list[float]] = defaultdict(list)
    for at, key in h.minutes:
        times[key].append(at)
    return {key: most_in_a_minute(some) for key, some in times.items()}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_api, "_clone", _quick_copy)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_all_is_reached_where_nothing_is_refused(scenario: str) -> None:
    h = calm(scenario)
    assert list(unreached(h, scenario, "")) == []
    assert max(busiest(h).values()) <= TURNS
    # Each goal is missed where something is refused that it needs: none is reached by itself.
    for goal, (_, needs) in SCENARIOS[scenario].goals.items():
        for kind in needs:
            refused = run(scenario, kind, "422")
            if kind in writes(scenario):
                assert goal in unreached(refused, scenario, ""), (goal, kind)


@pytest.mark.parametrize("how", REFUSALS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_sample(scenario: str, how: str) -> None:
    some = [c for c in combinations() if (c[0], c[2]) == (scenario, how)]
    drawn = random.Random(f"{SEED} {scenario} {how}").sample(
        some, max(1, round(len(some) * SAMPLE))
    )
    check(drawn)


@pytest.mark.soak
@pytest.mark.parametrize("how", REFUSALS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_everything(
    scenario: str, how: str, record_property: Callable[[str, object], None]
) -> None:
    some = [c for c in combinations() if (c[0], c[2]) == (scenario, how)]
    record_property("closing", f"writes refused in memory, {scenario}: {len(some)}")
    check(some)


def check(some: list[tuple[str, str, str]]) -> None:
    bad = [f"{' / '.join(one)}: {'; '.join(found)}" for one in some if (found := list(wrong(*one)))]
    assert not bad, f"{len(bad)} of {len(some)} (seed {SEED}):\n" + "\n".join(bad)
