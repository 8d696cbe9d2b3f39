"""What is measured, one function for each letter of the table."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from dask_gitops.resources.autoscalers import INTERVAL_S
from dask_gitops.resources.groups import declared_groups
from dask_gitops.resources.observed import CustomResource
from dask_gitops.resources.pods import worker_pod
from dask_gitops.settings import DEFAULT_DASK_IMAGE

from bench.lab import Controller, Failure, Lab, say
from bench.raw import Eye, Raw
from bench.schedulers import schedulers

JSON = dict[str, Any]
CLUSTERS = "/apis/kubernetes.dask.org/v1/namespaces/default/daskclusters"
AUTOSCALERS = "/apis/kubernetes.dask.org/v1/namespaces/default/daskautoscalers"
GROUPS = "/apis/kubernetes.dask.org/v1/namespaces/default/daskworkergroups"
START = 3  # workers before the scale-up, and in each of the many clusters


@dataclass(frozen=True)
class Sizes:
    workers: int = 1000
    clusters: int = 100
    idle_s: float = 120.0
    scaled_idle_s: float = 300.0
    patience_s: float = 600.0


Result = dict[str, float]


@dataclass
class Bench:
    """One repetition fills ``result``; ``notes`` says what else was seen."""

    lab: Lab
    raw: Raw
    eye: Eye
    sizes: Sizes
    result: Result
    notes: dict[str, Any]

    # ---- without the controller

    async def raw_create_and_delete(self) -> None:
        """(a), and what (d) is compared with: the pods that our controller would make, made by a loop."""
        count = self.sizes.workers
        cluster = CustomResource.of(await self.raw.call("POST", CLUSTERS, a_cluster("raw", START)))
        [group] = declared_groups(cluster)
        group["metadata"] |= {"uid": "", "creationTimestamp": None}
        view = CustomResource.of(group)
        pods = [
            worker_pod(cluster, view, serial, default_image=DEFAULT_DASK_IMAGE)
            for serial in range(count)
        ]
        started = time.monotonic()
        await self.raw.create_all(pods)
        self._took("a", await self.eye.until(count, self.sizes.patience_s) - started)
        started = time.monotonic()
        await self.raw.delete_all()
        self._took("d_raw", await self._all_gone() - started)
        await self.raw.call("DELETE", f"{CLUSTERS}/raw")

    async def apply_alone(self) -> None:
        """What (c) takes at least: kubectl, with nobody there to answer."""
        started = time.monotonic()
        await self.lab.kubectl("apply", "-f", "-", stdin=self._many())
        self._took("c_alone", time.monotonic() - started)

    # ---- with the controller

    async def scale_up(self, controller: Controller) -> None:
        """(b)"""
        count = self.sizes.workers
        await self.lab.kubectl("apply", "-f", "-", stdin=json.dumps(a_cluster("big", START)))
        await self.eye.until(START + 1, self.sizes.patience_s)
        await self.settle()
        audit, cpu = self.lab.audit(), controller.cpu()
        started = time.monotonic()
        await self.lab.kubectl("scale", "daskworkergroup/big-default", f"--replicas={count}")
        self._took("b", await self.eye.until(count + 1, self.sizes.patience_s) - started)
        await self.settle()
        self._set("b_cpu", controller.cpu() - cpu)
        self._set("b_memory", controller.memory())
        requests = self._note("b", audit.requests())
        self._expect("creates of worker pods", requests["create pods"], count - START)

    async def delete_cluster(self, controller: Controller) -> None:
        """(d), after (b)"""
        audit, cpu = self.lab.audit(), controller.cpu()
        started = time.monotonic()
        await self.lab.kubectl("delete", "daskcluster/big", "--wait=false")
        self._took("d", await self._all_gone() - started)
        await self.settle()
        self._set("d_cpu", controller.cpu() - cpu)
        requests = self._note("d", audit.requests())
        self._expect("creates during the deletion", requests["create pods"], 0)

    async def many_clusters(self, controller: Controller) -> None:
        """(c)"""
        count = self.sizes.clusters
        audit, cpu = self.lab.audit(), controller.cpu()
        started = time.monotonic()
        await self.lab.kubectl("apply", "-f", "-", stdin=self._many())
        self._took("c_apply", time.monotonic() - started)
        ended = await self.eye.until(count * (START + 1), self.sizes.patience_s)
        self._took("c", ended - started)
        await self.settle()
        self._set("c_cpu", controller.cpu() - cpu)
        requests = self._note("c", audit.requests())
        self._expect("creates of pods", requests["create pods"], count * (START + 1))
        self._expect("creates of Services", requests["create services"], count)
        listed = await self.raw.call("GET", CLUSTERS)
        self._expect("ready clusters", sum(is_ready(c) for c in listed["items"]), count)

    async def idle(self, controller: Controller) -> None:
        """(e), after (c)"""
        audit, cpu = self.lab.audit(), controller.cpu()
        await asyncio.sleep(self.sizes.idle_s)
        self._set("e_cpu", controller.cpu() - cpu)
        self._set("e_memory", controller.memory())
        requests = self._note("e", audit.requests())
        leases = requests["patch leases"] + requests["update leases"]
        watches = sum(n for what, n in requests.items() if what.startswith("watch "))
        self._set("e_leases", leases)
        self._set("e_watches", watches)
        self._set("e_requests", requests.total() - leases - watches)

    async def autoscaled(self, controller: Controller) -> None:
        """(f), after (c): each cluster gets an autoscaler that has nothing to do."""
        names = [f"c{i:03}" for i in range(self.sizes.clusters)]
        text = "\n---\n".join(json.dumps(an_autoscaler(name)) for name in names)
        async with schedulers() as calls:
            await self.lab.kubectl("apply", "-f", "-", stdin=text)
            await asyncio.sleep(15)  # all of them have looked
            await self.settle()
            audit, cpu, before = self.lab.audit(), controller.cpu(), calls.total()
            await asyncio.sleep(self.sizes.scaled_idle_s)
            self._set("f_cpu", controller.cpu() - cpu)
            self._set("f_calls", calls.total() - before)
            self._set("f_memory", controller.memory())
        requests = self._note("f", audit.requests())
        kept = {what: n for what, n in requests.items() if "lease" not in what}
        self._set("f_requests", sum(n for what, n in kept.items() if "watch " not in what))
        listed = await self.raw.call("GET", AUTOSCALERS)
        self._expect("ready autoscalers", sum(is_ready(a) for a in listed["items"]), len(names))
        expected = self.sizes.clusters * self.sizes.scaled_idle_s / INTERVAL_S
        if not 0.8 * expected <= self.result["f_calls"] <= 1.1 * expected:
            raise Failure(f"{self.result['f_calls']:.0f} calls of schedulers, not {expected:.0f}")

    # ---- helpers

    def _many(self) -> str:
        """One manifest for kubectl: all the clusters of (c)."""
        names = (f"c{i:03}" for i in range(self.sizes.clusters))
        return "\n---\n".join(json.dumps(a_cluster(name, START)) for name in names)

    async def clear(self) -> None:
        """Nothing is left for what comes next."""
        deadline = time.monotonic() + self.sizes.patience_s
        await self.raw.call("DELETE", AUTOSCALERS)
        await self.raw.call("DELETE", CLUSTERS)
        while await self._left():
            if time.monotonic() > deadline:
                raise Failure("the objects of an earlier measurement do not go away")
            await asyncio.sleep(0.5)

    async def settle(self) -> None:
        """Wait until the controller has written nothing but its Lease for three seconds."""
        deadline = time.monotonic() + self.sizes.patience_s
        while time.monotonic() < deadline:
            audit = self.lab.audit()
            await asyncio.sleep(3)
            if not any(
                n
                for what, n in audit.requests().items()
                if "leases" not in what and "watch" not in what
            ):
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
                raise Failure("deleted pods do not go away")
        return ended

    def _took(self, key: str, seconds: float) -> None:
        self._set(key, seconds)
        say(f"    {key:<10} {seconds:.2f} s")

    def _set(self, key: str, value: float) -> None:
        self.result[key] = round(value, 3)

    def _note(self, key: str, requests: Counter[str]) -> Counter[str]:
        self.notes[f"{key} requests"] = dict(requests.most_common())
        say(f"    requests   {', '.join(f'{n} {what}' for what, n in requests.most_common())}")
        return requests

    def _expect(self, what: str, found: int, wanted: int) -> None:
        if found != wanted:
            raise Failure(f"{what}: {found}, not {wanted}")


def a_cluster(name: str, workers: int) -> JSON:
    """Its Service selects nothing, as EndpointSlices refuse the loopback addresses of pretended pods."""
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "worker": {"replicas": workers},
            "scheduler": {"service": {"selector": {"nothing": "here"}}},
        },
    }


def an_autoscaler(cluster: str) -> JSON:
    """One that keeps the workers that there are."""
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskAutoscaler",
        "metadata": {"name": cluster, "namespace": "default"},
        "spec": {"cluster": cluster, "minimum": START, "maximum": 2 * START},
    }


def is_ready(resource: JSON) -> bool:
    conditions = resource["status"].get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
