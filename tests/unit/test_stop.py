"""The process is told to stop at an awkward moment."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from dask_gitops.reconcile.serving import Serving


def test_told_to_stop_in_the_moment_when_a_first_list_arrives() -> None:
    """Python 3.11's wait_for forgets a cancellation then; the process would have hung until it was killed."""

    async def scenario() -> None:
        informers = [
            SimpleNamespace(synced=asyncio.Event(), resource=n, namespace=None) for n in ("a", "b")
        ]
        serving = Serving(lambda key, seconds: None)
        serving.take(cast(Any, informers))
        task = asyncio.create_task(serving.complete(None))
        await asyncio.sleep(0.01)
        informers[0].synced.set()
        await asyncio.sleep(0)  # the waiting is over, the task has not heard of it
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(asyncio.shield(task), 5)
        assert task.cancelled()

    asyncio.run(scenario())
