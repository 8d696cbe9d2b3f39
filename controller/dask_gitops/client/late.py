"""The error of workers that do not come, as both Dask's and ours: so that `errors` needs no Dask."""

from __future__ import annotations

from typing import Any

from distributed import exceptions

from dask_gitops.client import errors

#: Dask 2025.7 and older raises a TimeoutError, which ours is anyway.
_Dasks: Any = getattr(exceptions, "WorkerStartTimeoutError", TimeoutError)


class WorkerStartTimeoutError(errors.WorkerStartTimeoutError, _Dasks):  # type: ignore[misc]
    """Not all workers came in time; says why."""

    def __init__(self, words: str, available: int, expected: int, timeout_s: float) -> None:
        super().__init__(available, expected, timeout_s)
        self.words = words
        self.available_workers = available
        self.expected_workers = expected
        self.timeout = timeout_s

    def __str__(self) -> str:
        return self.words

    def __reduce__(self) -> Any:
        told = (self.words, self.available_workers, self.expected_workers, self.timeout)
        return type(self), told
