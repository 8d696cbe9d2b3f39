"""What can go wrong between us and a scheduler."""

from __future__ import annotations


class SchedulerUnavailable(Exception):
    """The scheduler gave no usable answer.

    `reason` is short, holds neither secrets nor unchecked text of the scheduler, and reads well
    after "the scheduler ": "does not answer (timeout after 5 s)", "refuses our token".
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SchedulerUnreachable(SchedulerUnavailable):
    """Nothing listens there: known at once, and usual while a scheduler starts."""
