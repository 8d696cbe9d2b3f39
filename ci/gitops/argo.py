"""Argo CD as processes: its objects in the cluster, its five programs."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

import programs
from common import REPOSITORY, run, wait_until
from controlplane import kubectl
from instance import Instance
from places import Ports
from processes import Component

NAMESPACE = "argocd"
EVERYTHING = {"group": "*", "kind": "*"}
PROJECT = {
    "apiVersion": "argoproj.io/v1alpha1",
    "kind": "AppProject",
    "metadata": {"name": "default", "namespace": NAMESPACE},
    "spec": {
        "sourceRepos": ["*"],
        "destinations": [{"server": "*", "namespace": "*"}],
        "clusterResourceWhitelist": [EVERYTHING],
    },
}


def install(instance: Instance) -> None:
    """Definitions, settings, and the project that only its web server would make."""
    kept = programs.kept("argocd")
    kubectl(instance, "create", "namespace", NAMESPACE)
    definitions = [f"--filename={file}" for file in sorted(kept.glob("*-crd.yaml"))]
    kubectl(instance, "apply", "--server-side", *definitions)
    settings = [f"--filename={file}" for file in sorted(kept.glob("argocd-*.yaml"))]
    kubectl(instance, "apply", "-n", NAMESPACE, *settings)
    ours = f"--patch-file={REPOSITORY}/gitops/argocd/argocd-cm.yaml"  # health of our kinds
    kubectl(instance, "patch", "-n", NAMESPACE, "configmap", "argocd-cm", ours)
    key = json.dumps({"stringData": {"server.secretkey": secrets.token_urlsafe(32)}})
    kubectl(instance, "patch", "-n", NAMESPACE, "secret", "argocd-secret", "-p", key)
    wait_served(instance, "argoproj.io", "applications", "applicationsets", "appprojects")
    kubectl(instance, "apply", "-f", "-", stdin=json.dumps(PROJECT))


def uninstall(instance: Instance) -> None:
    """All that `install` made; while the programs run, so that they finish what is deleted."""
    remove(instance, NAMESPACE, sorted(programs.kept("argocd").glob("*-crd.yaml")))


def remove(instance: Instance, namespace: str, definitions: Sequence[Path]) -> None:
    """Definitions with their objects, and a namespace."""
    files = [f"--filename={file}" for file in definitions]
    for what in (files, ["namespace", namespace]):
        kubectl(instance, "delete", "--ignore-not-found", "--timeout=100s", *what, timeout=120)


def wait_served(instance: Instance, group: str, *kinds: str) -> None:
    """Until the API server, which takes a while to read a definition, answers for these kinds."""
    named = ",".join(f"{kind}.{group}" for kind in kinds)
    command = [programs.path("kubectl"), "--kubeconfig", instance.kubeconfig, "get", "-A", named]
    wait_until(f"served: {named}", lambda: run(command, check=False).returncode == 0, 60, 0.5)


def environment(instance: Instance) -> dict[str, str]:
    """Everything that Argo CD would put into folders of its image lies in the instance's folder."""
    home = instance.folder / "argocd"
    for part in ("tmp", "tls", "ssh", "plugins", "home", "bin"):
        (home / part).mkdir(parents=True, exist_ok=True)
    (home / "ssh/ssh_known_hosts").touch()
    verify = home / "bin/git-verify-wrapper.sh"
    shutil.copy(programs.kept("argocd") / verify.name, verify)
    verify.chmod(0o755)
    return {
        "PATH": f"{home}/bin:{programs.links()}:{os.environ['PATH']}",
        "HOME": str(home / "home"),
        "TMPDIR": str(home / "tmp"),
        "KUBECONFIG": str(instance.kubeconfig),
        "ARGOCD_FAKE_IN_CLUSTER": "true",  # https://kubernetes.default.svc is the kubeconfig's
        "ARGOCD_GPG_ENABLED": "false",
        "ARGOCD_TLS_DATA_PATH": str(home / "tls"),
        "ARGOCD_SSH_DATA_PATH": str(home / "ssh"),
        "ARGOCD_PLUGINSOCKFILEPATH": str(home / "plugins"),
        "ARGOCD_ASK_PASS_SOCK": str(home / "ask.sock"),
        "ARGOCD_SYNC_WAVE_DELAY": "1",
    }


def redis(instance: Instance, ports: Ports) -> Component:
    """Argo CD's cache, in memory."""
    program = instance.folder / "argocd/bin/redis-server"
    tool = shutil.which("redis-check-rdb", path=programs.search_path())
    if not program.exists():  # which of its programs it is, it sees from its name
        program.symlink_to(Path(str(tool)).resolve())
    port = ports("redis")
    words = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
    return Component("redis", (str(program), *words), port)


def components(instance: Instance, ports: Ports) -> list[Component]:
    """The four programs that there always are, and the web server."""
    cache = ("--redis", f"127.0.0.1:{ports('redis')}")
    repo = f"127.0.0.1:{ports('repo-server')}"
    rendered = ("--repo-server", repo, "--repo-server-plaintext")
    mine = ("--namespace", NAMESPACE)

    def one(name: str, *words: str, port: str, health: str) -> Component:
        command = ("env", f"ARGOCD_BINARY_NAME=argocd-{name}", str(programs.path("argocd")), *words)
        return Component(f"argocd-{name}", command, ports(port), f"http://127.0.0.1:{health}")

    return [
        one(
            "repo-server",
            *("--address", "127.0.0.1", "--port", str(ports("repo-server"))),
            *("--metrics-address", "127.0.0.1", "--metrics-port", str(ports("repo-metrics"))),
            *("--disable-tls", "--client-ca-path", "", *cache),
            port="repo-server",
            health=f"{ports('repo-metrics')}/healthz?full=true",
        ),
        one(
            "application-controller",
            *(*mine, *cache, *rendered, "--metrics-port", str(ports("app-metrics"))),
            *("--app-resync", "30", "--app-resync-jitter", "0", "--persist-resource-health=true"),
            port="app-metrics",
            health=f"{ports('app-metrics')}/healthz",
        ),
        one(
            "applicationset-controller",
            *(*mine, "--argocd-repo-server", repo, "--repo-server-plaintext"),
            *("--metrics-addr", f"127.0.0.1:{ports('set-metrics')}"),
            *("--probe-addr", f"127.0.0.1:{ports('set-health')}"),
            *("--webhook-addr", f"127.0.0.1:{ports('set-webhook')}"),
            "--enable-progressive-syncs",
            port="set-metrics",
            health=f"{ports('set-metrics')}/metrics",  # its probe address has no probes
        ),
        one(
            "server",
            *(*mine, *cache, *rendered, "--disable-auth", "--insecure"),
            *("--address", "127.0.0.1", "--port", str(ports("argocd"))),
            *("--metrics-port", str(ports("argocd-metrics"))),
            port="argocd",
            health=f"{ports('argocd')}/healthz",
        ),
    ]
