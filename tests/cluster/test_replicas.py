"""docs/replicas.md, walked on a real API server with real kubectl, Helm 3, Helm 4 and HorizontalPodAutoscalers.

All pairs of writers are played side by side, each on a cluster of its own, in four phases: the manifest's first turn, the
others' first turn, and the same again. Every number that a group ever had is recorded, so a cell is checked by the
whole history of its group, not by its end. The metrics come from tests/support/metrics_api.py.
"""

from __future__ import annotations

import json
import re
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.manifests import cluster, group
from tests.cluster.test_main_job import USER, ready, workers_become
from tests.support.controller_process import ControllerProcess
from tests.support.fake_scheduler import FakeSchedulers
from tests.support.kubernetes import Audit, CommandError, Kubectl, condition, eventually, run
from tests.support.metrics_api import MetricsApi
from tests.support.recorder import Recorder, recording

pytestmark = pytest.mark.usefixtures("controller")
JSON = dict[str, Any]
ROOT = Path(__file__).parent.parent.parent
DOC = ROOT / "docs/replicas.md"
STEP = "step.k8s.io/number"  # an annotation that is new each time, and handed on to nothing
SERVER_SIDE = ("--server-side", "--force-conflicts", "--field-manager=argocd-controller")
GROUPS_OWN = "The manifest is the DaskWorkerGroup's"
NO_TOOL = "result"


# ---- what the page says


@dataclass(frozen=True)
class Cell:
    """One cell of a table: what happens to one cluster, and what becomes of its group."""

    table: str
    number: int  # of the row
    first: str
    then: str
    tool: str
    outcome: str

    def __str__(self) -> str:
        whose = "group" if self.table == GROUPS_OWN else "cluster"
        return f"{whose}: {self.first}, {self.then}, {self.tool}"

    @property
    def cluster(self) -> str:
        return f"{'g' if self.table == GROUPS_OWN else 'c'}{self.number}"

    @property
    def group(self) -> str:
        return f"{self.cluster}-{'own' if self.table == GROUPS_OWN else 'default'}"

    @property
    def is_refused(self) -> bool:
        return self.outcome.startswith("refused")

    def numbers(self, phases: int = 2) -> list[int]:
        """Every number that the group has had after one, or after both of them."""
        found = [1]
        if phases > 0:
            found += numbers_in(self.first)
        if phases > 1:
            found += numbers_in(self.outcome)
        return [n for i, n in enumerate(found) if found[i - 1 : i] != [n]]


def numbers_in(text: str) -> list[int]:
    return [int(n) for n in re.findall(r"\b\d+\b", text)]


def cells() -> list[Cell]:
    """All cells of the page's tables of pairs."""
    found: list[Cell] = []
    table, tools = "", []
    for line in DOC.read_text().splitlines():
        if line.startswith("#"):
            table, tools = line.lstrip("# "), []
        if not line.startswith("|"):
            continue
        first, then, *rest = (text.strip() for text in line.strip("|").split("|"))
        if first == "first":
            tools = rest
        elif tools and not first.startswith("-"):
            number = len(found)
            found += [
                Cell(table, number, first, then, t, o) for t, o in zip(tools, rest, strict=True)
            ]
    return found


CELLS = cells()


def manifest_step(words: str) -> tuple[str, int | None] | None:
    """(tool or "", number) if these words are about the manifest; number -1: as it is."""
    tool = next((t for t in ("server-side", "kubectl apply") if words.startswith(t)), "")
    if words == "manifest again":
        return "", -1
    if "says" in words:
        return tool, numbers_in(words)[0]
    return (tool, None) if "line" in words else None


# ---- the tools


