"""The two Python clients, each with the controller that it comes with, on the machine's real node: outside, and in a Pod.

Both stand on one control plane in turns, so that a pair of them meets the same machine in the same minute.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import ROOT
from bench.contestants import Contestant
from bench.lab import STATE, Failure, Lab, say
from bench.manifests import CLUSTER, COMPONENT, JSON, NAMESPACE, as_text
from bench.measures import CLUSTERS
from bench.process import running
from bench.raw import PODS, Raw
from bench.report import TITLES
from bench.turns import OURS, Turn

USER = "bench-user"  # the Pod of whoever works inside
NAME = "bench"
SCHEDULER = f"{CLUSTER}={NAME},{COMPONENT}=scheduler"
MODULES = {True: "dask_gitops", False: "dask_kubernetes.operator"}
WORKERS = 2
WITHIN_S = 300.0
PROGRAM = ROOT / "bench" / "kubecluster.py"


class Asked:
    """A user's process."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    async def answer(self) -> Any:
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), WITHIN_S)
        except TimeoutError:
            raise Failure(f"the client says nothing within {WITHIN_S:.0f} s") from None
        if not line:
            raise Failure(f"the client died; see {self._log}")
        found: JSON = json.loads(line)
        if "error" in found:
            raise Failure(found["error"])
        return found["gave"]

    async def __call__(self, do: str, **given: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **given}).encode() + b"\n")
        return await self.answer()


@contextlib.asynccontextmanager
async def user(
    words: tuple[str, ...], who: Contestant, env: dict[str, str]
) -> AsyncIterator[tuple[Asked, float]]:
    """Start it; and the seconds that the import of its client took after that of Dask."""
    log = STATE / f"{who.key}-user.log"
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *(*words, MODULES[who.is_ours]),
            env=env,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
        )
    try:
        one = Asked(process, log)
        yield one, await one.answer()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@dataclass
