"""What a real node changes on the machine outside its folder, and how that is put back.

`remember` notes the machine's state before the node starts. `clean` ends whatever runs in our
control group, unmounts, removes the network, and takes back the difference to what was noted.
It works after any crash, and twice.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
from pathlib import Path

from common import Problem, run
from processes import marked, send

# Kernel settings that the kubelet, kube-proxy, the bridge plugin or we ourselves write.
KERNEL_SETTINGS = (
    "net.ipv4.ip_forward",
    "net.ipv4.conf.all.route_localnet",
    "net.bridge.bridge-nf-call-iptables",
    "net.netfilter.nf_conntrack_max",
    "net.netfilter.nf_conntrack_tcp_be_liberal",
    "net.netfilter.nf_conntrack_tcp_timeout_close_wait",
    "net.netfilter.nf_conntrack_tcp_timeout_established",
    "vm.overcommit_memory",
    "vm.panic_on_oom",
    "kernel.panic",
    "kernel.panic_on_oops",
    "kernel.keys.root_maxbytes",
    "kernel.keys.root_maxkeys",
)
# Folders that these programs make although they were told other ones.
FOLDERS = (
    "/var/lib/cni",
    "/var/lib/kubelet",
    "/var/log/containers",
    "/var/log/pods",
    "/run/containerd",
    "/opt/cni",
    "/etc/cni",
    "/usr/libexec/kubernetes",
)
TOOLS = ("iptables", "ip6tables")
OURS = ("KUBE-", "CNI-")


def remember(folder: Path) -> None:
    """Write down how the machine is before the node starts."""
    before = {
        "kernel": {name: kernel(name) for name in KERNEL_SETTINGS},
        "folders": [name for name in FOLDERS if Path(name).exists()],
        "chains": {tool: chains(tool) for tool in TOOLS},
    }
    unfinished = folder / "before.new"
    unfinished.write_text(json.dumps(before, indent=2) + "\n")
    unfinished.rename(folder / "before.json")  # whole, whenever we are killed


def clean(folder: Path) -> None:
    """Put the machine back to what `remember` noted; nothing noted means nothing was done."""
    file = folder / "before.json"
    if not file.exists():
        return
    before = json.loads(file.read_text())
    end_containers(folder)
    remove_shim_sockets(folder)
    unmount(folder)
    remove_links()
    for tool in TOOLS:
        remove_chains(tool, before["chains"][tool])
    for name, value in before["kernel"].items():
        if value is not None and kernel(name) != value:
            set_kernel(name, value)
    remove_cgroups()
    remove_folders(folder, before["folders"])


def end_containers(folder: Path) -> None:
    """Kill the shims that name our socket, what they and the kubelet have started, and all that
    runs in our control group."""
    deadline = time.monotonic() + 20
    while victims := shims(folder) | grouped() | marked(folder):
        for pid in victims:
            send(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise Problem(f"these processes cannot be killed: {sorted(victims)}")
        time.sleep(0.05)


def shims(folder: Path) -> set[int]:
    """containerd's helper processes, one per pod, that belong to our containerd."""
    ours = str(folder / "containerd.sock").encode()
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if b"containerd-shim" in words[0] and ours in words:
                found.add(int(entry.name))
    return found


def cgroup_hierarchies() -> list[Path]:
    """The mounted control group trees: one (version 2), or one per controller (version 1)."""
    found = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mountpoint, kind = line.split()[:3]
        if kind in ("cgroup", "cgroup2"):
            found.append(Path(mountpoint))
    return found


def our_cgroups() -> list[Path]:
    """Our control groups, inner ones first."""
    found: list[Path] = []
    for hierarchy in cgroup_hierarchies():
        for parent, _, _ in os.walk(hierarchy / "dask-gitops", topdown=False):
            found.append(Path(parent))
    return found


def grouped() -> set[int]:
    """The processes in our control groups."""
    found: set[int] = set()
    for group in our_cgroups():
        with contextlib.suppress(OSError):
            found |= {int(pid) for pid in (group / "cgroup.procs").read_text().split()}
    return found - {0}