@dataclass
class Release:
    """Some clusters whose manifests one tool applies together."""

    tool: str
    kubectl: Kubectl
    name: str
    cells: list[Cell]
    folder: Path
    refused: str = ""  # what the tool said
    _numbers: dict[str, int | None] = field(default_factory=dict)
    _steps: int = 0

    def apply(self, change: Callable[[Cell], tuple[str, int | None] | None]) -> None:
        """Bring every manifest to what it is to say now; unchanged ones are applied again."""
        self._steps += 1
        tools = {c.cluster: self._tool(c) for c in self.cells}
        for cell in self.cells:
            changed = change(cell)
            if changed is not None:
                tools[cell.cluster] = changed[0] or self._tool(cell)
                if changed[1] != -1:
                    self._numbers[cell.cluster] = changed[1]
            elif self.tool == NO_TOOL and self._steps > 1:
                del tools[cell.cluster]
        if self.tool.startswith("Helm"):
            self._helm()
            return
        for tool, flags in (("server-side", SERVER_SIDE), ("kubectl apply", ())):
            some = [c for c in self.cells if tools.get(c.cluster) == tool]
            if some:
                text = yaml.safe_dump_all(m for c in some for m in self._manifests(c))
                self.kubectl("apply", *flags, "-f", "-", stdin=text)

    def _tool(self, cell: Cell) -> str:
        """Which one applies the manifest, unless the step names another."""
        if self.tool != NO_TOOL:
            return self.tool
        step = manifest_step(cell.first)
        return step[0] if step else "kubectl apply"

    def _number(self, cell: Cell) -> JSON:
        number = self._numbers.get(cell.cluster, 1)
        return {} if number is None else {"replicas": number}

    def _manifests(self, cell: Cell) -> Iterator[JSON]:
        if cell.table == GROUPS_OWN:
            found = [
                cluster(cell.cluster, 0),
                group(cell.group, self._number(cell).get("replicas"), cluster=cell.cluster),
            ]
        else:
            found = [cluster(cell.cluster, self._number(cell).get("replicas"))]
        for manifest in found:
            manifest["metadata"]["annotations"] = {STEP: str(self._steps)}
            yield manifest

    def _helm(self) -> None:
        values: JSON = {}
        for cell in self.cells:
            values[cell.cluster] = {
                "annotations": {STEP: str(self._steps)},
                "scheduler": {"service": {"selector": {"nothing": "here"}}},
                "worker": self._number(cell),
            }
            if cell.table == GROUPS_OWN:
                values[cell.cluster]["worker"] = {"replicas": 0}
                own = self._number(cell) or {"replicas": "external"}
                values[cell.cluster]["workerGroups"] = {"own": own}
        file = self.folder / f"{self.kubectl.namespace}-{self.name}.yaml"
        file.write_text(yaml.safe_dump({"clusters": values}))
        is_old = self.tool == "Helm 3" or (self.tool == "Helm 3 to 4" and self._steps == 1)
        helm("helm3" if is_old else "helm", self.kubectl, self.name, "-f", file)


def helm(program: str, kubectl: Kubectl, release: str, *flags: str | Path) -> str:
    return run(
        program, "--kubeconfig", kubectl.kubeconfig, "-n", kubectl.namespace, "upgrade", "--install",
        release, ROOT, "--set", "crds.enabled=false,controller.enabled=false", *flags,
    )  # fmt: skip


def autoscaler(target: str, wants: int, kind: str = "DaskWorkerGroup") -> JSON:
    """A HorizontalPodAutoscaler that wants this number whatever the number is now."""
    metric = {
        "metric": {"name": f"wants-{wants}"},
        "target": {"type": "AverageValue", "averageValue": "1"},
    }
    return hpa(target, [{"type": "External", "external": metric}], kind)


def hpa(target: str, metrics: list[JSON], kind: str = "DaskWorkerGroup") -> JSON:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": target},
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "kubernetes.dask.org/v1",
                "kind": kind,
                "name": target,
            },
            "minReplicas": 1,
            "maxReplicas": 5,
            "metrics": metrics,
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        },
    }


def others_turn(kubectl: Kubectl, turns: Iterable[tuple[Cell, str]]) -> None:
    """What is no manifest: kubectl scale and autoscalers."""
    autoscalers = []
    scaled: dict[tuple[str, int], list[str]] = defaultdict(list)
    for cell, words in turns:
        (number,) = numbers_in(words)
        if words.startswith("autoscaler"):
            autoscalers.append(autoscaler(cell.group, number))
        elif words.startswith("kubectl scale group"):
            scaled["daskworkergroup", number].append(cell.group)
        else:
            assert words.startswith("kubectl scale cluster"), words
            scaled["daskcluster", number].append(cell.cluster)
    for (kind, number), names in scaled.items():
        kubectl("scale", kind, *names, f"--replicas={number}")
    if autoscalers:
        kubectl.apply(*autoscalers)


# ---- the walk


