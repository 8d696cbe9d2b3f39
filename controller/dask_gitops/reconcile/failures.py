"""A turn that raises all the same has a bug of ours in it: it is told once, on the object that it is about."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from dask_gitops import reasons
from dask_gitops import status as words
from dask_gitops.kube.errors import KubeError
from dask_gitops.plan.actions import Emit
from dask_gitops.resources.observed import CustomResource

JSON = dict[str, Any]
log = logging.getLogger(__name__)

_REMEMBERED = 1000  # objects; of more, something may be told twice


class TurnFailed(Exception):
    """A turn raised what nobody expected; everything about it has been told. It is tried again with back-off."""


@dataclass(slots=True)
class Failures:
    """Which errors were told of which objects (by uid), so that none is told with every turn."""

    _told: dict[str, set[str]] = field(default_factory=dict)

    def is_news(self, uid: str, error: Exception) -> bool:
        where = traceback.extract_tb(error.__traceback__)
        place = f"{where[-1].filename}:{where[-1].lineno}" if where else ""
        word = f"{type(error).__name__} {place}"
        known = self._told.setdefault(uid, set())
        if word in known:
            return False
        known.add(word)
        while len(self._told) > _REMEMBERED:
            self._told.pop(next(iter(self._told)))
        return True

    def forget(self, uid: str) -> None:
        """Its turns succeed again."""
        self._told.pop(uid, None)


async def guarded(
    name: str,
    resource: Callable[[], CustomResource | None],
    failures: Failures,
    turn: Awaitable[None],
    emit: Callable[[Emit, CustomResource], Awaitable[None]],
    write_status: Callable[[CustomResource, JSON], Awaitable[None]],
    clock: Callable[[], float],
) -> None:
    """Run a turn; tell what it raises but for what the API server says.

    :param name: of the key, for the log.
    :param resource: the object as it is now; None: it is gone.
    :raises TurnFailed: it was told.
    """
    try:
        await turn
    except KubeError:
        raise
    except Exception as error:
        subject = resource()
        uid = subject.meta.uid if subject is not None else name
        said = f"{type(error).__name__} in the controller; this is a bug of its own, its log tells where"
        if failures.is_news(uid, error):
            log.error("%s: a turn failed", name, exc_info=error)
            if subject is not None:
                await emit(Emit(words.INTERNAL_ERROR, said, warning=True), subject)
        if subject is not None and subject.meta.deleting is None:
            await write_status(subject, _status(subject, said, clock()))
        raise TurnFailed(f"{said} ({name})") from None
    subject = resource()
    failures.forget(subject.meta.uid if subject is not None else name)


def _status(subject: CustomResource, said: str, now: float) -> JSON:
    """What was reported last, and that it holds no more; the end of a job stays what it is."""
    before = [c for c in subject.status.get("conditions") or () if isinstance(c, dict)]
    kept = [
        words.Condition(c["type"], c.get("status") == "True", str(c.get("reason")), str(c.get("message")))
        for c in before
        if c.get("type") and c["type"] != words.INTERNAL_ERROR
    ]  # fmt: skip
    if not any(c.type in ("Complete", "Failed") for c in kept):
        three = (words.READY, words.RECONCILING, words.STALLED)
        kept = [c for c in kept if c.type not in three]
        kept = [*words.reconciling(words.INTERNAL_ERROR, said), *kept]
    kept.append(words.Condition(words.INTERNAL_ERROR, True, reasons.TURN_FAILED, said))
    return {
        **subject.status,
        "observedGeneration": subject.meta.generation,
        "conditions": words.conditions(kept, subject.status, subject.meta.generation, now),
    }
