"""What the API server says no to: how long that holds, what is told of it, and what comes of a plan beside it."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from dask_gitops import reasons
from dask_gitops.kube.errors import ApiError
from dask_gitops.resources.observed import Problem

RETRY_S = 10  # a quota or missing rights may change without any event for us
REFUSED_S = 60  # so may an admission rule
FORGOTTEN_S = 120  # what is refused again within this time after its rest was refused all the while
BACKOFF_S, LONGEST_BACKOFF_S = 0.25, 15  # after an error; doubled each time
PASSING_S = 10  # what fails for less than this is nothing to report
RETRIED_S = 45  # so long after its rest what failed is tried again at the latest
SOONEST_S = 1.0  # between two turns of which the first saw a refusal
MOMENT_S = 0.1  # by so much a timer may be early
FORBIDDEN_S = 60  # missing rights may still be on their way (RBAC is applied beside the objects)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the API server said to a part of a plan, and how long the part rests for that.

    :ivar at: when it was said last, seconds since the epoch.
    :ivar rest: seconds after that.
    :ivar times: how often in a row, if it was no refusal but an error, which may pass; else 0.
    :ivar decided: what the part was decided by.
    :ivar pods: so many pods of the cluster counted for a quota, if that refused.
    """

    problem: Problem
    at: float
    rest: float
    times: int
    decided: Hashable
    pods: int | None

    def rests(self, now: float) -> float:
        """Seconds until the part may be tried again, 0: now. A clock that was set back holds nothing up."""
        since = now - self.at
        return self.rest - since if 0 <= since < self.rest - MOMENT_S else 0.0

    def news(self, now: float) -> float:
        """Seconds for which it is to be told, also by a turn that does not come to this part; 0: it is not.

        An error is told while it is tried again, once it has lasted: what passes is nothing to report.
        """
        if not self.times:
            return self.rests(now)
        since, lasted = now - self.at, self.at - self.problem.since
        told = self.rest + RETRIED_S if lasted >= PASSING_S else 0.0
        return told - since if 0 <= since < told else 0.0

    def goes_on(self, now: float) -> bool:
        """Would the same words at this moment be no new ones?"""
        return 0 <= now - self.at < self.rest + FORGOTTEN_S


@dataclass(slots=True)
class Outcomes:
    """What came of carrying a plan out.

    :ivar refused: part -> what the API server said to it, in this turn or in an earlier one.
    :ivar undone: names of the parts that did not come to their end.
    :ivar failures: errors that are no refusals: the turn is to be repeated.
    :ivar again: look again after so many seconds, as plan and refusals say.
    """

    refused: dict[str, Problem] = field(default_factory=dict)
    undone: set[str] = field(default_factory=set)
    failures: list[ApiError] = field(default_factory=list)
    again: float | None = None
    held: list[str] = field(default_factory=list)
    draining: bool = False  # workers are on their way out: worth looking again soon
    late: bool = False  # nothing was done: what was declared has changed unseen

    @property
    def problems(self) -> list[Problem]:
        return list(self.refused.values())

    @property
    def goes_on(self) -> bool:
        """Was all of it done, and is there more to do at once?"""
        hindered = self.undone or self.refused or self.failures or self.late
        return self.again == 0 and not hindered

    def look_again(self, seconds: float | None) -> None:
        if seconds is not None:
            self.again = seconds if self.again is None else min(self.again, seconds)


class Failed(Exception):
    """A write that was answered with an error.

    :ivar what: the write, in words.
    """

    def __init__(self, what: str, error: ApiError) -> None:
        super().__init__(what, error)
        self.what = what
        self.error = error

    @property
    def message(self) -> str:
        """In the API server's words, which need not say what they are about."""
        name = self.what.rpartition(" ")[2]
        said = self.error.message or str(self.error)
        return said if f'"{name}"' in said else f"{self.what}: {said}"


def is_refusal(error: ApiError) -> bool:
    """Does this say no, rather than that something went wrong?"""
    return error.is_already_exists or error.status in (400, 403, 413, 422)


def problem_of(failed: Failed, now: float, before: Refusal | None) -> Problem:
    """What to report of a failed write.

    :param before: what was said to the same part right before.
    """
    error, message = failed.error, failed.message

    def since(reason: str) -> float:
        return before.problem.since if before and before.problem.reason == reason else now

    if error.is_already_exists:
        text = f"{message}; it belongs to something else"
        return Problem(reasons.NAME_TAKEN, text, since(reasons.NAME_TAKEN))
    if error.status in (400, 413, 422):  # 400: a value of the wrong type, an admission webhook
        return Problem(reasons.INVALID, message, now, refused=True)
    if error.is_forbidden_quota:
        return Problem(reasons.QUOTA_EXCEEDED, message, since(reasons.QUOTA_EXCEEDED))
    if error.is_namespace_terminating:
        return Problem(reasons.NAMESPACE_TERMINATING, message, now)
    if error.status == 403:
        first = since(reasons.FORBIDDEN)
        return Problem(reasons.FORBIDDEN, message, first, refused=now - first >= FORBIDDEN_S)
    word = error.reason.isascii() and error.reason.isalpha()
    reason = error.reason if word else f"Status{error.status}"
    return Problem(reason, message, since(reason))


@contextmanager
def told_as(what: str) -> Iterator[None]:
    """Say of an error which write it answered."""
    try:
        yield
    except ApiError as error:
        raise Failed(what, error) from error
