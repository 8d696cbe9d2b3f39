"""Single writes to the API server, whose answers enter the caches at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from dask_gitops.kube.client import Api
from dask_gitops.kube.errors import ApiError
from dask_gitops.plan.actions import Apply, Create, Delete, Patch
from dask_gitops.reconcile.refusals import told_as
from dask_gitops.reconcile.stores import RESOURCES, Stores
from dask_gitops.resources import labels
from dask_gitops.resources.managed import MANAGER, taken_over, understood

JSON = dict[str, Any]
T = TypeVar("T")

# Creates that are on their way when their cluster is deleted can still make something.
IN_FLIGHT = 64


@dataclass(frozen=True, slots=True)
class Writer:
    """Each write is to exactly the object that was observed."""

    api: Api
    stores: Stores

    async def create(self, action: Create) -> None:
        """Slow start: 1, 2, 4 ... at once, so that a quota's refusal costs a few requests only."""
        todo, left, size = iter(action.manifests), len(action.manifests), 1
        slots = asyncio.Semaphore(IN_FLIGHT)
        warnings: list[str] = []

        async def one(warning: str | None) -> str | None:
            async with slots:
                manifest = next(todo)  # made now, if it was not before
                if warning is not None:
                    manifest["metadata"]["annotations"][labels.SPEC_WARNING] = warning
                if self._ends(manifest):
                    return None
                with told_as(f"create {action.kind} {manifest['metadata']['name']}"):
                    return await self._create_one(action.kind, manifest)

        while left > 0:
            known = warnings[0] if warnings else None
            answers = await do_all(one(known) for _ in range(min(size, left)))
            warnings += [a for a in answers if a is not None]
            left -= size
            size *= 2

    async def try_out(self, kind: str, manifest: JSON) -> None:
        """Ask for it without making it."""
        namespace = manifest["metadata"]["namespace"]
        await self.api.create(RESOURCES[kind], namespace, manifest, dry_run=True)

    def _ends(self, manifest: JSON) -> bool:
        """Is that for which this is made gone, or going?"""
        (ref,) = manifest["metadata"]["ownerReferences"]
        owner = self.stores.of(ref["kind"]).get(manifest["metadata"]["namespace"], ref["name"])
        return owner is None or owner.meta.uid != ref["uid"] or owner.meta.deleting is not None

    async def _create_one(self, kind: str, manifest: JSON) -> str | None:
        """:return: what the API server warned of, if that is not on the object already."""
        meta = manifest["metadata"]
        resource, store = RESOURCES[kind], self.stores.of(kind)
        try:
            created = await self.api.create(resource, meta["namespace"], manifest)
        except ApiError as error:
            if not error.is_already_exists:
                raise
            # An earlier try that we did not hear of, or a leader before us; or somebody else's object.
            existing = await self.api.get(resource, meta["namespace"], meta["name"])
            owners = [o["uid"] for o in existing["metadata"].get("ownerReferences") or ()]
            if meta["ownerReferences"][0]["uid"] not in owners:
                raise  # not into the cache: without our labels, no watch would tell of its end
            store.observe(existing)
            return None
        store.observe(created.object)
        if kind == "Pod" and created.warnings and labels.SPEC_WARNING not in meta["annotations"]:
            text = "; ".join(created.warnings)
            body = {
                "metadata": {
                    "uid": created.object["metadata"]["uid"],
                    "annotations": {labels.SPEC_WARNING: text},
                }
            }
            store.observe(await self.api.patch(resource, meta["namespace"], meta["name"], body))
            return text
        return None

    @contextlib.asynccontextmanager
    async def _upon(self, verb: str, action: Delete | Patch | Apply) -> AsyncIterator[None]:
        """A write to exactly the object that was observed. One that is gone meanwhile needs none, and is not made again;
        one that was changed is looked at before anybody tries again."""
        kind, meta = action.kind, action.meta
        with told_as(f"{verb} {kind} {meta.name}"):
            try:
                yield
            except ApiError as error:
                if error.is_not_found or error.is_uid_mismatch:
                    self.stores.of(kind).forget(meta.namespace, meta.name, meta.uid)
                    return
                if error.is_conflict:
                    await self.refresh(kind, meta.namespace, meta.name, meta.uid)
                raise

    async def delete(self, action: Delete) -> None:
        meta, store = action.meta, self.stores.of(action.kind)
        async with self._upon("delete", action):
            answer = await self.api.delete(
                RESOURCES[action.kind],
                meta.namespace,
                meta.name,
                uid=meta.uid,
                resource_version=meta.version if action.exact else None,
                grace_period_s=0 if action.force else None,
            )
            rest = {} if answer is None else answer["metadata"]
            if answer is None or not (
                rest.get("deletionGracePeriodSeconds") or rest.get("finalizers")
            ):
                store.forget(meta.namespace, meta.name, meta.uid)
            else:
                store.observe(answer)

    async def patch(self, action: Patch) -> None:
        meta = action.meta
        extra: JSON = {}
        if action.subresource != "scale":  # a Scale has no place for a uid
            extra["uid"] = meta.uid
        if action.exact or action.subresource == "scale":
            extra["resourceVersion"] = meta.version
        body = {**action.body, "metadata": {**action.body.get("metadata", {}), **extra}}
        async with self._upon("patch", action):
            answer = await self.api.patch(
                RESOURCES[action.kind],
                meta.namespace,
                meta.name,
                body,
                subresource=action.subresource,
                field_manager=action.manager,
            )
            if action.subresource == "scale":  # the answer is a Scale, not the object
                await self.refresh(action.kind, meta.namespace, meta.name, meta.uid)
            else:
                self.stores.of(action.kind).observe(answer)

    async def apply(self, action: Apply) -> None:
        async with self._upon("apply", action):
            if action.take_over:
                await self._take_over(action)
            spec = action.manifest["spec"]
            try:
                try:
                    answer = await self._applied(action, spec)
                except ApiError as error:
                    if not error.is_untyped:
                        raise
                    known = await self._understood(action, stumbled=error)
                    answer = await self._applied(action, known)
            except ApiError as error:
                if error.is_untyped:
                    raise ApiError(422, "Invalid", error.message) from error
                if error.is_invalid and action.way_out:
                    error.message = f"{error.message}; {action.way_out}"
                raise
            self.stores.of(action.kind).observe(answer)

    async def _applied(self, action: Apply, spec: JSON) -> JSON:
        meta = action.meta
        declared = {**action.manifest["metadata"], "uid": meta.uid}
        return await self.api.patch(
            RESOURCES[action.kind],
            meta.namespace,
            meta.name,
            {**action.manifest, "metadata": declared, "spec": spec},
            field_manager=MANAGER,
            patch_type="apply",
        )

    async def _understood(self, action: Apply, stumbled: ApiError) -> JSON:
        """The declared spec without what this API server does not know: a create drops it, an apply stumbles over it.

        :raises ApiError: ``stumbled``, where there is more that the server does not take: of a patch it would show the whole object.
        """
        meta, spec = action.meta, action.manifest["spec"]
        body = {"metadata": {"uid": meta.uid}, "spec": spec}
        resource = RESOURCES[action.kind]
        try:
            seen = await self.api.patch(resource, meta.namespace, meta.name, body, dry_run=True)
        except ApiError as error:
            if error.status in (400, 422):
                raise stumbled from error
            raise
        known: JSON = understood(spec, seen["spec"])
        return known

    async def _take_over(self, action: Apply) -> None:
        """Once for each object, before its first apply: nothing else would ever leave it."""
        meta, resource = action.meta, RESOURCES[action.kind]
        found = (await self.api.get(resource, meta.namespace, meta.name))["metadata"]
        entries = found.get("managedFields") or []
        taken = taken_over(entries, MANAGER)
        if found["uid"] != meta.uid or taken == entries:
            return  # another object of this name: the apply itself says so
        note = {
            "uid": meta.uid,
            "resourceVersion": found["resourceVersion"],
            "managedFields": taken,
        }
        await self.api.patch(
            resource, meta.namespace, meta.name, {"metadata": note}, field_manager=MANAGER
        )

    async def make_sure(self, kind: str, namespace: str, name: str) -> None:
        """Let the cache know what the API server says of this object now."""
        known = self.stores.of(kind).get(namespace, name)
        await self.refresh(kind, namespace, name, known.meta.uid if known is not None else None)

    async def refresh(self, kind: str, namespace: str, name: str, uid: str | None) -> None:
        """Look at an object itself: the cache may be behind for long, and is not to be asked in a circle."""
        store = self.stores.of(kind)
        try:
            store.observe(await self.api.get(RESOURCES[kind], namespace, name))
        except ApiError as error:
            if not error.is_not_found:
                raise
            if uid is not None:
                store.forget(namespace, name, uid)


async def do_all(work: Iterable[Awaitable[T]]) -> list[T]:
    """Do all of it side by side, to the end; then raise what went wrong first, if something did."""
    answers = await asyncio.gather(*work, return_exceptions=True)
    good = []
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
        good.append(answer)
    return good
