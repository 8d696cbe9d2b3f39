"""What this machine must have, asked before anything is built: one sentence with a remedy.

A check is given what a probe saw and returns the sentence, or nothing if all is well. `packages`
is asked before Debian's packages are installed, `instance` before an instance is started, `tiers`
before the tests are.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import cleanup
from common import Problem, run
from instance import NODE_ADDRESS, PODS, SERVICES

NEED_ROOT = ("cluster", "gitops", "dask")  # tiers of the tests; the first two for their networks
CONTROLLERS = frozenset({"cpu", "cpuset", "memory", "pids", "io", "hugetlb"})
CGROUPS = Path("/sys/fs/cgroup")
BRIDGE_FILTER = "net.bridge.bridge-nf-call-iptables"
OURS = {  # who has which part of the network, and on which link
    "the node's address": (IPv4Network(NODE_ADDRESS), "dask0"),
    "the range of Services": (IPv4Network(SERVICES), ""),
    "the range of Pods": (IPv4Network(PODS), "cni0"),
}
ELSEWHERE = "use a Kubernetes of yours: make demo CONTEXT=... REGISTRY=..."


def packages(wanted: Mapping[str, str], missing: Sequence[str]) -> None:
    """Can the missing Debian packages be had, and are those that are there new enough?

    :raises Problem: no; with a remedy.
    """
    if "openssl" in wanted and "openssl" not in missing:
        demand(openssl(run(["openssl", "version"], check=False).stdout))
    if missing and shutil.which("apt-get"):
        known = ["apt-get", "indextargets", "--format", "$(COMPONENT)"]
        components = run(known, check=False).stdout.split()
        demand(universe(os_release(), components, missing))


def instance(node: bool) -> None:
    """Can an instance run here? Its programs may still be missing.

    :raises Problem: no; with a remedy.
    """
    if shutil.which("openssl"):
        demand(openssl(run(["openssl", "version"], check=False).stdout))
    if node:
        if cleanup.kernel(BRIDGE_FILTER) is None and shutil.which("modprobe"):
            run(["modprobe", "br_netfilter"], check=False)
        demand(bridge_filter(cleanup.kernel(BRIDGE_FILTER)))
        demand(control_groups(CGROUPS, cleanup.cgroup_hierarchies()))
        demand(networks(routes(), addresses()))


def tiers(names: Collection[str]) -> None:
    """Can the tests of these tiers run here?

    :raises Problem: no; with a remedy.
    """
    names = {name.partition("/")[0] for name in names}  # tests/unit/plan is of the tier unit
    demand(root(os.geteuid(), names))
    if set(names) & set(NEED_ROOT):
        instance(node="dask" in names)


def demand(sentence: str) -> None:
    """:raises Problem: there is a sentence."""
    if sentence:
        raise Problem(sentence)


def root(user: int, names: Collection[str]) -> str:
    """The tests need root where they make networks and nodes."""
    needing = [name for name in NEED_ROOT if name in names]
    if user == 0 or not needing:
        return ""
    return (
        f"the tests of {', '.join(needing)} need root: run them with sudo (sudo -E keeps your "
        'environment), or only the others: make test TIERS="unit chart"'
    )


def openssl(version: str) -> str:
    """Only OpenSSL 3 signs a certificate in one step."""
    if re.match(r"OpenSSL ([3-9]|\d\d)\.", version):
        return ""
    have = version.split("(")[0].strip() or "one that does not tell its version"
    return (
        f"OpenSSL 3 is needed to make certificates, this is {have}: Debian 12 and Ubuntu 22.04 "
        f"have it; put such an openssl first on PATH, or {ELSEWHERE}"
    )


def universe(
    release: Mapping[str, str], components: Collection[str], missing: Sequence[str]
) -> str:
    """Ubuntu keeps most of the packages in a component of their own.

    :param components: those of the package lists; none: there are no lists yet, which says nothing.
    """
    if release.get("ID") != "ubuntu" or not components or "universe" in components:
        return ""
    return (
        f"these packages lie in Ubuntu's component universe, which apt does not use here: "
        f"{' '.join(missing)}. Add it: add-apt-repository universe && apt-get update"
    )


def os_release() -> dict[str, str]:
    """What /etc/os-release says."""
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        return {}
    return {key: "".join(shlex.split(value)) for key, _, value in (x.partition("=") for x in lines)}


def bridge_filter(setting: str | None) -> str:
    """Services do not work unless the packet filter sees what crosses a bridge."""
    if setting is not None:
        return ""
    return (
        "the kernel's module br_netfilter is not loaded, without which pods do not reach Services: "
        "modprobe br_netfilter (as root; in a container or a sandbox: on its host)"
    )


def control_groups(top: Path, hierarchies: Sequence[Path]) -> str:
    """The pods' control groups must be possible below the top one."""
    if not hierarchies:
        return f"no control groups are mounted below {top}, and pods need them: {_container()}"
    if locked := [str(path) for path in hierarchies if not os.access(path, os.W_OK)]:
        return f"no control group can be made in {locked[0]}: {_container()}"
    if not (top / "cgroup.controllers").exists():
        return ""  # version 1: a group may hold processes and groups
    given = set((top / "cgroup.controllers").read_text().split())
    if lacking := {"cpu", "memory", "pids"} - given:
        return (
            f"{top} lacks the controllers {', '.join(sorted(lacking))}, and the kubelet needs "
            f"them: {_container()}"
        )
    passed_on = set((top / "cgroup.subtree_control").read_text().split())
    # The machine's own top group has no type; it alone may hold processes beside groups.
    is_below = (top / "cgroup.type").exists()
    if is_below and (CONTROLLERS & given) - passed_on and (top / "cgroup.procs").read_text():
        return (
            f"this container's processes lie in its top control group {top}, which therefore "
            f"cannot be divided among pods: start the container with --cgroupns=host, or move "
            f"them first: mkdir {top}/init; for p in $(cat {top}/cgroup.procs); do "
            f"echo $p > {top}/init/cgroup.procs; done"
        )
    return ""


