"""A local Kubernetes for machines without one: python3 ci/kubernetes --help."""

from __future__ import annotations

import python_version

python_version.demand()  # before what an older one cannot read

# ruff: noqa: E402
import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import building
import controlplane
import images
import lifecycle
import preflight
import programs
from common import Problem, check_name, say, told
from instance import Instance, existing, load, need


def build(options: argparse.Namespace) -> None:
    """Build the programs into the cache."""
    if options.tiers:
        preflight.tiers(options.tiers.split())
    names, packages = programs.for_tiers((options.tiers or " ".join(programs.TIERS)).split())
    if options.only:
        names, packages = options.only.split(","), dict(programs.PACKAGES_CONTROL_PLANE)
    building.build(names, packages if options.packages else {})
    print(programs.links())


def up(options: argparse.Namespace) -> None:
    """Start an instance."""
    node = options.name == "local" if options.node is None else options.node
    default_nodes = 0 if node else 2
    count = default_nodes if options.kwok_nodes is None else options.kwok_nodes
    if node and options.kubernetes:
        raise Problem("--kubernetes goes without a real node only: add --no-node")
    wanted = Instance(check_name(options.name), 0, node, count, options.kwok_cidr, "")
    audit = options.audit_log or str(wanted.folder / "audit.log")
    wanted = replace(wanted, audit_log=audit, kubernetes=options.kubernetes)
    if not options.images:
        print(lifecycle.up(wanted).kubeconfig)
        return
    if not node:
        raise Problem("--images needs a real node: leave --no-node away")
    names = options.images.split(",")
    programs.unknown(names, images.IMAGES, "image")
    tools = {"kubectl": "kubectl", "helm": programs.demo_helm()}
    done = lifecycle.up_with_images(wanted, names, list(tools.values()))
    told = {
        "kubeconfig": str(done.instance.kubeconfig),
        "images": done.images,
        "path": str(programs.links(tools)),
        "parts": done.rows,
    }
    print(json.dumps(told))


def down(options: argparse.Namespace) -> None:
    """Take an instance, all of them, or the dead ones down."""
    if options.dead:
        if not lifecycle.end_dead():
            say("nothing is dead")
        return
    lifecycle.down(existing() if options.all else [check_name(options.name)])


def status(options: argparse.Namespace) -> int:
    """Show what runs; the exit code says whether all of it is well."""
    names = [options.name] if options.name else existing()
    rows = lifecycle.status(names)
    found = [instance for name in names if (instance := load(name))]
    is_well = bool(found) and all(lifecycle.healthy(instance) for instance in found)
    if options.json:
        print(json.dumps({"healthy": is_well, "components": rows}, indent=2))
        return 0 if is_well else 1
    if not rows:
        print("nothing is up" if not options.name else f"{options.name} is not up")
        return 1
    print_table(rows)
    for instance in found:
        print(f"\n{instance.name}: KUBECONFIG={instance.kubeconfig}")
        try:
            print(controlplane.kubectl(instance, "get", "nodes", timeout=10).rstrip())
        except Problem:
            print("no answer from its API server")
    return 0 if is_well else 1


def print_table(rows: list[dict[str, object]]) -> None:
    """Rows as an aligned table."""
    lines = [list(rows[0])] + [[str(value) for value in row.values()] for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        cells = [f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)]
        print("  ".join(cells).rstrip())


def kubeconfig(options: argparse.Namespace) -> None:
    """Print where the kubeconfig lies."""
    print(need(options.name).kubeconfig)


def env(options: argparse.Namespace) -> None:
    """Print shell lines: eval "$(python3 ci/kubernetes env)"."""
    print(f"export KUBECONFIG={shlex.quote(str(need(options.name).kubeconfig))}")
    print(f'export PATH={shlex.quote(str(programs.links()))}:"$PATH"')


