"""``dask-gitops``, also reached as ``dask gitops``: its commands.

``dask`` imports this at each of its starts, so a command imports what it needs when it is called.
"""

from __future__ import annotations

from typing import Any

import click

from dask_gitops import __version__
from dask_gitops.extras import needs

from .convert.command import convert
from .options import Command, Where, output, where

TEXT = output("text", "json")
NAME = click.argument("name")


class _OwnParser(click.Command):
    """Its words go on as they are, ``--help`` and ``--`` too."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.args = args
        return []


@click.group(name="gitops", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dask-gitops")
def gitops() -> None:
    """Dask clusters on Kubernetes, declared as custom resources."""


@gitops.command(
    cls=_OwnParser, add_help_option=False, short_help="What a change would do, before it is merged."
)
@click.pass_context
def plan(ctx: click.Context) -> None:
    """What a change of values or manifests would do, before it is merged."""
    with needs("cli"):
        from .plan.main import main
    main(["plan", *ctx.args])


# ---- looking


@gitops.command("list", cls=Command)
@click.option("-A", "--all-namespaces", is_flag=True, help="Of all namespaces.")
@where
@TEXT
def list_(all_namespaces: bool, where: Where, output: str) -> None:
    """Which clusters there are."""
    from .look import clusters

    clusters(where, all_namespaces, output)


@gitops.command(cls=Command, short_help="How clusters and their groups are, and why.")
@click.argument("name", required=False)
@click.option("-A", "--all-namespaces", is_flag=True, help="Of all namespaces.")
@click.option("-w", "--watch", is_flag=True, help="Show changes as they come, until Ctrl-C.")
@where
@TEXT
def status(name: str | None, all_namespaces: bool, watch: bool, where: Where, output: str) -> None:
    """How clusters and their worker groups are, and why; what is broken comes first.

    NAME is a cluster's name, or namespace/name; all of the namespace if it is left out.
    """
    if watch and output == "json":
        raise click.UsageError("--watch goes with --output text: JSON is one document")
    from .look import status

    status(name, where, all_namespaces, watch, output)


@gitops.command(cls=Command, short_help="What the Pods of a cluster have printed.")
@NAME
@click.option("--scheduler", is_flag=True, help="Of the scheduler.")
@click.option("--worker", "workers", multiple=True, metavar="POD", help="Of this one; repeatable.")
@click.option(
    "-g", "--group", "groups", multiple=True, metavar="NAME", help="Of its workers; repeatable."
)
@click.option("-f", "--follow", is_flag=True, help="Go on, until Ctrl-C or the cluster's end.")
@click.option("-p", "--previous", is_flag=True, help="Of the containers before the last restart.")
@click.option("--tail", type=click.IntRange(min=0), metavar="N", help="The last N lines of each.")
@where
@TEXT
def logs(
    name: str,
    scheduler: bool,
    workers: tuple[str, ...],
    groups: tuple[str, ...],
    follow: bool,
    previous: bool,
    tail: int | None,
    where: Where,
    output: str,
) -> None:
    """What the Pods of a cluster have printed: each line with its Pod, in the order of time.

    NAME is a cluster's name, or namespace/name. Scheduler and workers, unless some are named.
    """
    if follow and output == "json":
        raise click.UsageError("--follow goes with --output text: JSON is one document")
    if follow and previous:
        raise click.UsageError("--follow and --previous: what has ended prints no more")
    from .logs import Wish, logs

    logs(name, Wish(scheduler, workers, groups, previous, tail), follow, where, output)


@gitops.command(
    cls=Command,
    short_help="What may stand between you and a cluster.",
    codes={3: "a check failed"},
)
@click.argument("name", required=False)
@where
@TEXT
@click.pass_context
def doctor(ctx: click.Context, name: str | None, where: Where, output: str) -> None:
    """Look for what may stand between you and a cluster that computes, and say what to do.

    NAME is a cluster's name, or namespace/name. Without one, what needs a scheduler is not checked. It
    changes nothing.
    """
    from .doctor.main import doctor

    if not doctor(name, where, output):
        ctx.exit(3)


@gitops.command("support-bundle", cls=Command, short_help="What somebody who helps needs to see.")
@click.argument("name", required=False)
@click.option("--file", metavar="FILE", help="The archive; a name in this folder if left out.")
@where
@TEXT
def support_bundle(name: str | None, file: str | None, where: Where, output: str) -> None:
    """Write one .tar.gz with objects, Events, logs, versions and what doctor finds, without secrets.

    NAME is a cluster's name, or namespace/name; all of the namespace if it is left out.
    """
    from .bundle.gather import support_bundle

    support_bundle(name, file, where, output)


# ---- reaching

PORT = click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    metavar="PORT",
    help="Of this machine, for the dashboard; any that is free if left out.",
)


@gitops.command(cls=Command, short_help="Lead to the dashboard of a cluster.")
@NAME
@click.option("--no-open", is_flag=True, help="Open no browser.")
@PORT
@where
@TEXT
def dashboard(name: str, no_open: bool, port: int, where: Where, output: str) -> None:
    """Lead to the dashboard of a cluster, print its link and open it, until Ctrl-C.

    NAME is a cluster's name, or namespace/name.
    """
    from .reach import dashboard

    dashboard(name, port, not no_open, where, output)


@gitops.command("port-forward", cls=Command, short_help="Forward ports to a cluster's scheduler.")
@NAME
@PORT
@where
@TEXT
def port_forward(name: str, port: int, where: Where, output: str) -> None:
    """Forward ports of this machine to the scheduler and the dashboard of a cluster, until Ctrl-C.

    NAME is a cluster's name, or namespace/name. A new scheduler is reached at the same ports.
    """
    from .reach import port_forward

    port_forward(name, port, where, output)


# ---- changing


@gitops.command(cls=Command, short_help="Set the number of workers of a group.")
@NAME
@click.argument("n", type=click.IntRange(min=0))
@click.option(
    "-g", "--group", default="default", show_default=True, metavar="NAME", help="Which group."
)
@where
@TEXT
def scale(name: str, n: int, group: str, where: Where, output: str) -> None:
    """Set the number of workers of a group; its autoscaler goes, if it has one.

    NAME is a cluster's name, or namespace/name. Where git declares the number, it says so.
    """
    from .change import scale

    scale(name, n, group, where, output)


@gitops.command(cls=Command)
@NAME
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait until it is gone.",
)
@where
@TEXT
def delete(name: str, yes: bool, timeout: float, where: Where, output: str) -> None:
    """Delete a cluster, and wait until it is gone.

    NAME is a cluster's name, or namespace/name. What Helm, Argo CD or Flux keeps is not deleted.
    """
    from .change import delete

    delete(name, yes, timeout, where, output)


# ---- making


@gitops.group()
def gen() -> None:
    """Write manifests."""


@gen.command(cls=Command)
@click.option("--name", required=True, help="Of the cluster; tokens such as {user} count.")
@click.option("--image", help="Of scheduler and workers; the platform's default if left out.")
@click.option(
    "--n-workers", type=click.IntRange(min=0), help="3, or what Dask's configuration says."
)
@click.option("--resources", metavar="JSON", help='Such as \'{"limits": {"memory": "4Gi"}}\'.')
@click.option("-e", "--env", multiple=True, metavar="NAME=VALUE", help="A variable; repeatable.")
@click.option("--worker-command", help="dask-worker if left out.")
@click.option(
    "--scheduler-service-type",
    type=click.Choice(["ClusterIP", "LoadBalancer", "NodePort"]),
    help="ClusterIP if left out.",
)
@click.option("--idle-timeout", help="Seconds, or '30 minutes', without work before it is deleted.")
@click.option("--jupyter", is_flag=True, default=None, help="Run Jupyter beside the scheduler.")
@output("yaml", "json")
def cluster(output: str, **given: Any) -> None:
    """Write a DaskCluster, as KubeCluster would make it with these arguments."""
    from .gen import cluster

    cluster(given, output)


gitops.add_command(convert)
