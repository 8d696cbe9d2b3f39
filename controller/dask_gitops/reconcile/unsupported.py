"""DaskAutoscaler and DaskJob: accepted, and plainly said that this controller does not act on them yet."""

from __future__ import annotations

from dask_gitops import status as words
from dask_gitops.reconcile.world import Key, World


async def reconcile_unsupported(world: World, key: Key) -> None:
    """Write a status that nobody can take for work in progress."""
    resource = world.stores.of(key.kind).get(key.namespace, key.name)
    if resource is None or resource.meta.deleting is not None:
        return
    message = f"this version of the controller does not act on {key.kind} objects yet"
    found = words.conditions(
        words.stalled("NotSupportedYet", message),
        resource.status,
        resource.meta.generation,
        world.clock(),
    )
    await world.write_status(
        resource, {"observedGeneration": resource.meta.generation, "conditions": found}
    )
