"""What this machine must have for the local Kubernetes: one sentence with a remedy, before anything is built."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "ci/kubernetes"
UNSHARE = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"])]
ENTRIES = ("ci/kubernetes", "ci/gitops", "ci/demo")


@pytest.fixture
def preflight(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(KUBERNETES)
    return importlib.import_module("preflight")


# ---- Python


@pytest.mark.parametrize(
    "file", [*(f"{entry}/__main__.py" for entry in ENTRIES), "ci/kubernetes/python_version.py"]
)
def test_python_3_8_reads_the_entries(file: str) -> None:
    ast.parse((ROOT / file).read_text(), feature_version=(3, 8))


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_older_python_says_so_before_it_reads_more(entry: str) -> None:
    program = f"""
import runpy, sys
sys.version_info = (3, 8, 18, "final", 0)
sys.argv = [{entry!r}]
before = set(sys.modules)
try:
    runpy.run_path({entry!r}, run_name="__main__")
finally:
    files = (getattr(sys.modules[n], "__file__", None) or "" for n in set(sys.modules) - before)
    print(sorted({{f.rpartition("/")[2] for f in files if "/ci/" in f}}))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    words = "error: Python 3.11 or newer is needed, this is 3.8.18; use make PYTHON=python3.12\n"
    assert done.stderr == words
    assert done.stdout == "['python_version.py']\n"


# ---- programs and packages


@pytest.mark.parametrize(
    ("version", "named"),
    [
        ("OpenSSL 3.0.19 27 Jan 2026 (Library: OpenSSL 3.0.19 27 Jan 2026)\n", ""),
        ("OpenSSL 3.5.0 8 Apr 2025", ""),
        ("OpenSSL 1.1.1w  11 Sep 2023\n", "this is OpenSSL 1.1.1w"),
        ("LibreSSL 3.3.6\n", "this is LibreSSL 3.3.6"),
        ("", "this is one that does not tell its version"),
    ],
)
def test_openssl(preflight: ModuleType, version: str, named: str) -> None:
    said = preflight.openssl(version)
    assert bool(said) == bool(named)
    assert named in said


def test_an_old_openssl_is_told_before_anything_is_installed(
    preflight: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "openssl").write_text("#!/bin/sh\necho OpenSSL 1.1.1w\n")
    (tmp_path / "openssl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(preflight.Problem, match=r"OpenSSL 3 is needed .* 1\.1\.1w"):
        preflight.packages({"openssl": "openssl"}, [])
    with pytest.raises(preflight.Problem, match="OpenSSL 3 is needed"):
        preflight.instance(node=False)
    preflight.packages({"openssl": "openssl"}, ["openssl"])  # it will be installed


def test_ubuntus_universe(preflight: ModuleType) -> None:
    ubuntu, missing = {"ID": "ubuntu"}, ["socat", "buildah"]
    said = preflight.universe(ubuntu, ["main", "restricted"], missing)
    assert "socat buildah. Add it: add-apt-repository universe" in said
    assert not preflight.universe(ubuntu, ["main", "universe"], missing)
    assert not preflight.universe(ubuntu, [], missing)  # apt-get update has never run
    assert not preflight.universe({"ID": "debian"}, ["main"], missing)


@pytest.mark.parametrize(
    ("user", "names", "needing"),
    [
        (0, ["cluster", "dask"], ""),
        (1000, ["unit", "chart"], ""),
        (1000, ["unit", "gitops", "cluster"], "the tests of cluster, gitops need root"),
    ],
)
def test_root(preflight: ModuleType, user: int, names: list[str], needing: str) -> None:
    said = preflight.root(user, names)
    assert said.startswith(needing)
    assert bool(said) == bool(needing)


# ---- the kernel


def test_bridge_filter(preflight: ModuleType) -> None:
    assert not preflight.bridge_filter("0")
    assert "modprobe br_netfilter" in preflight.bridge_filter(None)


@pytest.fixture
def group(tmp_path: Path) -> Path:
    """A container's top control group, version 2, as a container runtime makes it."""
    files = {
        "cgroup.controllers": "cpuset cpu io memory pids\n",
        "cgroup.subtree_control": "",
        "cgroup.type": "domain\n",
        "cgroup.procs": "1\n17\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_container_whose_control_group_holds_processes(
    preflight: ModuleType, group: Path
) -> None:
    said = preflight.control_groups(group, [group])
    assert "start the container with --cgroupns=host" in said
    assert f"mkdir {group}/init" in said


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("cgroup.procs", ""),  # somebody has moved them
        ("cgroup.subtree_control", "cpuset cpu io memory pids\n"),  # divided already
        ("cgroup.type", None),  # the machine's own
        ("cgroup.controllers", None),  # version 1
    ],
)
def test_control_groups_that_can_be_divided(
    preflight: ModuleType, group: Path, file: str, text: str | None
) -> None:
    if text is None:
        (group / file).unlink()
    else:
        (group / file).write_text(text)
    assert not preflight.control_groups(group, [group])


