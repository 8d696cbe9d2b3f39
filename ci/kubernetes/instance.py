"""An instance: its name, folder, addresses and ports."""

from __future__ import annotations

import contextlib
import errno
import json
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

from common import Problem, state

NODE_ADDRESS = "172.30.0.1"
NODE_NAME = "node-1"
SERVICES = "10.96.0.0/16"
PODS = "10.244.0.0/16"
FIRST_PORT = 16440  # below the ports that Linux hands out by itself
SLOTS = 100
PORTS = (
    "apiserver",
    "etcd",
    "etcd-peer",
    "controller-manager",
    "scheduler",
    "kwok",
    "kubelet",
    "kubelet-health",
    "proxy-health",
    "proxy-metrics",
    "coredns-health",
)


@dataclass(frozen=True)
class Instance:
    """What `up` decided; kept as instance.json in the instance's folder."""

    name: str
    slot: int
    node: bool
    kwok_nodes: int
    kwok_cidr: str
    audit_log: str
    kubernetes: str = ""  # another version than today's, of the control plane

    @property
    def folder(self) -> Path:
        """Everything of this instance lies here."""
        return state() / self.name

    @property
    def address(self) -> str:
        """Where the API server listens: on the node's address when pods must reach it."""
        return NODE_ADDRESS if self.node else "127.0.0.1"

    @property
    def server(self) -> str:
        """The API server's URL."""
        return f"https://{self.address}:{self.port('apiserver')}"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.folder / "kubeconfig"

    @property
    def certificates(self) -> Path:
        """The folder of keys and certificates."""
        return self.folder / "certificates"

    def port(self, of: str) -> int:
        """A component's port: twenty in a row belong to each slot."""
        return FIRST_PORT + 20 * self.slot + PORTS.index(of)

    def save(self) -> None:
        """Write it down."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "instance.json").write_text(json.dumps(asdict(self)) + "\n")


def load(name: str) -> Instance | None:
    """The instance of that name, running or crashed, or None."""
    try:
        return Instance(**json.loads((state() / name / "instance.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def existing() -> list[str]:
    """The names of all instances that have a folder."""
    if not state().is_dir():
        return []
    folders = [folder for folder in state().iterdir() if folder.is_dir()]
    return sorted(folder.name for folder in folders if any(folder.iterdir()))


def need(name: str) -> Instance:
    """The instance of that name, or a Problem that says how to get one."""
    found = load(name)
    if found is None:
        others = ", ".join(existing()) or "none"
        raise Problem(f"no instance {name!r} (there: {others}). Start it: up --name {name}")
    return found


def free_slot() -> int:
    """The first slot that no instance has and whose ports are all free."""
    taken = {other.slot for name in existing() if (other := load(name))}
    for slot in range(SLOTS):
        first = FIRST_PORT + 20 * slot
        if slot not in taken and all(_free(port) for port in range(first, first + len(PORTS))):
            return slot
    raise Problem(f"no free ports between {FIRST_PORT} and {FIRST_PORT + 20 * SLOTS}")


def _free(port: int) -> bool:
    """Can a server listen there?"""
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True
