"""The local Kubernetes' tool, killed while it starts and stops: afterwards the machine is as it was before.

The first file of the tier, whose own node is not up yet: a machine has one. What is started here lies in a folder of
its own. The place of a kill is a line that the tool prints, or a program that it calls: that call kills.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kubernetes import Kubectl, eventually, run

STATE = Path(tempfile.gettempdir()) / "dask-gitops-killed"  # short: sockets lie below it
NAME = "killed"
FOLDER = STATE / NAME
LINKS = ("dask0", "cni0")
POD = "local-pause"
PROGRAMS = "kubectl,etcd,kube-apiserver,kube-controller-manager,kube-scheduler,kwok,kubelet,kube-proxy,coredns,pause"
# Top folders in which programs of a node make others.
FOLDERS = (
    "/run",
    "/var/lib",
    "/var/log",
    "/etc",
    "/opt",
    "/usr/libexec",
    "/usr/libexec/kubernetes",
)
ELSEWHERE = {"/var/lib/dask-gitops"}  # where instances of other tests come and go meanwhile
SETTINGS = ("net/bridge", "net/ipv4", "net/netfilter", "kernel", "vm")
BY_THEMSELVES = re.compile(
    r"random/|count|nr$|ns_last_pid|/(dask0|cni0|veth\w+)/|nr_|stat_refresh|pty/"
)
BUILT_IN = {"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}
VICTIMS = ("process", "group")


@pytest.fixture(scope="module", autouse=True)
def witness() -> None:
    """In place of the tier's, which would start the tier's node."""


@pytest.fixture(scope="module")
def before() -> Iterator[dict[str, set[str]]]:
    """The machine without a node. Two nodes would fight; what a run that was killed has left, here or in another
    folder, is taken away first."""
    tool("down", "--name", NAME)
    tool("down", "--dead")
    if taken := [link for link in LINKS if Path(f"/sys/class/net/{link}").exists()]:
        pytest.fail(
            f"this test needs the machine's only node, and another one is up ({taken[0]} exists): "
            "end it with make kubernetes-down",
            pytrace=False,
        )
    tool("build", "--only", PROGRAMS)  # here, not in what is killed
    yield machine()
    tool("down", "--name", NAME)


def environment(programs: Path | None = None) -> dict[str, str]:
    path = os.environ["PATH"]
    return {
        **os.environ,
        "DASK_GITOPS_STATE": str(STATE),
        "PATH": f"{programs}:{path}" if programs else path,
    }


def tool(*words: str) -> str:
    """A command of the local Kubernetes that nobody kills."""
    return run(sys.executable, "ci/kubernetes", *words, env=environment(), timeout=3600)


def up(*words: str) -> None:
    tool("up", "--name", NAME, *words)


def killed_at_line(pattern: str, victim: str) -> None:
    """`up` until it prints such a line."""
    process = begun("up", "--node")
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if re.search(pattern, line):
            (os.kill if victim == "process" else os.killpg)(process.pid, signal.SIGKILL)
            break
    gone(process, lines)


def killed_by_call(command: str, program: str, words: str, victim: str, folder: Path) -> None:
    """A command until it calls a program with these words: that call kills, then does what it shall."""
    folder.mkdir()
    whom = "$PPID" if victim == "process" else "0"  # 0: the group of the caller
    (folder / program).write_text(
        f'#!/bin/sh\ncase "{program} $*" in *"{words}"*) kill -KILL {whom};; esac\n'
        f'PATH="${{PATH#*:}}" exec {program} "$@"\n'
    )
    (folder / program).chmod(0o755)
    process = begun(command, *(["--node"] if command == "up" else []), programs=folder)
    gone(process, [])


def begun(command: str, *words: str, programs: Path | None = None) -> subprocess.Popen[str]:
    """The tool in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "ci/kubernetes", command, "--name", NAME, *words],
        env=environment(programs),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def gone(process: subprocess.Popen[str], lines: list[str]) -> None:
    """It was killed, and had not ended by itself."""
    try:
        said = "".join(lines) + process.communicate(timeout=240)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == -signal.SIGKILL, f"it was not killed there:\n{said}"


def run_a_pod() -> None:
    """A pod with containers, a network and a place in the packet filter."""
    kubectl = Kubectl(str(FOLDER / "kubeconfig"))
    kubectl("run", POD, "--image=localhost/pause:1", "--image-pull-policy=Never", "--port=80")
    kubectl("expose", "pod", POD, "--port=80")
    kubectl("wait", f"pod/{POD}", "--for=condition=Ready", "--timeout=180s", timeout=200)


def kill_components() -> None:
    """All that the tool has started, at once: the pod stays, with nobody to look after it."""
    for file in (FOLDER / "processes").glob("*.json"):
        os.kill(json.loads(file.read_text())["pid"], signal.SIGKILL)


