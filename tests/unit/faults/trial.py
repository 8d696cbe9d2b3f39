"""What can go wrong with a request or a call, and the tests that let all of it go wrong at every place of a story.

A test's name says the scenario and the fault; it tries the fault at each request and call in turn. A failure names its
combination; ``DASK_GITOPS_FAULT="scale down 6 to 2 / request 17 / timeout after" pytest tests/unit/faults/test_scale_down.py``
tries only that one.
"""

from __future__ import annotations

import asyncio
import marshal
import os
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple, TypeVar

import pytest
from dask_gitops.kube.errors import ApiError, ApiUnreachable
from dask_gitops.kube.resource import DASKCLUSTERS, DASKWORKERGROUPS, Resource
from dask_gitops.scheduler.client import SchedulerUnavailable

from tests.support import memory_api
from tests.support.harness import Harness

SEED = 20301
ONE = os.environ.get("DASK_GITOPS_FAULT")
#: Scenarios in which the controller writes nothing, so that nothing can conflict.
SILENT = {"delete", "delete in the foreground"}
AWAY_S = 20  # how long nobody looks, or watches tell nothing
V = TypeVar("V")


def later(seconds: float, do: Callable[[], object]) -> None:
    asyncio.get_running_loop().call_later(seconds, do)


# ---- what goes wrong

Arm = Callable[[Harness, int], None]


def answers(error: Callable[[], ApiError | str], when: str = "before") -> Arm:
    """The n-th request is answered with this error, or not at all."""
    return lambda h, n: h.api.fault(nth=n, error=error(), when=when) and None  # type: ignore[arg-type]


def says(reason: str, when: str = "before", after_s: float = 0.0) -> Arm:
    """The n-th call to a scheduler ends like this."""

    async def fails() -> None:
        await asyncio.sleep(after_s)
        raise SchedulerUnavailable(reason)

    def arm(h: Harness, n: int) -> None:
        h.strikes["call", n, when] = fails

    return arm


def happens(what: str, when: str, act: Callable[[Harness], Awaitable[None] | None]) -> Arm:
    """Something happens right before or after the n-th request ("request") or call ("call")."""

    def arm(h: Harness, n: int) -> None:
        h.strikes[what, n, when] = lambda: act(h)

    return arm


def away(h: Harness) -> None:
    h.kill()
    asyncio.get_running_loop().call_later(AWAY_S, h.start)


def watches_dropped(h: Harness) -> None:
    h.api.break_watches(error=ApiUnreachable("connection reset", sent=True))


def watches_expired(h: Harness) -> None:
    h.api.break_watches(error=ApiError(410, "Expired", "too old resource version"))


def watches_delayed(h: Harness) -> None:
    h.api.hold_events(*h.api._store)
    asyncio.get_running_loop().call_later(AWAY_S, h.api.release_events)


def list_is_stale(h: Harness) -> None:
    h.api.stale_lists(h.before)
    watches_expired(h)


def killed_and_list_is_stale(h: Harness) -> None:
    h.api.stale_lists(h.before)
    h.restart()


def killed_and_behind(resource: Resource) -> Callable[[Harness], None]:
    """The next leader's server lags behind with these, and with nothing else."""

    def act(h: Harness) -> None:
        h.api.stale_lists(h.before, resource)
        h.api.hold_events(resource)
        later(AWAY_S, h.api.release_events)
        h.restart()

    return act


def anywhere(what: str) -> dict[str, Arm]:
    return {
        "killed before": happens(what, "before", Harness.restart),
        "killed after": happens(what, "after", Harness.restart),
        "killed after, back later": happens(what, "after", away),
        "killed after, list is stale": happens(what, "after", killed_and_list_is_stale),
        "killed after, clusters are stale": happens(what, "after", killed_and_behind(DASKCLUSTERS)),
        "killed after, groups are stale": happens(
            what, "after", killed_and_behind(DASKWORKERGROUPS)
        ),
        "list is stale": happens(what, "after", list_is_stale),
        "watches dropped": happens(what, "after", watches_dropped),
        "watches expired": happens(what, "after", watches_expired),
        "watches delayed": happens(what, "before", watches_delayed),
    }