def _container() -> str:
    return f"start the container with --privileged --cgroupns=host, or {ELSEWHERE}"


@dataclass(frozen=True)
class Route:
    """A line of the kernel's table: what goes out by which link, and by which neighbour."""

    link: str
    network: IPv4Network
    gateway: IPv4Address | None


def networks(known: Sequence[Route], local: Collection[IPv4Address]) -> str:
    """Nobody else may have an address of ours. A wider route, as of a VPN, is no obstacle."""
    links = {link for _, link in OURS.values()}
    for what, (ours, _) in OURS.items():
        taken = [f"this machine has {address}" for address in local if address in ours]
        for route in known:
            if route.link not in links and _meet(ours, route):
                way = route.gateway if route.gateway and route.gateway in ours else route.network
                taken.append(f"{route.link} leads to {way}")
        if taken:
            shown = ours.network_address if ours.prefixlen == 32 else ours
            return (
                f"{what}, {shown}, is in use by something else ({taken[0]}): take that away, such "
                f"as a network of Docker's, or {ELSEWHERE}"
            )
    return ""


def _meet(ours: IPv4Network, route: Route) -> bool:
    """Does that route lead somebody else to addresses of ours?"""
    if route.gateway:
        return route.gateway in ours or route.network.subnet_of(ours)
    neighbours = ours.prefixlen == 32 and route.network.prefixlen >= 16
    return route.network.subnet_of(ours) or (neighbours and ours.subnet_of(route.network))


def routes(table: Path = Path("/proc/net/route")) -> list[Route]:
    """The kernel's routes."""
    found = []
    for line in table.read_text().splitlines()[1:]:
        link, to, gateway, *_, mask = line.split()[:8]
        network = IPv4Network(f"{_address(to)}/{_address(mask)}")
        found.append(Route(link, network, _address(gateway) if int(gateway, 16) else None))
    return found


def _address(backwards: str) -> IPv4Address:
    return IPv4Address(bytes.fromhex(backwards)[::-1])


def addresses(trie: Path = Path("/proc/net/fib_trie")) -> set[IPv4Address]:
    """This machine's addresses, but for those of our own links."""
    found, last = set(), ""
    for line in trie.read_text().splitlines():
        if "|--" in line:
            last = line.split()[-1]
        elif line.split()[-2:] == ["host", "LOCAL"]:
            found.add(IPv4Address(last))
    # Not from /sys/class/net, which may show another network than this process's.
    links = {name for _, name in socket.if_nameindex()}
    for network, link in OURS.values():
        if link in links:
            found = {address for address in found if address not in network}
    return found


def snapshotter(folder: Path) -> str:
    """What containerd keeps images in: overlays, where the folder's file system can carry one.

    In a container that folder often lies on an overlay itself, which carries none.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix="overlay-") as probe:
        for name in ("lower", "upper", "work", "merged"):
            (Path(probe) / name).mkdir()
        option = f"lowerdir={probe}/lower,upperdir={probe}/upper,workdir={probe}/work"
        mount = ["mount", "-t", "overlay", "overlay", "-o", option, f"{probe}/merged"]
        # In a mount namespace of its own, so that nothing has to be taken away.
        done = run(["unshare", "--mount", *mount], check=False)
    return "overlayfs" if done.returncode == 0 else "native"