class Clients:
    """:ivar python: has both clients.
    :ivar why_not_inside: "" where a Pod can run with the packages of that environment.
    """

    lab: Lab
    raw: Raw
    image: str
    python: Path
    why_not_inside: str = ""

    async def prepare(self) -> None:
        """The Pod of the user inside, whose ServiceAccount may do everything."""
        (packages,) = (self.python.parent.parent / "lib").glob("python3*/site-packages")
        folders = {"packages": packages, "controller": ROOT / "controller", "bench": ROOT / "bench"}
        container = {
            "name": "user",
            "image": self.image,
            "command": ["sleep", "infinity"],
            "env": [{"name": "PYTHONPATH", "value": "/controller:/packages"}],
            "volumeMounts": [
                {"name": name, "mountPath": f"/{name}", "readOnly": True} for name in folders
            ],
        }
        volumes = [
            {"name": name, "hostPath": {"path": str(path)}} for name, path in folders.items()
        ]
        meta = {"name": USER, "namespace": NAMESPACE}
        about = {"apiVersion": "v1", "metadata": meta}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}  # fmt: skip
        pod = {
            "serviceAccountName": USER,
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
            "volumes": volumes,
        }
        objects: list[JSON] = [
            {**about, "kind": "ServiceAccount"},
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": USER},
                "roleRef": role,
                "subjects": [{"kind": "ServiceAccount", **meta}],
            },
            {**about, "kind": "Pod", "spec": pod},
        ]
        await self.lab.kubectl("apply", "-f", "-", stdin=as_text(objects))
        ready = ("--for=condition=Ready", "--timeout=120s")
        await self.lab.kubectl("wait", f"pod/{USER}", *ready)
        version = self.lab.kubectl_now("-n", NAMESPACE, "exec", USER, "--", "python", "-V")
        self.why_not_inside = packages_do_not_fit(version.removeprefix("Python "))

    async def turn(self, who: Contestant, turn: Turn) -> None:
        """Everything, with that one's definitions, controller and client; nothing is left afterwards."""
        definitions = ("--server-side", "--force-conflicts", "-f", str(who.crds))
        await self.lab.kubectl("apply", *definitions)
        env = {**self.lab.env, "PYTHONPATH": str(ROOT / "controller")}
        async with running(who, self.lab):
            outside = (str(self.python), str(PROGRAM))
            async with user(outside, who, env) as (ask, import_s):
                self._took(turn, "k_import", import_s)
                say("  warming up")
                await self._start(ask)
                await self._end(ask)
                await self._outside(ask, turn)
            if self.why_not_inside:
                turn.words |= dict.fromkeys(("k_inside", "k_from_inside"), self.why_not_inside)
                return
            inside = ("kubectl", "-n", NAMESPACE, "exec", "-i", USER, "--", "python")
            async with user((*inside, f"/bench/{PROGRAM.name}"), who, self.lab.env) as (ask, _):
                await self._inside(ask, turn)

    async def _outside(self, ask: Asked, turn: Turn) -> None:
        floor = await self._floor(ask)
        self._took(turn, "k_floor", floor)
        self._took(turn, "k", await self._start(ask))
        await self._end(ask)
        best = await self._start(ask, port_forward_cluster_ip=True)
        self._took(turn, "k_best", best)
        self._took(turn, "k_added", best - floor)
        self._took(turn, "k_from", await ask("attach"))
        # Both workers are there: the two that come are measured.
        await ask("scale", workers=WORKERS)
        self._took(turn, "k_scale", await ask("scale", workers=2 * WORKERS))
        self._took(turn, "k_close", await self._end(ask))

    async def _inside(self, ask: Asked, turn: Turn) -> None:
        floor = await self._floor(ask)
        self._took(turn, "k_floor_inside", floor)
        inside = await self._start(ask)
        self._took(turn, "k_inside", inside)
        self._took(turn, "k_added_inside", inside - floor)
        self._took(turn, "k_from_inside", await ask("attach"))
        await self._end(ask)

    # ---- steps

    async def _start(self, ask: Asked, **options: Any) -> float:
        return float(await ask("start", n_workers=WORKERS, image=self.image, **options))

    async def _end(self, ask: Asked) -> float:
        took = float(await ask("close"))
        await self._gone()
        return took

    async def _floor(self, ask: Asked) -> float:
        """The same cluster by kubectl, and a client that knows where it will be."""
        spec = await ask("spec", n_workers=WORKERS, image=self.image)
        spec["metadata"]["namespace"] = NAMESPACE
        began = time.monotonic()
        await self.lab.kubectl("apply", "-f", "-", stdin=as_text([spec]))
        host = await self._scheduler(began + WITHIN_S)
        took = float(await ask("floor", address=f"tcp://{host}:8786")) - began
        await self.raw.call("DELETE", CLUSTERS)
        await self._gone()
        return took

    async def _scheduler(self, deadline: float) -> str:
        while time.monotonic() < deadline:
            for pod in (await self.raw.call("GET", PODS, labelSelector=SCHEDULER))["items"]:
                if host := pod["status"].get("podIP"):
                    return str(host)
            await asyncio.sleep(0.05)
        raise Failure(f"no scheduler has an address within {WITHIN_S:.0f} s")

    async def _gone(self) -> None:
        """No Pod of it is left, so that it is in nobody's way."""
        deadline = time.monotonic() + WITHIN_S
        while (await self.raw.call("GET", PODS, labelSelector=f"{CLUSTER}={NAME}"))["items"]:
            if time.monotonic() > deadline:
                raise Failure(f"its cluster does not go away within {WITHIN_S:.0f} s")
            await asyncio.sleep(0.1)

    def _took(self, turn: Turn, key: str, seconds: float) -> None:
        turn.values[key] = round(seconds, 3)
        say(f"    {TITLES[turn.contestant]:<18} {key:<14} {seconds:.2f} s")


def packages_do_not_fit(python_of_image: str) -> str:
    """Why the packages of this environment cannot run in a Pod; "" where they can."""
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    theirs = ".".join(python_of_image.split(".")[:2])
    return "" if ours == theirs else f"Python is {ours} here and {theirs} in the image"


def compared(ours: Turn, peer: Turn) -> None:
    """Of each of ours, how many times the peer's seconds, in the same turn."""
    assert ours.contestant == OURS
    for key in ours.values.keys() & peer.values.keys():
        if peer.values[key] > 0:
            ours.values[f"{key}_x"] = round(ours.values[key] / peer.values[key], 3)