def machine() -> dict[str, set[str]]:
    """What a node could leave behind."""
    return {
        "links": set(os.listdir("/sys/class/net")),
        "addresses": set(run("ip", "-brief", "address").splitlines()),
        "routes": set(run("ip", "route").splitlines()),
        "packet filter": packet_filter("iptables-save") | packet_filter("ip6tables-save"),
        "mounts": mounts(),
        "control groups": control_groups(),
        "kernel settings": settings(),
        "folders": {
            f"{top}/{name}" for top in FOLDERS if Path(top).exists() for name in os.listdir(top)
        }
        - ELSEWHERE,
        "instances": {str(path) for path in (STATE, *STATE.glob("*")) if path.exists()},
        "processes": processes(),
    }


def packet_filter(save: str) -> set[str]:
    """Rules and chains, but for the chains that the kernel has built in."""
    found, table = set(), ""
    for line in run(save).splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith("-A"):
            found.add(f"{save} {table} {line}")
        elif line.startswith(":") and line[1:].split()[0] not in BUILT_IN:
            found.add(f"{save} {table} {line[1:].split()[0]}")
    return found


def mounts() -> set[str]:
    """Where we and the programs of a node mount; somebody else may mount elsewhere meanwhile."""
    points = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    return {point for point in points if point.startswith((str(STATE), *FOLDERS, "/sys"))}


def control_groups() -> set[str]:
    """Ours, in whatever hierarchies there are."""
    kinds = ("cgroup", "cgroup2")
    lines = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    tops = [Path(line[1]) for line in lines if line[2] in kinds]
    ours = ("dask-gitops", "kubepods", "k8s.io", "system.slice/kubelet")
    return {str(top / name) for top in tops for name in ours if (top / name).exists()}


def settings() -> set[str]:
    """Kernel settings that do not change by themselves."""
    found = set()
    for top in SETTINGS:
        for parent, _, names in os.walk(f"/proc/sys/{top}"):
            for name in names:
                path = f"{parent}/{name}"
                if not BY_THEMSELVES.search(path):
                    try:
                        found.add(f"{path}={Path(path).read_text().strip()}")
                    except OSError:
                        continue  # write-only
    return found


def processes() -> set[str]:
    """Those that know our folder."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            told = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            words = (entry / "cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
        except OSError:
            continue
        if str(FOLDER).encode() in told:
            found.add(f"{entry.name} {words}")
    return found


def as_it_was(before: dict[str, set[str]]) -> bool:
    """Nothing came, nothing went."""
    now = machine()
    # Settings come with kernel modules, which stay.
    now["kernel settings"] &= before["kernel settings"]
    for what, had in before.items():
        assert now[what] == had, f"{what}: came {now[what] - had}, went {had - now[what]}"
    return True


def ends_as_before(before: dict[str, set[str]], by: str) -> None:
    """By `down` alone, or after a new start, with a node or without one."""
    if by != "down":
        up(*by.split()[1:])
    tool("down", "--name", NAME)
    # The kernel takes a dead pod's network away a moment later.
    eventually("the machine is as it was", lambda: as_it_was(before), timeout=60)


@pytest.mark.parametrize(("victim", "by"), [("process", "down"), ("group", "up --no-node")])
@pytest.mark.parametrize(
    ("program", "words"),
    [("ip", "link set dask0 up"), ("openssl", "genpkey")],
    ids=["before its network is whole", "before certificates"],
)
def test_killed_in_a_call(
    before: dict[str, set[str]], tmp_path: Path, program: str, words: str, victim: str, by: str
) -> None:
    killed_by_call("up", program, words, victim, tmp_path / "bin")
    assert (FOLDER / "before.json").exists()
    ends_as_before(before, by)


@pytest.mark.parametrize(("victim", "by"), [("process", "down"), ("group", "up --no-node")])
@pytest.mark.parametrize(
    "line", [r"^ +etcd +ready", r"^ +apiserver +ready"], ids=["etcd", "apiserver"]
)
def test_killed_after(before: dict[str, set[str]], line: str, victim: str, by: str) -> None:
    killed_at_line(line, victim)
    assert processes()
    ends_as_before(before, by)


@pytest.mark.parametrize(("victim", "by"), [("process", "down"), ("group", "up --node")])
def test_killed_with_a_pod(before: dict[str, set[str]], victim: str, by: str) -> None:
    killed_at_line(r"^ +node node-1 +Ready", victim)
    run_a_pod()
    if victim == "group":
        kill_components()
    assert control_groups()
    ends_as_before(before, by)


@pytest.mark.parametrize("victim", VICTIMS)
def test_killed_again_and_again_in_the_middle_of_down(
    before: dict[str, set[str]], tmp_path: Path, victim: str
) -> None:
    up("--node")
    run_a_pod()
    for program, words in (
        ("umount", "umount"),
        ("ip", "link delete cni0"),
        ("iptables-restore", "iptables-restore"),
    ):
        killed_by_call("down", program, words, victim, tmp_path / program)
        assert FOLDER.exists()
    ends_as_before(before, "down")
