"""One cluster that a Python object stands for: found or made, reached, and let go. Lives in the loop of
`background`; knows nothing of Dask."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import re
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from dask_gitops.client import refusals, tie
from dask_gitops.client import start as starting
from dask_gitops.client.access import Access
from dask_gitops.client.arguments import CreateMode
from dask_gitops.client.background import first_of
from dask_gitops.client.errors import (
    ClusterExistsError,
    ClusterNotFoundError,
    ControllerSilentError,
    SchedulerStartupError,
)
from dask_gitops.client.live import Live, is_final
from dask_gitops.client.wanted import Wanted
from dask_gitops.client.ways import Plan, Way
from dask_gitops.kube import (
    DASKAUTOSCALERS,
    DASKCLUSTERS,
    DASKWORKERGROUPS,
    ApiError,
    Credentials,
    KubeClient,
    KubeError,
)
from dask_gitops.kube.client import Created
from dask_gitops.kube.farewell import delete_now
from dask_gitops.model.podspec import PodSpec
from dask_gitops.resources import labels
from dask_gitops.resources.observed import Meta, parse_time
from dask_gitops.resources.tracking import tracked_by

JSON = dict[str, Any]
T = TypeVar("T")
Show = Callable[[str, float], None]
KINDS = {"DaskWorkerGroup": DASKWORKERGROUPS, "DaskAutoscaler": DASKAUTOSCALERS}
CREATED_BY = "dask.org/created-by"
#: Tells our own create from somebody else's, when its answer was lost.
CREATION = "dask.org/creation"
#: So long a request whose answer was lost is tried again.
INSIST_S = 30.0
#: So long an interrupted start may take to clean up.
UNDO_S = 10.0
#: So much of the log of a scheduler that crashes is shown.
LOG_LINES = 20
#: So long each step of the last request may take, at the end of the interpreter.
FAREWELL_S = 3.0


def _client(credentials: Credentials) -> KubeClient:
    return KubeClient(credentials, user_agent="dask-gitops-client")


class Session:
    """:ivar created: did we make the object?
    :ivar uid: of the object; "" before it was found or made.
    :ivar unreached: why the scheduler could not be reached, the last time somebody tried; "": nobody has.
    """

    def __init__(
        self,
        access: Access,
        namespace: str,
        name: str,
        wanted: Wanted | None,
        mode: CreateMode,
        patience_s: float | None,
        plan: Plan,
        created_by: str,
        show: Show,
        *,
        keep: bool = False,
        tie_to_pod: bool | None = False,
        connect: Callable[[Credentials], KubeClient] = _client,
    ) -> None:
        """
        :param wanted: None: it is only looked for.
        :param show: is called in the loop of `background` with a line, and for how many seconds it holds.
        :param keep: what was created stays, also when the start fails.
        :param tie_to_pod: what is created goes with the Pod that we run in; None: where that is possible.
        """
        self.access = access
        self.namespace = namespace
        self.name = name
        self.wanted = wanted
        self.mode = mode
        self.created = False
        self.unreached = ""
        self._patience_s = patience_s
        self._plan = plan
        self._created_by = created_by
        self._token = uuid.uuid4().hex
        self._show = show
        self._keep = keep
        self._tie = tie_to_pod
        self._connect = connect
        self._owner: JSON | None = None
        self._api: KubeClient | None = None
        self._live: Live | None = None
        self._way: Way | None = None
        self._start: starting.Start | None = None
        self._creating: asyncio.Task[JSON] | None = None
        self._letting_go = asyncio.Lock()

    @property
    def uid(self) -> str:
        return "" if self._live is None else self._live.uid

    @property
    def api(self) -> KubeClient:
        assert self._api is not None, "not opened"
        return self._api

    @property
    def live(self) -> Live:
        assert self._live is not None, "not opened"
        return self._live

    @property
    def way(self) -> Way:
        assert self._way is not None, "not opened"
        return self._way

    @property
    def is_deleted(self) -> bool:
        """Did somebody delete it, after it was found or made?"""
        return bool(self._live is not None and self.uid and self._live.cluster is None)

    def deleted(self) -> ClusterNotFoundError:
        return ClusterNotFoundError(f"DaskCluster {self.namespace}/{self.name} was deleted")

    async def told(self, work: Coroutine[Any, Any, T]) -> T:
        """Its result; what Kubernetes refuses is raised as an error that says what to do."""
        return await self.access.told(work)

    # ---- start

    async def find(self) -> None:
        """Find or make the cluster. Nothing is waited for.

        :raises ClusterNotFoundError: there is none, or not for long any more.
        """
        await self.told(self._begin())

    async def start(self) -> None:
        """Find or make the cluster, and wait until its scheduler can be reached at ``way.address``."""
        await self.find()
        await self._until(lambda state: True if state.reach else None)
        await self.told(first_of(self.way.open(), self.failure()))

    async def _begin(self) -> None:
        await self.access.credentials.headers()
        self._api = self._connect(self.access.credentials)
        self._live = Live(self._api, self.namespace, self.name)
        self._way = Way(self._api, self._live, self._plan, lambda line: self._show(line, 0.0))
        await self._live.open()
        found = self._live.cluster
        if found is None and self.mode is not CreateMode.CONNECT_ONLY and self.wanted is not None:
            self._way.try_port(self.wanted.objects.cluster)
            self._creating = asyncio.create_task(self._create(self.wanted))
            found = await asyncio.shield(self._creating)
        if found is None:
            raise await self._not_found()
        if not self.created and self.mode is CreateMode.CREATE_ONLY:
            raise ClusterExistsError(
                f"DaskCluster {self.namespace}/{self.name} exists already, and create_mode is CREATE_ONLY"
            )
        if deleted := found["metadata"].get("deletionTimestamp"):
            raise ClusterNotFoundError(
                f"DaskCluster {self.namespace}/{self.name} is being deleted{_since(deleted)}; wait, "
                "or use another name"
            )
        self._live.uid = found["metadata"]["uid"]
        now = asyncio.get_running_loop().time()
        self._start = starting.begin(self.name, self.namespace, now, self._patience_s)

    async def _create(self, wanted: Wanted) -> JSON:
        """The object, made by us, or by somebody else before."""
        self._owner = await self._pod()
        body = self._body(wanted.objects.cluster)
        try:
            made = await self._insist(lambda: self.api.create(DASKCLUSTERS, self.namespace, body))
        except ApiError as error:
            if error.is_already_exists:
                found = await self.api.get(DASKCLUSTERS, self.namespace, self.name)
                if not self._is_ours(found):
                    return found
                made = Created(found)  # an answer was lost
            elif (told := refusals.of_create(error)) is not error and self.access.refusal(
                error
            ) is error:
                raise told from error
            else:
                raise
        self.created = True
        self.live.uid = made.object["metadata"]["uid"]
        self.live.observe(made.object)
        if wanted.is_ours and (field := _unknown_field(made.warnings)):
            raise refusals.unknown_field(field)
        for document in wanted.objects.more:
            await self._create_more(document)
        return made.object

    async def _pod(self) -> JSON | None:
        """The Pod that the cluster goes with."""
        is_possible = self.access.inside and self.namespace == self.access.namespace
        if self._tie is False or (self._tie is None and (self._keep or not is_possible)):
            return None
        found = None
        if is_possible:
            found = await tie.owner(self.api, self.namespace, self.access.credentials.server)
        if found is None and self._tie:
            raise ValueError(
                f"tie_to_pod: we do not run in a Pod of namespace {self.namespace!r} that we may read; "
                "set POD_NAME to its name, or leave tie_to_pod out"
            )
        return found

    async def _create_more(self, document: JSON) -> None:
        """What was written beside the cluster; it goes with it."""
        body = copy.deepcopy(document)
        body["metadata"] = {**body["metadata"], "namespace": self.namespace}
        body["metadata"].setdefault("ownerReferences", []).append(self.owner_reference())
        try:
            await self.api.create(KINDS[document["kind"]], self.namespace, body)
        except ApiError as error:
            if not error.is_already_exists:
                told = refusals.of_create(error)
                if told is error:
                    raise
                raise told from error

    def owner_reference(self) -> JSON:
        """By which something goes with our DaskCluster."""
        return {
            "apiVersion": DASKCLUSTERS.api_version,
            "kind": DASKCLUSTERS.kind,
            "name": self.name,
            "uid": self.uid,
        }

    def _body(self, cluster: JSON) -> JSON:
        body = copy.deepcopy(cluster)
        metadata = {**body["metadata"], "namespace": self.namespace}
        metadata["annotations"] = {
            **(metadata.get("annotations") or {}),
            CREATED_BY: self._created_by,
            CREATION: self._token,
        }
        if self._owner is not None:
            metadata["ownerReferences"] = [*(metadata.get("ownerReferences") or ()), self._owner]
        return {**body, "metadata": metadata}

    def _is_ours(self, found: JSON) -> bool:
        return (found["metadata"].get("annotations") or {}).get(CREATION) == self._token

    async def _not_found(self) -> ClusterNotFoundError:
        there: list[str] | None = None
        with contextlib.suppress(KubeError):
            page = await self.api.list(DASKCLUSTERS, self.namespace)
            there = [each["metadata"]["name"] for each in page.items]
        return refusals.no_cluster(self.name, self.namespace, there)

    async def _until(self, found: Callable[[starting.Start], T | None]) -> T:
        """Look at the start until something is so.

        :raises SchedulerStartupError, ControllerSilentError, ClusterNotFoundError: it will not be.
        """
        loop = asyncio.get_running_loop()
        while True:
            assert self._start is not None
            if self.way.refusal is not None:
                raise self.access.refusal(self.way.refusal)
            now = loop.time()
            scheduler = self.live.scheduler
            if scheduler is not None and (scheduler.get("spec") or {}).get("nodeName"):
                self.live.follow_events()
            seen = starting.Seen(
                now, self.live.cluster, scheduler, self.live.pulling, *self._in_the_way()
            )
            self._start = state = starting.look(self._start, seen)
            self._show(state.says, now - state.since)
            if state.failure is not None:
                raise await self._failed(state.failure)
            if (value := found(state)) is not None:
                return value
            # Once a second for whoever looks on: nothing is asked for.
            look_at = now + 1.0 if state.look_at is None else min(now + 1.0, state.look_at)
            await self.live.change(max(0.0, look_at - now))

    def _in_the_way(self) -> tuple[str, float]:
        """Why nobody reaches a scheduler that is ready, and how long that may take with the best of wills."""
        if self.way.waits:
            return self.way.waits, self.way.slow_s
        if not self.unreached:
            return "", 0.0
        return f"{self.way.address} does not answer: {self.unreached}", 0.0

    async def failure(self) -> None:
        """Never returns, and raises once the start has failed: it goes on until `started`."""
        await self._until(lambda state: None)

    async def started(self) -> None:
        """A client is connected: nothing that belongs to a start goes on."""
        await self.live.ignore_events()

    async def _failed(self, failure: starting.Failure) -> Exception:
        if failure.kind == "silent":
            return ControllerSilentError(
                f"{failure.text} Nothing serves namespace {self.namespace!r}"
            )
        if failure.kind == "deleted":
            return ClusterNotFoundError(failure.text)
        if failure.kind == "crash":
            return SchedulerStartupError(f"{failure.text}:\n{await self._last_words()}")
        return SchedulerStartupError(failure.text)

    async def _last_words(self) -> str:
        """The end of the scheduler's log, before it ended last; or why there is none."""
        raw = self.live.scheduler
        if raw is None:
            return "(its Pod is gone)"
        main = PodSpec.trusted(raw["spec"]).main(labels.SCHEDULER)
        for previous in (True, False):
            with contextlib.suppress(KubeError):
                return await self.api.logs(
                    self.namespace,
                    raw["metadata"]["name"],
                    container=main.name if main is not None else None,
                    previous=previous,
                    tail=LOG_LINES,
                )
        return "(it has no log)"

    # ---- end

    async def undo(self) -> None:
        """After a start that failed or was interrupted: delete what it created, and let go."""
        async with self._letting_go:
            if self._creating is not None and not self._creating.done():
                await asyncio.wait([self._creating], timeout=UNDO_S / 2)
                self._creating.cancel()
                await asyncio.gather(self._creating, return_exceptions=True)
                await self._look_for_it()
            if self.created and self.uid and not self._keep:
                with contextlib.suppress(KubeError):
                    await self._deleted()
                self.created = False
            await self._let_go()

    async def _look_for_it(self) -> None:
        """A create was given up before its answer came: it may have made something."""
        with contextlib.suppress(KubeError, TimeoutError):
            async with asyncio.timeout(UNDO_S / 2):
                found = await self.api.get(DASKCLUSTERS, self.namespace, self.name)
                if self._is_ours(found):
                    self.created, self.live.uid = True, found["metadata"]["uid"]

    async def close(self, *, delete: bool, timeout_s: float | None = None) -> None:
        """Let go; with ``delete`` the cluster goes, and this returns when it is gone.

        :raises TimeoutError: it was not gone in time.
        """
        async with self._letting_go:
            if self._live is None:
                return
            try:
                if delete:
                    await self.told(self._delete(timeout_s))
            finally:
                await self._let_go()

    @property
    def kept_by(self) -> str | None:
        """Which tool keeps the object, in words; such a one is never deleted."""
        cluster = None if self._live is None else self._live.cluster
        return None if cluster is None else tracked_by(Meta.of(cluster))

    async def _delete(self, timeout_s: float | None) -> None:
        if not self.uid or self.kept_by is not None:
            return
        answer = await self._deleted()
        if answer is None:
            return
        self.live.observe(answer)
        try:
            await self.live.until(lambda: True if self.live.cluster is None else None, timeout_s)
        except TimeoutError:
            raise TimeoutError(
                f"DaskCluster {self.namespace}/{self.name} is not gone after {timeout_s:.0f} s"
            ) from None

    async def _deleted(self) -> JSON | None:
        """It names the uid: repeated, it deletes no other."""
        uid = self.uid
        return await self._insist(
            lambda: self.api.delete(DASKCLUSTERS, self.namespace, self.name, uid=uid)
        )

    async def _insist(self, request: Callable[[], Awaitable[T]]) -> T:
        """Its answer; what a server's trouble, or a lost answer, left open is asked once more."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + INSIST_S
        while True:
            try:
                return await request()
            except KubeError as error:
                is_told = isinstance(error, ApiError) and is_final(error)
                if is_told or loop.time() > deadline:
                    raise
                await asyncio.sleep(0.5)

    def delete_now(self, deadline: float) -> None:
        """Delete the object in this thread, without a loop.

        :param deadline: of `time.monotonic`.
        :raises OSError, http.client.HTTPException, CredentialsError: it may be there still.
        """
        if not self.uid or self.kept_by is not None:
            return
        delete_now(
            self.access.credentials,
            DASKCLUSTERS,
            self.namespace,
            self.name,
            uid=self.uid,
            timeout_s=FAREWELL_S,
            deadline=deadline,
        )

    async def _let_go(self) -> None:
        way, live, api = self._way, self._live, self._api
        self._way = self._live = self._api = None
        if way is not None:
            await way.close()
        if live is not None:
            await live.close()
        if api is not None:
            await api.close()


def _unknown_field(warnings: list[str]) -> str:
    """The first that the server said not to know; "" for none."""
    for warning in warnings:
        if match := re.search(r'unknown field "([^"]+)"', warning):
            return match[1]
    return ""


def _since(deleted: str) -> str:
    import time

    at = parse_time(deleted)
    return "" if at is None else f" since {max(0.0, time.time() - at):.0f} s"