@dataclass
class Walk:
    """Everything that is in the tables, done."""

    recorder: Recorder
    releases: list[Release]
    audit: Audit
    controller: ControllerProcess

    @property
    def namespaces(self) -> list[str]:
        return sorted({r.kubectl.namespace for r in self.releases})

    def release(self, cell: Cell) -> Release:
        return next(r for r in self.releases if cell in r.cells)

    def history(self, cell: Cell) -> list[int | None]:
        """The numbers that the group had; None: nobody gave one."""
        seen = self.recorder.of(self.release(cell).kubectl.namespace, cell.group)
        return [int(text) if text else None for text in seen]

    def numbers(self, cell: Cell) -> list[int]:
        """The same without the moments in which nobody gave one."""
        found = [n for n in self.history(cell) if n is not None]
        return [n for i, n in enumerate(found) if found[i - 1 : i] != [n]]

    @cached_property
    def held(self) -> Counter[tuple[str, str]]:
        """How often the controller wrote a number, by (namespace, group)."""
        return Counter(
            (r["objectRef"]["namespace"], r["objectRef"]["name"])
            for r in self.audit.requests("patch", "daskworkergroups", user=USER)
            if r["objectRef"].get("subresource") == "scale" and r["responseStatus"]["code"] == 200
        )

    def play(self) -> None:
        kubectl = self.releases[0].kubectl
        for namespace in self.namespaces:
            kubectl("create", "namespace", namespace)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda r: r.apply(lambda cell: None), self.releases))
            self.reach(0)
            for phase, words in enumerate(("first", "then"), 1):
                list(pool.map(lambda r, w=words: self._manifests_turn(r, w), self.releases))
                list(pool.map(lambda r, w=words: self._others_turn(r, w), self.releases))
                self.reach(phase)
        self._let_autoscalers_look(3)  # whoever is not content yet acts now

    def _let_autoscalers_look(self, times: int) -> None:
        """Until each HorizontalPodAutoscaler has read the scale of its target so many times more."""
        found = json.loads(self.releases[0].kubectl("get", "hpa", "-A", "-o", "json"))["items"]
        there = {
            (h["metadata"]["namespace"], h["spec"]["scaleTargetRef"]["name"])
            for h in found
            if h["metadata"]["namespace"] in self.namespaces
        }
        audit = Audit.now(self.audit.path)

        def looked() -> bool:
            looks = Counter(
                (r["objectRef"]["namespace"], r["objectRef"]["name"])
                for r in audit.requests("get", "daskworkergroups")
                if r["objectRef"].get("subresource") == "scale"
                and "horizontal-pod-autoscaler" in r["userAgent"]
            )
            late = [one for one in there if looks[one] < times]
            assert not late, f"{len(late)} of {len(there)} have looked less often"
            return True

        eventually("all autoscalers look", looked, timeout=200, every=1)

    def _manifests_turn(self, release: Release, words: str) -> None:
        if not any(manifest_step(getattr(cell, words)) for cell in release.cells):
            return
        try:
            release.apply(lambda cell: manifest_step(getattr(cell, words)))
        except CommandError as error:
            if words != "then" or not release.cells[0].is_refused:
                raise
            release.refused = str(error)

    def _others_turn(self, release: Release, words: str) -> None:
        turns = [(cell, getattr(cell, words)) for cell in release.cells]
        others_turn(release.kubectl, [t for t in turns if manifest_step(t[1]) is None])

    def reach(self, phase: int) -> None:
        """Wait until every group is where the page says, with all its workers. What never comes fails its own test."""
        kubectl = self.releases[0].kubectl

        def missing() -> list[str]:
            found = json.loads(kubectl("get", "daskworkergroups", "-A", "-o", "json"))["items"]
            groups = {(g["metadata"]["namespace"], g["metadata"]["name"]): g for g in found}
            late = []
            for release in self.releases:
                for cell in release.cells:
                    resource = groups.get((release.kubectl.namespace, cell.group))
                    if self.numbers(cell) != cell.numbers(phase) or not complete(resource):
                        late.append(f"{cell}: {self.history(cell)} for {cell.numbers(phase)}")
            return late

        def look() -> bool:
            self.controller.restart_if_ended()
            late = missing()
            assert not late, f"{len(late)} cells, such as {late[:5]}"
            return True

        try:
            eventually(f"phase {phase}", look, timeout=400, every=1)
        except AssertionError:
            if len(missing()) > sum(len(r.cells) for r in self.releases) / 4:
                raise


def given(resource: JSON) -> int | None:
    """The number that this cluster or group says."""
    number: int | None = (resource["spec"].get("worker") or {}).get("replicas")
    return number


