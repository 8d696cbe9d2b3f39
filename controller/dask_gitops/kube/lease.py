"""Who of several replicas may write: a Lease, renewed by its holder, watched by the others.

A holder that was stopped and woken up (SIGSTOP, a frozen node) must not send what it had in mind:
`LeaseElector.is_leader` looks at the clock every time, so it is the guard of `KubeClient`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime

from .client import JSON, Api
from .errors import ApiError, KubeError
from .resource import LEASES, Resource

log = logging.getLogger(__name__)


def boot_time() -> float:
    """Seconds since boot, counting the time the machine slept (the plain monotonic clock does not
    on Linux: a resumed virtual machine would believe in a lease that ended long ago)."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class LeaseElector:
    """Takes part in the election for one Lease.

    :param identity: must be unique per process (pod name plus something random): the same name
        means the same holder.
    :param duration_s: a holder that did not renew for so long is replaced (whole seconds).
    :param renew_s: pause between two writes of the holder, and between two attempts.
    :param poll_s: pause between two reads of the others.
    :param margin_s: the holder stops to believe in its lease so much before others may take it: for
        requests that are under way, and for clocks that do not run equally fast.
    :param owner: an object of this kind, called like the Lease, takes the Lease with it when it is
        deleted; nobody else would. Without the right to read it the Lease has no owner.
    :param on_started: called when this process has become the leader.
    :param on_lost: called when it no longer is, also at the end of `run`.
    :param clock: monotonic seconds; only differences of this process' own clock are ever used.
    :param now: wall clock, for what people read in the Lease.
    """

    def __init__(
        self,
        client: Api,
        namespace: str,
        name: str,
        identity: str,
        *,
        duration_s: int = 15,
        renew_s: float = 5.0,
        poll_s: float = 2.0,
        margin_s: float = 3.0,
        owner: Resource | None = None,
        on_started: Callable[[], None] | None = None,
        on_lost: Callable[[], None] | None = None,
        clock: Callable[[], float] = boot_time,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        if not renew_s + margin_s < duration_s:
            raise ValueError("renew_s + margin_s must be less than duration_s")
        self.identity = identity
        self.namespace = namespace
        self.name = name
        self._client = client.unguarded()  # an elector behind its own guard could never begin
        self._duration_s = duration_s
        self._renew_s = renew_s
        self._poll_s = poll_s
        self._margin_s = margin_s
        self._owner = owner
        self._on_started = on_started
        self._on_lost = on_lost
        self._clock = clock
        self._now = now or (lambda: datetime.now(UTC))
        self._leading = False
        self._valid_until = 0.0
        self._lease: JSON | None = None  # as last seen; None: read it before the next write
        self._seen_version = ""
        self._seen_at = 0.0
        self._complaint = ""

    def is_leader(self) -> bool:
        """Whether a write may be sent right now. Cheap; ask before every single write."""
        return self._leading and self._clock() < self._valid_until

    @property
    def holder(self) -> str:
        """Who holds the Lease as far as is known ("" for nobody)."""
        spec = (self._lease or {}).get("spec") or {}
        return spec.get("holderIdentity") or ""

    async def run(self) -> None:
        """Take part until cancelled; a held Lease is then released.

        Stop everything that writes first: the successor starts at once.
        """
        try:
            while True:
                started = self._clock()
                await self._step()
                await asyncio.sleep(self._pause(started))
                self._notice_expiry()
        finally:
            was_leading = self.is_leader()
            self._lose("stopping")
            if was_leading:
                await self._release()

    def _pause(self, started: float) -> float:
        now = self._clock()
        if self._leading:
            # Counted from the beginning of the last attempt: one that hung must leave time for
            # another. And no later than the end of the lease, so that on_lost is not late.
            return max(0.0, min(started + self._renew_s, self._valid_until) - now)
        return self._poll_s * random.uniform(0.9, 1.1)

    async def _step(self) -> None:
        try:
            limit = self._renew_s
            if self._leading:
                limit = min(limit, max(0.1, self._valid_until - self._clock()))
            async with asyncio.timeout(limit):
                if self._leading:
                    await self._renew()
                else:
                    await self._try_to_acquire()
            self._complaint = ""
        except Exception as error:
            # Only its own end costs the Lease, whatever goes wrong with a request: no token, an
            # answer that is none, a bug of ours. Whatever we knew may be outdated, also by our own write whose answer was lost.
            self._lease = None
            if isinstance(error, ApiError) and (error.is_conflict or error.is_already_exists):
                return  # somebody was faster; the next read tells
            expected = isinstance(error, KubeError | TimeoutError)
            words = (str(error) or "timed out") if expected else repr(error)
            if words != self._complaint:
                self._complaint = words
                trace = None if expected else error
                log.warning("lease %s/%s: %s", self.namespace, self.name, words, exc_info=trace)
        self._notice_expiry()

    async def _read(self) -> JSON | None:
        try:
            lease = await self._client.get(LEASES, self.namespace, self.name)
        except ApiError as error:
            if not error.is_not_found:
                raise
            self._lease = None
            return None
        self._see(lease)
        return lease

    def _see(self, lease: JSON) -> None:
        version = lease["metadata"]["resourceVersion"]
        if version != self._seen_version:
            self._seen_version = version
            self._seen_at = self._clock()
        self._lease = lease

    async def _try_to_acquire(self) -> None:
        lease = await self._read()
        started = self._clock()
        if lease is None:
            body = {
                "apiVersion": LEASES.api_version,
                "kind": LEASES.kind,
                "metadata": {
                    "name": self.name,
                    "namespace": self.namespace,
                    "ownerReferences": await self._owners(),
                },
                "spec": self._spec(acquire=True, transitions=0),
            }
            created = await self._client.create(LEASES, self.namespace, body)
            self._see(created.object)
            self._win(started)
            return
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity")
        # The holder's own promise counts, by our clock, from when we saw it renewed.
        promised = spec.get("leaseDurationSeconds") or self._duration_s
        if holder and holder != self.identity and started < self._seen_at + promised:
            return
        transitions = int(spec.get("leaseTransitions") or 0) + (holder != self.identity)
        await self._write(lease, self._spec(acquire=True, transitions=transitions))
        self._win(started)

    async def _owners(self) -> list[JSON]:
        if self._owner is None:
            return []
        try:
            found = await self._client.get(self._owner, self.namespace, self.name)
        except ApiError as error:
            if error.is_not_found or error.status == 403:
                return []
            raise
        owner = self._owner
        return [
            {
                "apiVersion": owner.api_version,
                "kind": owner.kind,
                "name": self.name,
                "uid": found["metadata"]["uid"],
            }
        ]

    async def _renew(self) -> None:
        if self._lease is None:
            lease = await self._read()
            if lease is None or self.holder != self.identity:
                self._lose(f"taken by {self.holder or 'nobody'}")
                return
        assert self._lease is not None
        started = self._clock()
        await self._write(self._lease, self._spec())
        self._valid_until = started + self._duration_s - self._margin_s

    async def _write(self, lease: JSON, spec: JSON) -> None:
        meta = lease["metadata"]
        body = {
            "metadata": {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]},
            "spec": spec,
        }
        self._see(await self._client.patch(LEASES, self.namespace, self.name, body))

    async def _release(self) -> None:
        try:
            async with asyncio.timeout(self._renew_s):
                while not await self._released():
                    self._lease = None  # a renewal that was cut off has taken effect: it is another
        except Exception as error:
            log.warning("lease %s/%s was not released: %s", self.namespace, self.name, error)

    async def _released(self) -> bool:
        """False: what we know of the Lease is outdated."""
        lease = self._lease or await self._read()
        if lease is None or self.holder != self.identity:
            return True
        try:
            await self._write(lease, {"holderIdentity": "", "leaseDurationSeconds": 1})
        except ApiError as error:
            if not error.is_conflict:
                raise
            return False
        return True

    def _spec(self, *, acquire: bool = False, transitions: int = 0) -> JSON:
        now = self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec: JSON = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": self._duration_s,
            "renewTime": now,
        }
        if acquire:
            spec["acquireTime"] = now
            spec["leaseTransitions"] = transitions
        return spec

    def _win(self, started: float) -> None:
        self._valid_until = started + self._duration_s - self._margin_s
        self._leading = True
        log.info("lease %s/%s is ours (%s)", self.namespace, self.name, self.identity)
        if self._on_started is not None:
            self._on_started()

    def _notice_expiry(self) -> None:
        if self._leading and not self.is_leader():
            self._lose("not renewed in time")

    def _lose(self, why: str) -> None:
        if not self._leading:
            return
        self._leading = False
        self._lease = None if why != "stopping" else self._lease
        log.info("lease %s/%s is no longer ours: %s", self.namespace, self.name, why)
        if self._on_lost is not None:
            self._on_lost()