def remove_cgroups() -> None:
    """Remove our control groups; a group is busy for a moment after its last process."""
    for _ in range(100):
        for group in our_cgroups():
            with contextlib.suppress(OSError):
                group.rmdir()
        if not our_cgroups():
            return
        time.sleep(0.05)


def remove_shim_sockets(folder: Path) -> None:
    """Shims listen below /run/containerd whatever containerd's own folders are."""
    for file in (folder / "containerd-state").glob("io.containerd.runtime.v2.task/*/*/address"):
        Path(file.read_text().removeprefix("unix://")).unlink(missing_ok=True)


def unmount(folder: Path) -> None:
    """Unmount everything below a folder, inner ones first."""
    below = str(folder.resolve()) + "/"
    lines = Path("/proc/self/mounts").read_text().splitlines()
    for mountpoint in reversed([line.split()[1] for line in lines]):
        if mountpoint.startswith(below):
            run(["umount", "--lazy", mountpoint], check=False)


def remove_links() -> None:
    """Delete the bridges, and the pods' cables that still hang on one.

    A link may go while we look: with its pod, or by a command that a killed `down` had begun.
    """
    cables = [link.name for link in Path("/sys/class/net/cni0/brif").glob("*")]
    for name in (*cables, "cni0", "dask0"):
        if is_link(name):
            done = run(["ip", "link", "delete", name], check=False)
            if is_link(name):
                raise Problem(f"cannot delete the network interface {name}: {done.stderr.strip()}")


def is_link(name: str) -> bool:
    """Is there a network interface of that name?"""
    return Path(f"/sys/class/net/{name}").exists()


def chains(tool: str) -> dict[str, list[str]]:
    """Every chain of the packet filter, by table."""
    found: dict[str, list[str]] = {}
    table = ""
    for line in run([f"{tool}-save"], check=False).stdout.splitlines():
        if line.startswith("*"):
            table = line[1:]
            found[table] = []
        if line.startswith(":"):
            found[table].append(line[1:].split()[0])
    return found


def remove_chains(tool: str, before: dict[str, list[str]]) -> None:
    """Remove the chains that came since, and the rules that jump to them."""
    for table, names in chains(tool).items():
        came = [name for name in names if name not in before.get(table, [])]
        ours = {name for name in came if name.startswith(OURS)}
        words = [f"*{table}"]
        for line in run([f"{tool}-save", "-t", table]).stdout.splitlines():
            chain, _, target = line.removeprefix("-A ").partition(" -j ")
            jumps_in = chain.split(" ")[0] not in ours and target.split(" ")[0] in ours
            if line.startswith("-A ") and jumps_in:
                words.append("-D" + line.removeprefix("-A"))
        words += [f"-F {name}" for name in sorted(ours)] + [f"-X {name}" for name in sorted(ours)]
        if len(words) > 1:
            run([f"{tool}-restore", "--noflush"], stdin="\n".join([*words, "COMMIT", ""]))


def kernel(name: str) -> str | None:
    """A kernel setting's value, None where this kernel has no such setting."""
    try:
        return (Path("/proc/sys") / name.replace(".", "/")).read_text().strip()
    except OSError:
        return None


def set_kernel(name: str, value: str) -> None:
    """Change a kernel setting."""
    try:
        (Path("/proc/sys") / name.replace(".", "/")).write_text(value)
    except OSError as error:
        raise Problem(f"cannot set {name}={value}: {error.strerror}") from None


def remove_folders(folder: Path, before: list[str]) -> None:
    """Remove what lies in the folders that we could not choose."""
    for file in Path("/var/lib/cni/results").glob("dask-gitops-*"):
        file.unlink(missing_ok=True)
    for link in Path("/var/log/containers").glob("*"):
        if link.is_symlink() and str(link.readlink()).startswith(str(folder)):
            link.unlink()
    for name in FOLDERS:
        if name not in before:
            shutil.rmtree(name, ignore_errors=True)