def logs(options: argparse.Namespace) -> int:
    """Show the end of a component's log."""
    folder = need(options.name).folder / "logs"
    known = sorted(file.stem for file in folder.glob("*.log"))
    if options.component not in known:
        raise Problem(f"no component {options.component!r}; there are: {', '.join(known)}")
    words = ["tail", "-n", str(options.lines), *(["-F"] if options.follow else [])]
    return subprocess.call([*words, folder / f"{options.component}.log"])


def image(options: argparse.Namespace) -> None:
    """Build the images, and bring them to where they are wanted."""
    target: images.Target
    if options.load:
        if options.load[0] != "kind":
            raise Problem(f"--load knows kind only, not {options.load[0]}")
        target = images.Kind(options.load[1])
    elif options.push:
        target = images.Registry(options.push)
    elif options.build_only:
        target = images.Nowhere()
    else:
        instance = need(options.name)
        if not instance.node:
            raise Problem(f"instance {instance.name!r} has no real node and needs no images")
        target = images.Node(instance)
    built = images.deliver(options.images or list(images.IMAGES), target)
    print(images.describe(built, options.json))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="ci/kubernetes", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, call: Callable[..., int | None], default: str | None = "local"
    ) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=call.__doc__, description=call.__doc__)
        one.set_defaults(call=call)
        if name != "build":
            about = f"the instance (default: {default or 'all'})"
            one.add_argument("--name", default=default, metavar="NAME", help=about)
        return one

    one = command("build", build)
    known = ", ".join(programs.PROGRAMS)
    which = one.add_mutually_exclusive_group()
    which.add_argument("--only", metavar="A,B", help=f"of: {known}")
    about = f"what the tests of these tiers need (default: all): {' '.join(programs.TIERS)}"
    which.add_argument("--for", dest="tiers", metavar="TIERS", help=about)
    one.add_argument("--no-packages", dest="packages", action="store_false", help="no apt")
    one = command("up", up)
    kind = argparse.BooleanOptionalAction
    one.add_argument("--node", action=kind, help="with a real node (default: only for local)")
    one.add_argument("--kwok-nodes", type=int, metavar="N", help="fake nodes (default: 2 or 0)")
    one.add_argument("--kwok-cidr", default="10.245.0.0/16", metavar="CIDR", help="of fake pods")
    oldest = programs.older("", programs.OLDEST).removeprefix("-")
    about = f"another version of its servers, without a real node: {oldest}"
    choices = ["", oldest]
    one.add_argument("--kubernetes", default="", choices=choices, metavar="VERSION", help=about)
    one.add_argument("--audit-log", metavar="FILE", help="default: audit.log in its folder")
    about = "with these images on the node, and kubectl and Helm; prints JSON"
    one.add_argument("--images", metavar="A,B", help=about)
    one = command("down", down)
    which = one.add_mutually_exclusive_group()
    which.add_argument("--all", action="store_true", help="all instances")
    which.add_argument("--dead", action="store_true", help="those whose processes have all ended")
    command("status", status, None).add_argument("--json", action="store_true")
    command("kubeconfig", kubeconfig)
    command("env", env)
    one = command("logs", logs)
    one.add_argument("component")
    one.add_argument("-n", "--lines", type=int, default=50)
    one.add_argument("-f", "--follow", action="store_true")
    one = command("images", image)
    one.add_argument("images", nargs="*", metavar="IMAGE", help=", ".join(images.IMAGES))
    one.add_argument("--json", action="store_true", help="print names and tags as JSON")
    one.add_argument("--build-only", action="store_true", help="into the cache, to no node")
    one.add_argument("--load", nargs=2, metavar=("kind", "CLUSTER"), help="into a kind cluster")
    one.add_argument("--push", metavar="REGISTRY", help="by docker or podman")
    return top


def main() -> int:
    """Run a command."""
    options = parser().parse_args()
    return told(lambda: options.call(options))


if __name__ == "__main__":
    os.umask(0o022)
    sys.path.insert(0, str(Path(__file__).parent))
    sys.exit(main())
