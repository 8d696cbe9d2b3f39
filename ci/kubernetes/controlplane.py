"""The control plane: etcd, API server, controller manager, scheduler; and kwok's fake nodes."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import programs
from certificates import Certificates
from common import Problem, report, run, seconds, wait_until
from instance import NODE_ADDRESS, NODE_NAME, SERVICES, Instance
from processes import Component, start, wait_healthy

FAKE = "kwok.x-k8s.io/node"
KWOK = "kwok"  # the user

# What the audit log holds: who did what to which object, when answered; and how controllers changed the objects of
# this project, Pods and Services. Tests count from it.
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {
            "level": "None",
            "verbs": ["get", "list", "watch"],
            "resources": [
                {"group": "coordination.k8s.io", "resources": ["leases"]},
                {"group": "", "resources": ["events"]},
                {"group": "events.k8s.io", "resources": ["events"]},
            ],
        },
        {"level": "None", "nonResourceURLs": ["/healthz*", "/readyz*", "/livez*"]},
        {
            "level": "Request",
            "userGroups": ["system:serviceaccounts"],
            "verbs": ["patch", "update"],
            "resources": [
                {"group": "kubernetes.dask.org"},
                {"group": "", "resources": ["pods", "services"]},
            ],
        },
        {"level": "Metadata"},
    ],
}


def up(instance: Instance) -> None:
    """Start the control plane and wait until it answers."""
    started = time.monotonic()
    make_certificates(instance)
    report("certificates, kubeconfig", seconds(started))
    for component in (etcd(instance), apiserver(instance)):
        started = time.monotonic()
        start(instance.folder, component, quiet_environment())
        wait_healthy(instance.folder, [component])
        report(component.name, f"ready in {seconds(started)}, port {component.port}")
    started = time.monotonic()
    others = [controller_manager(instance), scheduler(instance)]
    for component in others:
        start(instance.folder, component, quiet_environment())
    wait_healthy(instance.folder, others)
    report("controller-manager scheduler", f"ready in {seconds(started)}")
    if instance.kwok_nodes:
        started = time.monotonic()
        add_fake_nodes(instance)
        report(f"{instance.kwok_nodes} fake nodes", f"ready in {seconds(started)}")
    wait_until("service account of the default namespace", lambda: accounts_ready(instance), 30)


def quiet_environment() -> dict[str, str]:
    """Our own traffic stays on this machine, so no proxy settings reach these processes."""
    keep = ("PATH", "HOME", "LANG", "TMPDIR")
    return {name: os.environ[name] for name in keep if name in os.environ}


def make_certificates(instance: Instance) -> None:
    """Keys, certificates, kubeconfigs."""
    made = Certificates(instance.certificates)
    made.authority()
    names = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
    addresses = (*names, "127.0.0.1", "10.96.0.1", NODE_ADDRESS)
    made.sign("apiserver", "kube-apiserver", addresses=addresses)
    made.sign("admin", "kubernetes-admin", "system:masters")
    made.sign("front-proxy", "front-proxy")  # the API server towards aggregated API servers
    made.kubeconfig(instance.kubeconfig, "admin", instance.server, instance.name)
    clients = {
        "controller-manager": ("system:kube-controller-manager", ""),
        "scheduler": ("system:kube-scheduler", ""),
        "kwok": (KWOK, "system:masters"),
    }
    if instance.node:
        clients["proxy"] = ("system:kube-proxy", "")
        clients["coredns"] = ("coredns", "system:masters")
        made.sign("kubelet", f"system:node:{NODE_NAME}", "system:nodes", (NODE_NAME, NODE_ADDRESS))
        made.kubeconfig(made.folder / "kubelet.kubeconfig", "kubelet", instance.server, "local")
    for name, (user, group) in clients.items():
        made.sign(name, user, group)
        made.kubeconfig(made.folder / f"{name}.kubeconfig", name, instance.server, "local")


def server(instance: Instance, name: str) -> Path:
    """Where one of Kubernetes' own programs lies, in the instance's version."""
    return programs.path(programs.older(name, instance.kubernetes))


def etcd(instance: Instance) -> Component:
    """The store: on loopback, without waiting for the disk (a crash may lose everything)."""
    client = f"http://127.0.0.1:{instance.port('etcd')}"
    peer = f"http://127.0.0.1:{instance.port('etcd-peer')}"
    command = (
        str(programs.path("etcd")),
        f"--data-dir={instance.folder}/etcd",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--quota-backend-bytes=4294967296",
        "--auto-compaction-retention=5m",
        "--log-level=warn",
    )
    return Component("etcd", command, instance.port("etcd"), f"{client}/health")


def apiserver(instance: Instance) -> Component:
    """The API server."""
    policy = instance.folder / "audit-policy.json"
    policy.write_text(json.dumps(AUDIT_POLICY, indent=2) + "\n")
    keys = Certificates(instance.certificates)
    command = [
        str(server(instance, "kube-apiserver")),
        f"--etcd-servers=http://127.0.0.1:{instance.port('etcd')}",
        f"--bind-address={instance.address}",
        f"--secure-port={instance.port('apiserver')}",
        f"--service-cluster-ip-range={SERVICES}",
        f"--client-ca-file={keys.crt('ca')}",
        f"--tls-cert-file={keys.crt('apiserver')}",
        f"--tls-private-key-file={keys.key('apiserver')}",
        f"--service-account-key-file={keys.public()}",
        f"--service-account-signing-key-file={keys.key('accounts')}",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--authorization-mode=Node,RBAC",
        f"--requestheader-client-ca-file={keys.crt('ca')}",
        "--requestheader-allowed-names=front-proxy",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={keys.crt('front-proxy')}",
        f"--proxy-client-key-file={keys.key('front-proxy')}",
        "--allow-privileged=true",
        # As OpenShift has it: an ownerReference may block a deletion only by leave of the owner's finalizers.
        "--enable-admission-plugins=OwnerReferencesPermissionEnforcement",
        f"--audit-policy-file={policy}",
        f"--audit-log-path={instance.audit_log}",
        "--audit-log-maxsize=1024",
        "--audit-log-maxbackup=2",
    ]
    if instance.node:
        command += [
            f"--advertise-address={NODE_ADDRESS}",
            "--endpoint-reconciler-type=lease",
            f"--kubelet-client-certificate={keys.crt('admin')}",
            f"--kubelet-client-key={keys.key('admin')}",
            "--kubelet-preferred-address-types=InternalIP",
        ]
    else:  # no pod will ever look for the API server by its Service
        command += ["--endpoint-reconciler-type=none"]
    health = f"{instance.server}/readyz"
    return Component("apiserver", tuple(command), instance.port("apiserver"), health)


def controller_manager(instance: Instance) -> Component:
    """Garbage collection, Deployments, Jobs, namespaces, service accounts ..."""
    keys = Certificates(instance.certificates)
    port = instance.port("controller-manager")
    config = keys.folder / "controller-manager.kubeconfig"
    command = (
        str(server(instance, "kube-controller-manager")),
        f"--kubeconfig={config}",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={keys.key('accounts')}",
        f"--root-ca-file={keys.crt('ca')}",
        f"--cluster-signing-cert-file={keys.crt('ca')}",
        f"--cluster-signing-key-file={keys.key('ca')}",
        "--kube-api-qps=400",
        "--kube-api-burst=800",
        # On a machine that is busy for a minute, late heartbeats are no reason to give a node up.
        "--node-monitor-grace-period=2m",
        # Tests wait for autoscalers.
        "--horizontal-pod-autoscaler-sync-period=2s",
    )
    health = f"https://127.0.0.1:{port}/healthz"
    return Component("controller-manager", command, port, health)


def scheduler(instance: Instance) -> Component:
    """Gives pods their nodes."""
    port = instance.port("scheduler")
    config = instance.certificates / "scheduler.kubeconfig"
    command = (
        str(server(instance, "kube-scheduler")),
        f"--kubeconfig={config}",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        "--leader-elect=false",
        "--kube-api-qps=1000",
        "--kube-api-burst=1000",
    )
    return Component("scheduler", command, port, f"https://127.0.0.1:{port}/healthz")


def kwok(instance: Instance) -> Component:
    """Plays the kubelet for nodes that carry its annotation, and for no others."""
    stages = programs.kept("kwok")  # how fake nodes and pods live: it does not start without
    files = sorted(stages.glob("*.yaml"))
    if not files:
        raise Problem(f"{stages} is empty: remove {programs.path('kwok')} and build it again")
    port = instance.port("kwok")
    command = (
        str(programs.path("kwok")),
        f"--kubeconfig={instance.certificates}/kwok.kubeconfig",
        *(f"--config={file}" for file in files),
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={FAKE}=fake",
        f"--cidr={instance.kwok_cidr}",
        "--node-ip=127.0.0.1",
        # Without leases a node gives a sign of life only every five minutes, and is taken for lost.
        "--node-lease-duration-seconds=40",
        f"--server-address=127.0.0.1:{port}",
    )
    return Component("kwok", command, port, f"http://127.0.0.1:{port}/healthz")


def add_fake_nodes(instance: Instance, first: int = 0) -> None:
    """Make the Node objects that kwok brings to life; it runs only where there are some."""
    if not first:
        component = kwok(instance)
        start(instance.folder, component, quiet_environment())
        wait_healthy(instance.folder, [component])
    nodes = [fake_node(number, instance.node) for number in range(first, instance.kwok_nodes)]
    rules = [] if first else only_what_is_being_deleted()
    listing = {"apiVersion": "v1", "kind": "List", "items": [*rules, *nodes]}
    # Unvalidated: our own objects; a server that has just begun would first describe all its kinds.
    create = ("create", "--validate=false", "-f", "-")
    kubectl(instance, *create, stdin=json.dumps(listing), timeout=300)
    ready = ["wait", "--for=condition=Ready", "node", "-l", "type=kwok", "--timeout=120s"]
    kubectl(instance, *ready, timeout=130)


def only_what_is_being_deleted() -> list[dict[str, object]]:
    """A rule for kwok, which ends Pods by name, and often twice: the second time may meet a Pod
    that came in place of the first. A kubelet names the uid."""
    name, version = "kwok-ends-only-what-is-being-deleted", "admissionregistration.k8s.io/v1"
    pods = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
    policy: dict[str, object] = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [{**pods, "operations": ["DELETE"]}]},
        "matchConditions": [
            {"name": "kwok", "expression": f"request.userInfo.username == '{KWOK}'"}
        ],
        "validations": [
            {
                "expression": "has(oldObject.metadata.deletionTimestamp)",
                "message": "nobody has asked for the end of this Pod",
            }
        ],
    }
    kinds: dict[str, dict[str, object]] = {
        "ValidatingAdmissionPolicy": policy,
        "ValidatingAdmissionPolicyBinding": {"policyName": name, "validationActions": ["Deny"]},
    }
    return [
        {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}
        for kind, spec in kinds.items()
    ]


def fake_node(number: int, beside_real_one: bool) -> dict[str, object]:
    """A big node that exists on paper; tainted where real workloads could land on it."""
    name = f"kwok-{number}"
    room = {"cpu": "256", "memory": "1Ti", "pods": "2000", "ephemeral-storage": "10Ti"}
    labels = {
        "type": "kwok",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
    }
    taint = {"key": FAKE, "value": "fake", "effect": "NoSchedule"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": {FAKE: "fake"}},
        "spec": {"taints": [taint] if beside_real_one else []},
        "status": {"allocatable": room, "capacity": room},
    }


def accounts_ready(instance: Instance) -> bool:
    """Pods need the default service account, which the controller manager makes."""
    command = [programs.path("kubectl"), "--kubeconfig", instance.kubeconfig]
    return run([*command, "get", "serviceaccount", "default"], check=False).returncode == 0


def kubectl(instance: Instance, *words: str, stdin: str | None = None, timeout: float = 60) -> str:
    """Ask the instance something as its administrator."""
    command = [programs.path("kubectl"), "--kubeconfig", instance.kubeconfig, *words]
    return run(command, stdin=stdin, timeout=timeout, env={"NO_PROXY": "*"}).stdout
