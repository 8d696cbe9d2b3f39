"""What the demo shows, step by step."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ci.demo.kube import JSON, Kube
from ci.demo.places import CONTROLLER, DASK, Place
from ci.demo.remote import RemotePython
from ci.demo.shell import Problem, wait_until
from ci.demo.steps import Step, Steps, say

RELEASE = "demo"
CLUSTER = "demo"  # as values/demo.yaml calls it
GROUP = "demo-default"
WORKERS = f"dask.org/workergroup-name={GROUP}"
SCHEDULER = "demo-scheduler"
CLIENT = "demo-client"
OURS = "dask-gitops/made-for=demo"  # label of the namespace
DECLARED = 2  # workers in values/demo.yaml
DASK_KINDS = "daskcluster,daskworkergroup,pods"

# All kinds of which something could be left behind; Events do not count, Kubernetes keeps them an hour.
IN_NAMESPACE = (
    "pods,services,endpointslices,configmaps,secrets,serviceaccounts,roles,rolebindings,leases,"
    "deployments,replicasets,poddisruptionbudgets,daskclusters,daskworkergroups,daskautoscalers,daskjobs"
)
KUBERNETES_OWN = ("configmap/kube-root-ca.crt", "serviceaccount/default")

# The computations: some hundred megabytes each, a few seconds of two cores.
SIDE, CHUNK = 9_000, 900
PARTITIONS, ROWS, GROUPS = 100, 400_000, 97
RANDOM, SCATTERED, SIZE = 40, 12, 256 * 1024
AHEAD = 32  # tasks that wait or run during the roll-out, half a second each

# What autoscaler and job add to the values.
AUTOSCALER, JOB_VALUES = "ci/demo/autoscaler.yaml", "ci/demo/job.yaml"
GROWN = 4  # workers, as the first of them allows
JOB = "sum"

# What the roll-out changes, and how the group's status tells of its progress.
VARIABLE, VALUE = "RELEASE", "2"
CHANGE = f"clusters.{CLUSTER}.worker.env.{VARIABLE}={VALUE}"
UPDATED = re.compile(r"(\d+) of (\d+) updated")


class Story:
    """The steps, and what they hand to each other."""

    def __init__(self, place: Place, steps: Steps) -> None:
        self.place = place
        self.steps = steps
        self.images: dict[str, str] = {}
        self.installed = False
        self.python: RemotePython | None = None

    @property
    def kube(self) -> Kube:
        return self.place.kube

    def tell(self, keep: bool) -> None:
        """All of it."""
        with self.steps.step("Kubernetes") as step:
            done = self.place.start()
            step.shown = f"{self.kube.reachable()} {done}: {self.place.title}"
            refuse_a_second_controller(self.kube)
        with self.steps.step("images") as step:
            self.images = self.place.images()
            step.shown = " ".join(name.rpartition("/")[2] for name in self.images.values())
        with self.steps.step("install the chart") as step:
            self.install(step)
        with self.steps.step("a client inside the cluster") as step:
            self.connect(step)
        with self.steps.step("dask.array") as step:
            self.array(step)
        with self.steps.step("dask.dataframe") as step:
            self.frame(step)
        with self.steps.step("scale up to 4 workers") as step:
            self.scale(step, 4)
            step.shown = "4 of 4 ready"
        with self.steps.step("roll-out under load, values held") as step:
            self.roll_out(step)
        with self.steps.step("scale down to 1, values held") as step:
            self.scale_down(step)
        with self.steps.step("a worker pod is killed") as step:
            self.kill_worker(step)
        with self.steps.step("the scheduler pod is killed") as step:
            self.kill_scheduler(step)
        with self.steps.step("grow under load, and shrink again") as step:
            self.follow(step)
        with self.steps.step("a job, on a cluster of its own") as step:
            self.run_job(step)
        if keep:
            with self.steps.step(f"back to {DECLARED} workers") as step:
                kube, command = self.kube, helm_command(self.images, wait=False)
                kube.helm(*command)
                self.scale(step, DECLARED)
                step.shown = f"{DECLARED} of {DECLARED} ready; left running (KEEP=1)"
            return
        with self.steps.step("uninstall") as step:
            step.shown = self.uninstall(step)

    # ---- the steps

    def install(self, step: Step) -> None:
        """helm upgrade --install, and a pod for the client."""
        kube, command = self.kube, helm_command(self.images)
        field = ("--field-selector", f"metadata.name={kube.namespace}")
        if not kube.names("namespace", *field):
            label, _, value = OURS.partition("=")
            about = {"name": kube.namespace, "labels": {label: value}}
            kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": about})
        elif not kube.names("namespace", *field, "--selector", OURS):
            hint = "the demo deletes its namespace at the end, so it uses none that it did not make"
            raise Problem(f"there is a namespace {kube.namespace} already", hint)
        self.installed = True
        kube.apply(client_pod(self.images[DASK]))
        shown = ("upgrade", "--install", RELEASE, ".", "-f", "values/demo.yaml", "--wait")
        step.command(f"helm {' '.join(shown)} ...")
        with ThreadPoolExecutor(1) as beside:
            helm = beside.submit(kube.helm, *command)
            self.begin_client()  # its imports take seconds
            helm.result()
        # A release that was kept by an earlier demo may have been scaled since.
        self.scale_to(DECLARED)
        step.command(f"kubectl get {DASK_KINDS}")
        step.detail(kube.kubectl("get", DASK_KINDS))
        step.shown = f"DaskCluster {CLUSTER} is Ready: a scheduler and {DECLARED} workers"

    def connect(self, step: Step) -> None:
        """The Python process in the client's pod meets the cluster; all that follows runs in it."""
        workers = self.ask(f"connect({self.address!r}, {DECLARED})")
        step.shown = f"connected to {self.address}, {len(workers)} workers"

    def begin_client(self) -> None:
        """One Python process in the client's pod."""
        kube = self.kube
        kube.kubectl(
            "wait", f"pod/{CLIENT}", "--for=condition=Ready", "--timeout=120s", timeout=150
        )
        words = kube.kubectl_words("exec", "-i", CLIENT, "--")
        self.python = RemotePython(words, {**os.environ, **kube.env})
        self.python((Path(__file__).parent / "inside.py").read_text())

    @property
    def address(self) -> str:
        return f"tcp://{SCHEDULER}.{self.kube.namespace}.svc:8786"

    def ask(self, expression: str, timeout: float = 180) -> Any:
        """The value of an expression in the client's pod."""
        if self.python is None:
            raise Problem("there is no client")
        return self.python(f"result = {expression}", timeout=timeout)

    def array(self, step: Step) -> None:
        """A sum that is known: x + x.T holds each of 0 ... n-1 twice."""
        found = self.ask(f"array({SIDE}, {CHUNK})")
        n = SIDE * SIDE
        check("sum of x + x.T", found["sum"], n * (n - 1))
        check("greatest element of x + x.T", found["max"], 2 * (n - 1))
        step.detail(f"(x + x.T).sum() = {found['sum']:,}, as Gauss says")
        step.shown = f"{found['megabytes']} MB, right; {took_part(found['tasks'])}"

    def frame(self, step: Step) -> None:
        """A groupby that is known: arithmetic series."""
        found = self.ask(f"frame({PARTITIONS}, {ROWS}, {GROUPS})")
        n = PARTITIONS * ROWS
        sizes = [len(range(group, n, GROUPS)) for group in range(GROUPS)]
        sums = [sum(range(group, n, GROUPS)) for group in range(0, GROUPS, 16)]
        check("rows per group", found["counts"], sizes)
        check("sums per group", found["sums"][::16], sums)
        check("sum of all groups", sum(found["sums"]), n * (n - 1) // 2)
        step.detail(f"{n:,} rows in {GROUPS} groups, sums {sum(found['sums']):,}, as Gauss says")
        step.shown = f"{found['megabytes']} MB, right; {took_part(found['tasks'])}"

    def scale(self, step: Step, replicas: int) -> None:
        """kubectl scale, until all workers are ready and known to the scheduler."""
        step.command(f"kubectl scale daskworkergroup {GROUP} --replicas={replicas}")
        self.scale_to(replicas)
        self.ask(f"client.wait_for_workers({replicas}, timeout=120)")

    def scale_to(self, replicas: int) -> None:
        """kubectl scale, until the pods are there and ready."""
        kube = self.kube
        kube.kubectl("scale", "daskworkergroup", GROUP, f"--replicas={replicas}")
        wait_until(
            f"{replicas} workers in {GROUP}, all ready",
            lambda: (
                counts(kube.get("daskworkergroup", GROUP)) == (replicas, replicas, replicas)
                and len(kube.objects("pods", WORKERS)) == replicas
            ),
            120,
        )

    def roll_out(self, step: Step) -> None:
        """A changed variable of the workers while they compute: all are replaced, nothing is lost."""
        kube = self.kube
        before = self.hold(step)
        known, ended = self.ask("names()"), len(self.ask("removed()"))
        old, scheduler = self.worker_uids(), uid(kube.get("pod", SCHEDULER))
        self.ask(f"go_on({AHEAD})")
        step.command(f"helm upgrade {RELEASE} . -f values/demo.yaml --set-string {CHANGE} ...")
        kube.helm(*helm_command(self.images, CHANGE, wait=False))
        told: list[str] = []
        wait_until(
            f"{len(old)} new workers, all ready and updated",
            lambda: self.rolled_out(old, told),
            300,
        )
        step.detail(f"DaskWorkerGroup {GROUP} on the way: {', '.join(told)}")
        halfway = [words for words in told if words != f"{len(old)} of {len(old)} updated"]
        check("the status told of the progress", bool(halfway), True)
        done = self.ask(f"go_on({AHEAD})")
        found = self.ask("come_to_an_end()")
        tasks = len(found["results"])
        step.detail(
            f"a computation of {tasks} tasks ran all the time; {done} were done when the last old worker had gone"
        )
        check("results of the computation", found["results"], [n * n for n in range(tasks)])
        check("starts per task", set(found["starts"]), {1})
        self.check_ends(step, known, ended, len(old))
        check("hashes of the held values", self.ask("hashes()"), before["hashes"])
        pods = self.kube.objects("pods", WORKERS)
        check(f"pods with {VARIABLE}={VALUE}", sum(map(has_variable, pods)), len(old))
        check(f"{VARIABLE} in the workers", self.ask(f"variable({VARIABLE!r})"), [VALUE])
        check("uid of the scheduler", uid(kube.get("pod", SCHEDULER)), scheduler)
        step.shown = (
            f"{len(old)} workers replaced, {tasks} tasks each started once, "
            f"the very same {RANDOM + SCATTERED} values; the scheduler stayed"
        )
        self.ask("let_go()")

    def rolled_out(self, old: set[str], told: list[str]) -> bool:
        """Has each old worker pod a successor that serves? Keeps the computation going meanwhile.

        :param old: uids of the pods of before.
        :param told: what the status tells of the progress is added here.
        """
        self.ask(f"go_on({AHEAD})")
        group = self.kube.get("daskworkergroup", GROUP)
        progress = UPDATED.search(ready_condition(group).get("message", ""))
        if progress and progress[0] not in told:
            told.append(progress[0])
        new = self.worker_uids()
        return (
            counts(group) == (len(old), len(old), len(old))
            and len(new) == len(old)
            and not new & old
            and is_ready(group)
            and is_ready(self.kube.get("daskcluster", CLUSTER))
        )

    def worker_uids(self) -> set[str]:
        """What tells the worker pods that there are now from any others."""
        return set(map(uid, self.kube.objects("pods", WORKERS)))

    def hold(self, step: Step) -> JSON:
        """Have values held that nobody could compute again."""
        held: JSON = self.ask(f"hold({RANDOM}, {SCATTERED}, {SIZE})")
        spread = sorted(held["keys"].values(), reverse=True)
        step.detail(
            f"{RANDOM} impure random and {SCATTERED} scattered values are held, "
            f"{' + '.join(map(str, spread))} of them on {len(spread)} workers"
        )
        return held

    def check_ends(self, step: Step, known: dict[str, str], ended: int, count: int) -> None:
        """So many workers left, and the scheduler says of each that it was expected and took nothing along.

        :param known: names of the workers by address.
        :param ended: how many had left before.
        """
        events = self.ask("removed()")[ended:]
        for event in events:
            name = known.get(event["worker"], event["worker"])
            expected = "expected" if event.get("expected") else "NOT expected"
            lost = [event.get(f"lost-{kind}-tasks", -1) for kind in ("computed", "scattered")]
            step.detail(f"the scheduler: removed {name}: {expected}, {sum(lost)} results lost")
            check(f"end of {name}", (expected, lost), ("expected", [0, 0]))
        check("workers removed", len(events), count)

    def scale_down(self, step: Step) -> None:
        """From 4 to 1 while values are held that nobody could compute again."""
        before = self.hold(step)
        known, ended = self.ask("names()"), len(self.ask("removed()"))
        self.scale(step, 1)
        self.check_ends(step, known, ended, 3)
        check("hashes of the held values", self.ask("hashes()"), before["hashes"])
        check("values on the last worker", list(self.ask("keys()").values()), [RANDOM + SCATTERED])
        step.shown = f"the very same {RANDOM + SCATTERED} values; 3 workers removed, all expected"
        self.ask("let_go()")

    def kill_worker(self, step: Step) -> None:
        """kubectl delete pod, and a new one is there."""
        (old,) = self.kube.objects("pods", WORKERS)
        name = old["metadata"]["name"]
        step.command(f"kubectl delete pod {name}")
        self.kube.kubectl("delete", "pod", name)
        new = wait_until("another worker pod that is Ready", lambda: self.ready_worker(name), 120)
        check("sum of 0 ... 1000", self.ask("small()"), 500500)
        step.shown = f"back as {new}, computes"

    def ready_worker(self, other_than: str) -> str:
        """The name of a worker pod that is ready, "" if there is none."""
        for pod in self.kube.objects("pods", WORKERS):
            if pod["metadata"]["name"] != other_than and is_ready(pod):
                return str(pod["metadata"]["name"])
        return ""

    def kill_scheduler(self, step: Step) -> None:
        """kubectl delete pod: clients connect anew; Dask's workers end with it, and are back as well."""
        old = self.kube.get("pod", SCHEDULER)["metadata"]["uid"]
        self.ask("client.close()")
        step.command(f"kubectl delete pod {SCHEDULER} --wait=false")
        self.kube.kubectl("delete", "pod", SCHEDULER, "--wait=false")  # it comes back
        wait_until("a new scheduler pod that is Ready", lambda: self.new_scheduler(old), 120)
        workers = self.ask(f"connect({self.address!r}, 1)")
        check("sum of 0 ... 1000", self.ask("small()"), 500500)
        wait_until(
            f"DaskCluster {CLUSTER} is Ready",
            lambda: is_ready(self.kube.get("daskcluster", CLUSTER)),
            120,
        )
        step.shown = f"back with {len(workers)} worker, computes; DaskCluster is Ready"

    def new_scheduler(self, old: str) -> bool:
        pod = self.kube.get("pod", SCHEDULER)
        return pod["metadata"]["uid"] != old and is_ready(pod)

    def follow(self, step: Step) -> None:
        """An autoscaler adds workers while tasks wait, and takes them away afterwards, with every result."""
        kube = self.kube
        ended = len(self.ask("removed()"))
        self.ask(f"go_on({AHEAD})")
        step.command(f"helm upgrade {RELEASE} . -f values/demo.yaml -f {AUTOSCALER} ...")
        kube.helm(*helm_command(self.images, CHANGE, files=(AUTOSCALER,), wait=False))
        told: list[str] = []
        wait_until(
            f"{GROWN} workers while tasks wait",
            lambda: self.has_workers(GROWN, told, busy=True),
            180,
        )
        self.ask(f"client.wait_for_workers({GROWN}, timeout=120)")
        known = self.ask("names()")
        found = self.ask("come_to_an_end()")
        tasks = len(found["results"])
        check("results of the computation", found["results"], [n * n for n in range(tasks)])
        check("starts per task", set(found["starts"]), {1})
        wait_until("1 worker when nothing runs", lambda: self.has_workers(1, told, busy=False), 180)
        for words in told:
            step.detail(f"DaskAutoscaler {CLUSTER}: {words}")
        self.check_ends(step, known, ended, GROWN - 1)
        check("sum of 0 ... 1000", self.ask("small()"), 500500)
        step.shown = f"1 to {GROWN} to 1 workers, {tasks} tasks each started once"

    def has_workers(self, count: int, told: list[str], *, busy: bool) -> bool:
        """Does the group have so many workers, all ready? Keeps Dask busy meanwhile, if asked to.

        :param told: the autoscaler's decisions are added here.
        """
        if busy:
            self.ask(f"go_on({AHEAD})")
        scaler = self.kube.get("daskautoscaler", CLUSTER)
        said = (scaler.get("status") or {}).get("lastDecision")
        if said and said not in told:
            told.append(said)
        group = self.kube.get("daskworkergroup", GROUP)
        return counts(group) == (count, count, count) and len(self.worker_uids()) == count

    def run_job(self, step: Step) -> None:
        """A program that a values file declares runs to its end, and its cluster goes."""
        kube, files = self.kube, (AUTOSCALER, JOB_VALUES)
        step.command(
            f"helm upgrade {RELEASE} . -f values/demo.yaml -f {AUTOSCALER} -f {JOB_VALUES} ..."
        )
        kube.helm(*helm_command(self.images, CHANGE, files=files, wait=False))
        wait_until(f"the end of DaskJob {JOB}", lambda: ended_well(kube.get("daskjob", JOB)), 240)
        step.command("kubectl get daskjobs")
        step.detail(kube.kubectl("get", "daskjobs"))
        printed = kube.kubectl("logs", f"{JOB}-runner", "--container", "job").strip()
        check("what it printed", printed.splitlines()[-1:], ["sum of 0 ... 1000: 500500"])
        wait_until(
            "its cluster is gone",
            lambda: f"daskcluster.kubernetes.dask.org/{JOB}" not in kube.names("daskclusters"),
            60,
        )
        step.shown = f"{printed.splitlines()[-1]}; {JOB}: Successful, its cluster is gone"

    def uninstall(self, step: Step | None = None) -> str:
        """helm uninstall, and nothing is left but the CRDs."""
        kube = self.kube
        if self.python is not None:
            self.python.close()
        kube.kubectl("delete", "pod", CLIENT, "--ignore-not-found", "--grace-period=1")
        if step is not None:
            step.command(f"helm uninstall {RELEASE}")
        # Not --wait: with Helm 4.2.1 it misses quick deletions and waits for ever.
        kube.helm("uninstall", RELEASE, "--ignore-not-found")
        wait_until("nothing is left of the release", lambda: nothing_left(kube), 120)
        kube.kubectl("delete", "namespace", kube.namespace)
        self.installed = False
        crds = [name for name in kube.names("crds") if name.endswith(".kubernetes.dask.org")]
        check("custom resource definitions", len(crds), 4)
        return "nothing is left but the 4 CRDs"

    def clean_up(self) -> None:
        """After a failure or an interruption: take away what there is, whatever fails on the way."""
        if self.installed:
            try:
                self.uninstall()
            except Problem as problem:
                say(f"cleaning up: {problem}")


# ---- help


def helm_command(
    images: dict[str, str], *changes: str, files: Sequence[str] = (), wait: bool = True
) -> list[str]:
    """The words after `helm` that install the chart with these images.

    :param changes: further values, each ``path=text``.
    :param files: further files of values.
    """
    repository, tag = split_image(images[CONTROLLER])
    dask_repository, dask_tag = split_image(images[DASK])
    values = {
        "controller.image.repository": repository,
        "controller.image.tag": tag,
        "defaults.image.repository": dask_repository,
        "defaults.image.tag": dask_tag,
        "defaults.image.pullPolicy": "IfNotPresent",
    }
    pairs = [*map("=".join, values.items()), *changes]
    return [
        *("upgrade", "--install", RELEASE, ".", "-f", "values/demo.yaml"),
        *(word for file in files for word in ("-f", file)),
        *(("--wait", "--timeout", "180s") if wait else ()),
        *(word for pair in pairs for word in ("--set-string", pair)),
    ]


def ended_well(job: JSON) -> bool:
    """Is this job at its end?

    :raises Problem: not yet, or it failed; it says how far it is.
    """
    status = job.get("status") or {}
    if status.get("jobStatus") == "Successful":
        return True
    raise Problem(f"{status.get('jobStatus')}: {ready_condition(job).get('message', '')}")


def split_image(image: str) -> tuple[str, str]:
    """Repository and tag; the registry may have a port."""
    repository, _, tag = image.rpartition(":")
    return repository, tag


def client_pod(image: str) -> JSON:
    """A pod that waits; it may do nothing but compute."""
    container = {
        "name": "client",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["sleep", "infinity"],
        "resources": {"requests": {"cpu": "50m", "memory": "200Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": CLIENT, "labels": {"app": CLIENT}},
        "spec": {
            "containers": [container],
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        },
    }


def refuse_a_second_controller(kube: Kube) -> None:
    """Two controllers that serve the same namespaces would both act on the demo's cluster."""
    label = "app.kubernetes.io/name=dask-gitops,app.kubernetes.io/component=controller"
    words = ("--all-namespaces", "--selector", label, "--output")
    columns = "jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name} {end}"
    found = kube.kubectl("get", "deployments", *words, columns).split()
    others = [name for name in found if name != f"{kube.namespace}/{RELEASE}-controller"]
    if others:
        raise Problem(
            f"a controller runs there already: {', '.join(others)}",
            "the demo brings its own; choose another Kubernetes cluster, or uninstall that one",
        )


def nothing_left(kube: Kube) -> bool:
    """Is everything of the release gone?

    :raises Problem: not yet; it names what is left.
    """
    label = f"app.kubernetes.io/instance={RELEASE}"
    left = kube.names(IN_NAMESPACE) + kube.names(
        "clusterroles,clusterrolebindings", "--selector", label
    )
    left = [name for name in left if not name.startswith(KUBERNETES_OWN)]
    if left:
        raise Problem(f"left: {' '.join(left)}")
    return True


def counts(group: JSON) -> tuple[int, int, int]:
    """Workers, those that are ready, and those that were made from the newest spec."""
    status = group.get("status") or {}
    replicas, ready = status.get("replicas", -1), status.get("readyReplicas", -1)
    return replicas, ready, status.get("updatedReplicas", -1)


def ready_condition(thing: JSON) -> JSON:
    """The condition Ready, {} if there is none yet."""
    conditions = (thing.get("status") or {}).get("conditions") or []
    return next((c for c in conditions if c["type"] == "Ready"), {})


def is_ready(thing: JSON) -> bool:
    """Is the condition Ready true?"""
    return bool(ready_condition(thing).get("status") == "True")


def uid(thing: JSON) -> str:
    """What tells an object from another one of the same name."""
    return str(thing["metadata"]["uid"])


def has_variable(pod: JSON) -> bool:
    """Was this worker pod made with the changed variable?"""
    env = [e for c in pod["spec"]["containers"] for e in c.get("env") or []]
    return {"name": VARIABLE, "value": VALUE} in env


def took_part(tasks: dict[str, int]) -> str:
    """Tasks per worker, in words."""
    total = " + ".join(map(str, tasks.values()))
    return f"{len(tasks)} workers took part: {total} tasks"


def check(what: str, found: object, expected: object) -> None:
    """:raises Problem: they differ."""
    if found != expected:
        raise Problem(f"{what}: {str(found)[:300]}; it should be {str(expected)[:300]}")
