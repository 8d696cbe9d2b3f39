"""What is measured on pretended pods, one function for each letter of the table."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from dask_gitops.resources.autoscalers import INTERVAL_S
from dask_gitops.resources.groups import declared_groups
from dask_gitops.resources.observed import CustomResource
from dask_gitops.resources.pods import worker_pod
from dask_gitops.settings import DEFAULT_DASK_IMAGE

from bench.lab import Audit, Failure, Lab, say
from bench.manifests import JSON, NAMESPACE, START, a_cluster, an_autoscaler, as_text
from bench.process import Controller
from bench.raw import Eye, Raw
from bench.schedulers import schedulers
from bench.turns import Sizes, Turn

_OURS = f"/apis/kubernetes.dask.org/v1/namespaces/{NAMESPACE}"
CLUSTERS, GROUPS = f"{_OURS}/daskclusters", f"{_OURS}/daskworkergroups"
AUTOSCALERS = f"{_OURS}/daskautoscalers"
QUIET_S = 2.0  # without a write: at rest


@dataclass
class Bench:
    """Fills one turn."""

    lab: Lab
    raw: Raw
    eye: Eye
    sizes: Sizes
    turn: Turn

    # ---- without a controller

    async def warm_up(self) -> None:
        """The first pods of a new control plane are slow, whoever makes them."""
        await self._loop(50)

    async def plain(self, turn: Turn) -> None:
        """What (b) and (d) are compared with: the pods that our controller would make, made by a loop."""
        created, deleted = await self._loop(self.sizes.workers)
        turn.values |= {"b": round(created, 3), "d": round(deleted, 3)}
        say(f"    loop       {created:.2f} s, deletecollection {deleted:.2f} s")

    async def _loop(self, count: int) -> tuple[float, float]:
        """Seconds until so many pods are ready, and until they are gone again."""
        body = a_cluster("raw", START, DEFAULT_DASK_IMAGE)
        cluster = CustomResource.of(await self.raw.call("POST", CLUSTERS, body))
        [group] = declared_groups(cluster)
        group["metadata"] |= {"uid": "", "creationTimestamp": None}
        view = CustomResource.of(group)
        pods = [
            worker_pod(cluster, view, serial, default_image=DEFAULT_DASK_IMAGE)
            for serial in range(count)
        ]
        started = time.monotonic()
        await self.raw.create_all(pods)
        ready = await self.eye.until(count, self.sizes.patience_s)
        deleting = time.monotonic()
        await self.raw.delete_all()
        gone = await self._all_gone()
        await self.raw.call("DELETE", f"{CLUSTERS}/raw")
        return ready - started, gone - deleting

    # ---- with one

    async def scale_up(self, controller: Controller) -> None:
        """(b)"""
        count = self.sizes.workers
        await self._apply([a_cluster("big", START, DEFAULT_DASK_IMAGE)])
        await self._ready(controller, START + 1)
        await self.settle(controller)
        audit, cpu = self.lab.audit(controller.who.agents), controller.cpu()
        started = time.monotonic()
        await self.lab.kubectl("scale", "daskworkergroup/big-default", f"--replicas={count}")
        self._took("b", await self._ready(controller, count + 1) - started)
        await self.settle(controller)
        self._set("b_cpu", controller.cpu() - cpu)
        self._set("b_memory", controller.memory())
        requests = self._note("b", audit)
        self._set("b_requests", total(requests))
        self._expect("creates for workers", requests[controller.who.creates], count - START)

    async def delete_cluster(self, controller: Controller) -> None:
        """(d), after (b)"""
        audit, cpu = self.lab.audit(controller.who.agents), controller.cpu()
        started = time.monotonic()
        await self.lab.kubectl("delete", "daskcluster/big", "--wait=false")
        self._took("d", await self._all_gone() - started)
        await self.settle(controller)
        self._set("d_cpu", controller.cpu() - cpu)
        requests = self._note("d", audit)
        self._expect("creates during the deletion", requests[controller.who.creates], 0)

    async def many_clusters(self, controller: Controller) -> None:
        """(c)"""
        count = self.sizes.clusters
        audit, cpu = self.lab.audit(controller.who.agents), controller.cpu()
        started = time.monotonic()
        await self._apply(a_cluster(name, START, DEFAULT_DASK_IMAGE) for name in self._names())
        self._took("c_apply", time.monotonic() - started)
        ended = await self._ready(controller, count * (START + 1))
        self._took("c", ended - started)
        await self.settle(controller)
        self._set("c_cpu", controller.cpu() - cpu)
        requests = self._note("c", audit)
        self._set("c_requests", total(requests))
        self._expect("creates", requests[controller.who.creates], count * (START + 1))
        self._expect("creates of Services", requests["create services"], count)
        if controller.who.is_ours:
            listed = await self.raw.call("GET", CLUSTERS)
            self._expect("ready clusters", sum(is_ready(c) for c in listed["items"]), count)

    async def idle(self, controller: Controller) -> None:
        """(e), after (c)"""
        audit, cpu = self.lab.audit(controller.who.agents), controller.cpu()
        await asyncio.sleep(self.sizes.idle_s)
        self._set("e_cpu", controller.cpu() - cpu)
        self._set("e_memory", controller.memory())
        requests = self._note("e", audit)
        leases = requests["patch leases"] + requests["update leases"]
        watches = sum(n for what, n in requests.items() if what.startswith("watch "))
        self._set("e_leases", leases)
        self._set("e_watches", watches)
        self._set("e_requests", requests.total() - leases - watches)

    async def autoscaled(self, controller: Controller) -> None:
        """(f), after (c): each cluster gets an autoscaler that has nothing to do."""
        names = self._names()
        async with schedulers() as calls:
            await self._apply(an_autoscaler(name) for name in names)
            await asyncio.sleep(15)  # all of them have looked
            await self.settle(controller)
            audit, cpu = self.lab.audit(controller.who.agents), controller.cpu()
            before = calls.total()
            await asyncio.sleep(self.sizes.scaled_idle_s)
            self._set("f_cpu", controller.cpu() - cpu)
            self._set("f_calls", calls.total() - before)
            self._set("f_memory", controller.memory())
        self._set("f_requests", total(self._note("f", audit)))
        listed = await self.raw.call("GET", AUTOSCALERS)
        self._expect("ready autoscalers", sum(is_ready(a) for a in listed["items"]), len(names))
        expected = self.sizes.clusters * self.sizes.scaled_idle_s / INTERVAL_S
        calls_made = self.turn.values["f_calls"]
        if not 0.8 * expected <= calls_made <= 1.1 * expected:
            raise Failure(f"{calls_made:.0f} calls of schedulers, not {expected:.0f}")

    # ---- helpers

    def _names(self) -> list[str]:
        """All the clusters of (c)."""
        return [f"c{i:03}" for i in range(self.sizes.clusters)]

    async def _apply(self, manifests: Iterable[JSON]) -> None:
        await self.lab.kubectl("apply", "-f", "-", stdin=as_text(manifests))

    async def _ready(self, controller: Controller, count: int) -> float:
        return await self.eye.until(count, self.sizes.patience_s, controller.check)

    async def clear(self) -> None:
        """Nothing is left for what comes next."""
        deadline = time.monotonic() + self.sizes.patience_s
        await self.raw.call("DELETE", AUTOSCALERS)
        await self.raw.call("DELETE", CLUSTERS)
        while await self._left():
            if time.monotonic() > deadline:
                raise Failure(
                    f"its clusters do not go away within {self.sizes.patience_s:.0f} s of their deletion"
                )
            await asyncio.sleep(0.2)

    async def settle(self, controller: Controller) -> None:
        """Wait until the controller has asked for nothing but watches and its Lease for a while."""
        deadline = time.monotonic() + self.sizes.patience_s
        while time.monotonic() < deadline:
            audit = self.lab.audit(controller.who.agents)
            await asyncio.sleep(QUIET_S)
            if not total(audit.requests()):
                return
        raise Failure(f"the controller does not come to rest: {dict(audit.requests())}")

    async def _left(self) -> bool:
        if await self.raw.count():
            return True
        for path in (CLUSTERS, GROUPS):
            if (await self.raw.call("GET", path, limit="1"))["items"]:
                return True
        return False

    async def _all_gone(self) -> float:
        """Wait until no pod is left; the eye sees running ones only, so the server has the last word."""
        ended = await self.eye.until(0, self.sizes.patience_s)
        deadline = ended + self.sizes.patience_s
        while await self.raw.count():
            await asyncio.sleep(0.05)
            ended = time.monotonic()
            if ended > deadline:
                raise Failure(f"deleted pods do not go away within {self.sizes.patience_s:.0f} s")
        return ended

    def _took(self, key: str, seconds: float) -> None:
        self._set(key, seconds)
        say(f"    {key:<10} {seconds:.2f} s")

    def _set(self, key: str, value: float) -> None:
        self.turn.values[key] = round(value, 3)

    def _note(self, key: str, audit: Audit) -> Counter[str]:
        requests = audit.requests()
        self.turn.notes[f"{key} requests"] = dict(requests.most_common())
        say(f"    requests   {', '.join(f'{n} {what}' for what, n in requests.most_common())}")
        return requests

    def _expect(self, what: str, found: int, wanted: int) -> None:
        if found != wanted:
            raise Failure(f"{what}: {found}, not {wanted}")


def total(requests: Counter[str]) -> int:
    """All but watches and the Lease."""
    return sum(
        n for what, n in requests.items() if "lease" not in what and not what.startswith("watch ")
    )


def is_ready(resource: JSON) -> bool:
    conditions = resource["status"].get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