REQUEST_FAULTS: dict[str, Arm] = {
    "429": answers(lambda: ApiError(429, "TooManyRequests", "slow down", retry_after=3.0)),
    "500 before": answers(lambda: ApiError(500, "InternalError", "etcd leader changed")),
    "500 after": answers(lambda: ApiError(500, "InternalError", "etcd timed out"), "after"),
    "timeout before": answers(lambda: "timeout"),
    "timeout after": answers(lambda: "timeout", "after"),
    "reset before": answers(lambda: "reset"),
    "reset after": answers(lambda: "reset", "after"),
    "conflict": answers(lambda: ApiError(409, "Conflict", "the object has been modified")),
    **anywhere("request"),
}
CALL_FAULTS: dict[str, Arm] = {
    "429": says("answers with status 429"),
    "500 before": says("answers with status 500"),
    "500 after": says("answers with status 500", "after"),
    "timeout before": says("does not answer (timeout after 5 s)", "before", 5),
    "timeout after": says("does not answer (timeout after 5 s)", "after", 5),
    "reset before": says("closed the connection"),
    "reset after": says("closed the connection", "after"),
    "conflict": says("answers with status 409"),
    **anywhere("call"),
}
# ---- one combination


class Combination(NamedTuple):
    scenario: str
    what: str  # request or call
    number: int  # from 1 on
    fault: str

    def __str__(self) -> str:
        return f"{self.scenario} / {self.what} {self.number} / {self.fault}"

    @property
    def arm(self) -> Arm:
        return (REQUEST_FAULTS if self.what == "request" else CALL_FAULTS)[self.fault]


def faults_of(quiet: Harness, scenario: str) -> list[Combination]:
    """All that can go wrong with what a calm run asked for."""
    requests = [
        Combination(scenario, "request", request.index + 1, fault)
        for request in quiet.api.log
        for fault in REQUEST_FAULTS
        if request.is_write or fault != "conflict"
    ]
    calls = range(1, len(quiet.schedulers.calls) + 1)
    return requests + [
        Combination(scenario, "call", number, fault) for number in calls for fault in CALL_FAULTS
    ]


def never_struck(h: Harness) -> bool:
    return not h.struck and not any(fault.hits for fault in h.api.faults)


def compared(
    one: Combination,
    run: Callable[[str, Callable[[Harness], None]], Harness],
    quiet: Harness,
    difference: Callable[[Harness, Harness], Iterable[str]],
) -> str:
    """What is wrong after this fault, compared with a calm run; nothing, hopefully.

    :param run: plays a scenario; what it is given arms the fault.
    """
    try:
        h = run(one.scenario, lambda h: one.arm(h, one.number))
    except AssertionError as error:
        return f"{one}: {error}"
    found = list(difference(h, quiet))
    if never_struck(h):
        found.append("the fault never struck")
    return f"{one}: {'; '.join(found)}" if found else ""


# ---- tests


def _quick_copy(obj: V) -> V:
    copied: V = marshal.loads(marshal.dumps(obj))
    return copied


def _is_wanted(scenario: str, fault: str) -> bool:
    if fault == "conflict" and scenario in SILENT:
        return False
    return ONE is None or (ONE.startswith(f"{scenario} / ") and ONE.endswith(f" / {fault}"))


def trials(
    combinations: Callable[[str], Iterable[Combination]],
    wrong: Callable[[Combination], str],
    *scenarios: str,
) -> Callable[..., None]:
    """A test for each of these scenarios and each fault.

    :param wrong: plays a combination, and says what is wrong after it.
    """
    pairs = [(s, f) for s in scenarios for f in REQUEST_FAULTS if _is_wanted(s, f)]

    @pytest.mark.parametrize(
        ("scenario", "fault"), [pytest.param(s, f, id=f"{s} / {f}") for s, f in pairs]
    )
    def test(scenario: str, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
        # That all is JSON, other tests prove; here it would be half the time.
        monkeypatch.setattr(memory_api, "_clone", _quick_copy)
        some = [one for one in combinations(scenario) if one.fault == fault]
        assert some
        chosen = [one for one in some if ONE in (None, str(one))]
        assert chosen, f"there is no combination {ONE!r}, but {some[0]} and so on"
        bad = [text for text in map(wrong, chosen) if text]
        assert not bad, f"{len(bad)} of {len(some)}:\n" + "\n".join(bad)

    return test
