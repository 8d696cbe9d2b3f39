"""What an old operator left on an object must not keep it from being deleted."""

from __future__ import annotations

from typing import cast

from dask_gitops.plan.actions import Draft, Emit, Kind, Patch
from dask_gitops.reconcile.stores import Key
from dask_gitops.reconcile.world import World
from dask_gitops.resources.finalizers import without_kopf


async def release(world: World, key: Key) -> None:
    """Take kopf's finalizer off a custom resource that is being deleted: nobody else will, and nothing waits for it."""
    resource = world.stores.of(key.kind).get(key.namespace, key.name)
    if resource is None or resource.meta.deleting is None:
        return
    rest = without_kopf(resource.meta.finalizers)
    if rest == resource.meta.finalizers:
        return
    body = {"metadata": {"finalizers": list(rest)}}
    draft = Draft()
    draft.part("release").add(
        Patch(cast(Kind, key.kind), resource.meta, body, exact=True),
        Emit("Released", "took an old operator's finalizer off"),
    )
    world.execute.rest(key, await world.execute.carry_out(key, draft.done(), resource))