def complete(resource: JSON | None) -> bool:
    """Has this group exactly the workers that it says, all ready?"""
    if resource is None:
        return False
    status, number = resource.get("status", {}), given(resource)
    return (
        status.get("observedGeneration") == resource["metadata"]["generation"]
        and condition(resource, "Ready").get("status") == "True"
        and status["replicas"] == status["readyReplicas"] == number
    )


@pytest.fixture(scope="module")
def metrics(kubeconfig: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MetricsApi]:
    api = MetricsApi(kubeconfig, tmp_path_factory.mktemp("metrics"))
    api.start()
    yield api
    api.stop()


@pytest.fixture(scope="module")
def walk(
    kubeconfig: str,
    metrics: MetricsApi,
    controller: ControllerProcess,
    audit_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[Walk]:
    """Of the cells whose tests were selected."""
    selected = [getattr(i, "callspec", None) for i in request.session.items]
    wanted = [cell for cell in CELLS if any(s and s.params.get("cell") == cell for s in selected)]
    folder, mark = tmp_path_factory.mktemp("values"), uuid.uuid4().hex[:6]
    releases: list[Release] = []
    for number, tool in enumerate(dict.fromkeys(cell.tool for cell in wanted)):
        kubectl = Kubectl(kubeconfig, f"t-replicas-{number}-{mark}")
        mine = [cell for cell in wanted if cell.tool == tool]
        # One that is refused keeps the others of its release waiting.
        releases.append(
            Release(tool, kubectl, "all", [c for c in mine if not c.is_refused], folder)
        )
        releases += [Release(tool, kubectl, c.cluster, [c], folder) for c in mine if c.is_refused]
    with recording(kubeconfig, "daskworkergroups", "{.spec.worker.replicas}") as recorder:
        walk = Walk(recorder, releases, Audit.now(audit_path), controller)
        try:
            walk.play()
            yield walk
        finally:
            for namespace in walk.namespaces:
                kubectl("delete", "namespace", namespace, "--wait=false", "--ignore-not-found")


def test_the_page_has_every_pair() -> None:
    """No cell is missing: each tool beside each way to write the number directly, both ways round, and beside itself."""
    pairs = {(c.table, c.first, c.then) for c in CELLS}
    assert len(pairs) == len({(c.table, c.number) for c in CELLS})
    again, says, removed = "manifest again", "manifest says 3", "line removed"
    for table in {c.table for c in CELLS if c.tool.startswith("Helm")}:
        direct = ["kubectl scale group 2", "autoscaler wants 2"]
        if table != GROUPS_OWN:
            direct.append("kubectl scale cluster 2")
        wanted = {(d, m) for d in direct for m in (again, says, removed)}
        wanted |= {(m, d) for d in direct for m in (says, removed)}
        wanted |= {(says, again), (says, removed), (removed, again), (removed, says)}
        assert {(c.first, c.then) for c in CELLS if c.table == table} == wanted
    assert len(CELLS) == 14 * 5 + 19 * 5 + 7 + 4


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_pair(walk: Walk, cell: Cell) -> None:
    release = walk.release(cell)
    kubectl = release.kubectl
    assert walk.numbers(cell) == cell.numbers()
    assert complete(kubectl.get("daskworkergroup", cell.group))
    # The controller writes a number only when nobody gives one, and once.
    history = walk.history(cell)
    assert walk.held[kubectl.namespace, cell.group] == history.count(None)
    # The cluster tells where its own number does not count.
    resource = kubectl.get("daskcluster", cell.cluster)
    number = given(resource)
    overridden = cell.table != GROUPS_OWN and number not in (None, history[-1])
    assert bool(condition(resource, "ReplicasOverridden")) == overridden
    if cell.is_refused:
        whom = "kube-controller-manager" if cell.first.startswith("autoscaler") else "kubectl"
        assert "conflict" in release.refused
        assert f'"{whom}' in release.refused  # the name of its program
        assert ".spec.worker.replicas" in release.refused
    else:
        assert release.refused == ""


# ---- more about some of the writers


def test_an_autoscaler_by_cpu_finds_the_workers_and_moves_the_group(
    kubectl: Kubectl, metrics: MetricsApi, schedulers: FakeSchedulers
) -> None:
    """The usual kind: metrics of the group's own pods, found by the scale subresource's selector."""
    kubectl.apply(cluster(replicas=1), group("demo-extra", None))
    ready(kubectl, "demo-extra", "daskworkergroup")
    metrics.cpu_m = 900
    target = {"type": "AverageValue", "averageValue": "300m"}
    kubectl.apply(
        hpa("demo-extra", [{"type": "Resource", "resource": {"name": "cpu", "target": target}}])
    )
    workers = "dask.org/workergroup-name=demo-extra"
    workers_become(kubectl, 3, workers, timeout=120)

    def conditions() -> dict[str, str]:
        found = kubectl.get("hpa", "demo-extra")["status"]["conditions"]
        return {c["type"]: c["status"] for c in found}

    metrics.cpu_m = 300
    eventually("it is content", lambda: conditions().get("ScalingActive") == "True")
    assert conditions()["AbleToScale"] == "True"
    metrics.cpu_m = 10
    workers_become(kubectl, 1, workers, timeout=120)
    scheduler = kubectl.get("pod", "demo-scheduler")["metadata"]["uid"]
    assert len(schedulers.retired[scheduler]) == 2, "workers went without a word to the scheduler"
    assert kubectl.get("daskworkergroup", "demo-extra")["spec"]["worker"]["replicas"] == 1
    # The cluster's own workers are none of its business.
    assert kubectl.get("daskworkergroup", "demo-default")["spec"]["worker"]["replicas"] == 1


def test_what_to_do_when_helm_4_refuses(kubectl: Kubectl, tmp_path: Path) -> None:
    """``external`` keeps the number that is there, ``--force-conflicts`` takes the chart's back."""
    selector = {"service": {"selector": {"nothing": "here"}}}

    def upgrade(replicas: int | str, *flags: str) -> None:
        own = {"own": {"replicas": replicas}}
        values = {"clusters": {"demo": {"scheduler": selector, "workerGroups": own}}}
        (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
        helm("helm", kubectl, "demo", "-f", tmp_path / "values.yaml", *flags)

    def number() -> int:
        return given(kubectl.get("daskworkergroup", "demo-own")) or 0

    upgrade(1)
    ready(kubectl, "demo-own", "daskworkergroup")
    kubectl("scale", "daskworkergroup", "demo-own", "--replicas=2")
    with pytest.raises(CommandError, match=r"conflict with \"kubectl\""):
        upgrade(1)
    upgrade("external")
    assert number() == 2
    upgrade("external")
    kubectl("scale", "daskworkergroup", "demo-own", "--replicas=3")
    upgrade("external")
    assert number() == 3
    upgrade(1, "--force-conflicts")
    assert number() == 1
    workers_become(kubectl, 1, "dask.org/workergroup-name=demo-own")


def test_who_owns_the_number(kubectl: Kubectl) -> None:
    """Kubernetes notes no owner of the held number: it stays without the line, and nobody meets a conflict with it."""
    without = cluster(replicas=0), group("demo-extra", None)
    kubectl("apply", *SERVER_SIDE, "-f", "-", stdin=yaml.safe_dump_all(without))
    ready(kubectl, "demo-extra", "daskworkergroup")
    resource = kubectl.get("daskworkergroup", "demo-extra")
    owners = [
        (entry["manager"], entry.get("subresource"), entry["operation"])
        for entry in resource["metadata"]["managedFields"]
        if "f:replicas" in entry["fieldsV1"].get("f:spec", {}).get("f:worker", {})
    ]
    assert resource["spec"]["worker"]["replicas"] == 1
    assert owners == []
    kubectl("scale", "daskworkergroup", "demo-extra", "--replicas=3")
    workers_become(kubectl, 3, "dask.org/workergroup-name=demo-extra")
    for _ in range(2):
        kubectl("apply", *SERVER_SIDE, "-f", "-", stdin=yaml.safe_dump_all(without))
    assert kubectl.get("daskworkergroup", "demo-extra")["spec"]["worker"]["replicas"] == 3


def test_an_autoscaler_of_the_cluster_goes_by_the_clusters_number(
    kubectl: Kubectl, metrics: MetricsApi
) -> None:
    """It works where the cluster gives a number, and says why it does not where it gives none."""
    kubectl.apply(cluster("given", 1), cluster("absent", None))
    for name in ("given", "absent"):
        ready(kubectl, name)
        kubectl.apply(autoscaler(name, 2, "DaskCluster"))
    workers_become(kubectl, 2, "dask.org/workergroup-name=given-default")

    def why() -> str:
        found = kubectl.get("hpa", "absent").get("status", {}).get("conditions", [])
        return " ".join(c["message"] for c in found if c["status"] == "False")

    eventually("it says why", lambda: "does not exist" in why())
    assert not condition(kubectl.get("daskcluster", "given"), "ReplicasOverridden")
