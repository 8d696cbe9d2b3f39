"""Up, down and status of whole instances."""

from __future__ import annotations

import contextlib
import shutil
import time
from dataclasses import replace
from pathlib import Path

import cleanup
import controlplane
import node
import preflight
import processes
import programs
from common import Problem, lock, need_root, report, say, seconds, state
from instance import Instance, existing, free_slot, load


def up(wanted: Instance) -> Instance:
    """Bring an instance up: nothing to do, or a fresh start after cleaning what a crash left."""
    if wanted.node:
        need_root("a real node")
    preflight.instance(wanted.node)
    names = (*programs.CONTROL_PLANE, *(programs.NODE if wanted.node else ()))
    packages = dict(programs.PACKAGES_CONTROL_PLANE)
    packages |= programs.PACKAGES_NODE if wanted.node else {}
    programs.build(names, packages, tell_cached=False)
    with lock(wanted.folder, f"another up or down of {wanted.name}"):
        running = load(wanted.name)
        if running and healthy(running):
            return _stay(running, wanted)
        if any(wanted.folder.iterdir()):
            say(f"{wanted.name}: cleaning what is left of an instance that is not well")
            _clean(wanted.folder)
        try:
            settled = _settle(wanted)
        except Problem:
            wanted.folder.rmdir()
            raise
        return _start(settled)


def _settle(wanted: Instance) -> Instance:
    """Find ports; from here on they, and the machine's real node, belong to this instance."""
    with lock(state(), "another up"):
        if wanted.node:
            _only_one_node()
        instance = replace(wanted, slot=free_slot())
        instance.save()
        return instance


def _start(instance: Instance) -> Instance:
    """Start an instance on clean ground."""
    started = time.monotonic()
    say(f"{instance.name}: starting in {instance.folder}")
    if instance.node:
        node.prepare(instance)
    controlplane.up(instance)
    if instance.node:
        node.up(instance)
    programs.links()
    report("up", seconds(started))
    return instance


def _stay(running: Instance, wanted: Instance) -> Instance:
    """It is up already: at most more fake nodes are asked for."""
    if running.node != wanted.node:
        have = "with" if running.node else "without"
        raise Problem(f"{running.name} is up {have} a real node: take it down first")
    say(f"{running.name}: already up")
    if wanted.kwok_nodes > running.kwok_nodes:
        more = replace(running, kwok_nodes=wanted.kwok_nodes)
        controlplane.add_fake_nodes(more, first=running.kwok_nodes)
        more.save()
        return more
    return running


def _only_one_node() -> None:
    """Two kubelets and two kube-proxies would fight over one machine's network."""
    for name in existing():
        other = load(name)
        if other and other.node:
            raise Problem(
                f"instance {name!r} has this machine's real node already, and there can be one "
                f"only. Use it, take it down (down --name {name}), or start with --no-node"
            )


def healthy(instance: Instance) -> bool:
    """Everything that was started is there and says that it is well."""
    names = {"etcd", "apiserver", "controller-manager", "scheduler", "kwok"}
    names |= set(node.COMPONENTS) if instance.node else set()
    found = processes.records(instance.folder)
    return {record.name for record in found} >= names and all(r.healthy() for r in found)


def down(names: list[str]) -> None:
    """Take instances down; those that are not there are no error."""
    if not names:
        say("nothing is up")
    for name in names:
        folder = state() / name
        if not folder.is_dir():
            say(f"{name}: not up")
            continue
        with lock(folder, f"another up or down of {name}"):
            started = time.monotonic()
            if any(folder.iterdir()):
                _clean(folder)
                report(f"{name} down", seconds(started))
            else:  # of one that was killed before it began, or at its end
                say(f"{name}: not up")
            folder.rmdir()
    with contextlib.suppress(OSError):  # other instances live there still
        state().rmdir()
        state().parent.rmdir()


def _clean(folder: Path) -> None:
    """End the processes (nothing in them is worth keeping), clean the machine and the folder."""
    processes.stop(processes.records(folder), grace=0)
    processes.end_unrecorded(folder)
    cleanup.clean(folder)
    (folder / "instance.json").unlink(missing_ok=True)
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name == "before.json"):
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def status(names: list[str]) -> list[dict[str, object]]:
    """One row per component of the instances."""
    rows: list[dict[str, object]] = []
    for name in names:
        for record in processes.records(state() / name):
            is_up = record.healthy()
            rows.append(
                {
                    "instance": name,
                    "component": record.name,
                    "pid": record.pid,
                    "state": "up" if is_up else "not well" if record.alive() else "down",
                    "port": record.port or "",
                    "MiB": record.memory() if record.alive() else "",
                    "log": record.log,
                }
            )
    return rows