def test_control_groups_out_of_reach(
    preflight: ModuleType, group: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no control groups are mounted" in preflight.control_groups(group, [])
    (group / "cgroup.controllers").write_text("cpu io\n")
    assert "lacks the controllers memory, pids" in preflight.control_groups(group, [group])
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # mounted read-only
    assert "--privileged" in preflight.control_groups(group, [group])


# ---- the network


def route(preflight: ModuleType, link: str, network: str, gateway: str = "") -> object:
    return preflight.Route(link, IPv4Network(network), IPv4Address(gateway) if gateway else None)


@pytest.mark.parametrize(
    ("link", "network", "gateway", "named"),
    [
        ("eth0", "0.0.0.0/0", "192.0.2.1", ""),
        ("eth0", "192.0.2.0/24", "", ""),
        ("tun0", "10.0.0.0/8", "", ""),  # a VPN's, wider than ours
        ("docker0", "172.17.0.0/16", "", ""),
        ("dask0", "172.30.0.1/32", "", ""),
        ("cni0", "10.244.0.0/24", "", ""),
        ("br-1", "172.30.0.0/16", "", "the node's address, 172.30.0.1,"),
        ("eth0", "0.0.0.0/0", "172.30.0.1", "the node's address, 172.30.0.1,"),
        ("tun0", "10.96.0.0/16", "192.0.2.7", "the range of Services, 10.96.0.0/16,"),
        ("flannel.1", "10.244.3.0/24", "10.244.3.0", "the range of Pods, 10.244.0.0/16,"),
    ],
)
def test_routes(preflight: ModuleType, link: str, network: str, gateway: str, named: str) -> None:
    said = preflight.networks([route(preflight, link, network, gateway)], set())
    assert said.startswith(named)
    assert bool(said) == bool(named)
    assert not named or f"({link} leads to " in said


def test_addresses_of_this_machine(preflight: ModuleType) -> None:
    said = preflight.networks([], {IPv4Address("10.244.7.7")})
    assert "the range of Pods" in said
    assert "(this machine has 10.244.7.7)" in said
    assert "make demo CONTEXT=" in said
    assert not preflight.networks([], {IPv4Address("127.0.0.1"), IPv4Address("10.0.0.7")})


def test_what_the_kernel_tells() -> None:
    """A bridge with addresses of ours, in a network of the test's own."""
    program = "import preflight as p; print(p.networks(p.routes(), p.addresses()))"
    links = "ip link set lo up; ip link add br-7 type bridge; ip link set br-7 up"
    addresses = "ip address add {} dev br-7"
    for address, told in (
        ("192.0.2.5/24", "\n"),
        ("10.244.9.1/24", "the range of Pods, 10.244.0.0/16, is in use by something else"),
        ("172.30.0.1/32", "the node's address, 172.30.0.1, is in use by something else"),
    ):
        script = f'{links}; {addresses.format(address)}; exec "$@"'
        command = [*UNSHARE, "--net", "sh", "-ec", script, "sh", sys.executable, "-c", program]
        done = subprocess.run(command, cwd=KUBERNETES, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(told)


@pytest.mark.parametrize(("on", "told"), [("memory", "overlayfs"), ("memory/over", "native")])
def test_no_overlay_on_an_overlay(
    preflight: ModuleType, tmp_path: Path, on: str, told: str
) -> None:
    """File systems that only the asked process sees, so that nothing is left."""
    folder = tmp_path / "memory"
    folder.mkdir()
    program = "import pathlib, sys, preflight as p; print(p.snapshotter(pathlib.Path(sys.argv[1])))"
    script = f"""
mount -t tmpfs tmpfs {folder}; cd {folder}; mkdir a b c over
mount -t overlay overlay -o lowerdir=a,upperdir=b,workdir=c over
cd {KUBERNETES}; "$@"; test "$(ls {tmp_path / on} | grep -c overlay-)" = 0
"""
    ask = [sys.executable, "-c", program, tmp_path / on]
    done = subprocess.run(
        [*UNSHARE, "--mount", "sh", "-ec", script, "sh", *ask], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{told}\n", "")
