"""The command line of ``convert``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

LEFT, UNREADABLE = 3, 2


@click.command(
    epilog="Exit codes: 0 all is carried over, 3 something is not (see standard error), 2 something cannot be read."
)
@click.argument("files", nargs=-1, metavar="FILE...")
@click.option(
    "--live", metavar="NAME", help="A cluster that runs, with its groups and autoscalers."
)
@click.option(
    "--to",
    type=click.Choice(["values", "manifests"]),
    default="values",
    show_default=True,
    help="Values of the chart, or custom resources.",
)
@click.option(
    "--scheduler", metavar="FILE", help="The scheduler's Pod beside a classic worker-spec.yml."
)
@click.option(
    "--name", help="Of the cluster that a worker's Pod, or values of the dask/dask chart, become."
)
@click.option("-n", "--namespace", help="Of the cluster that runs.")
@click.option("--context", help="Of the kubeconfig.")
@click.option("--kubeconfig", metavar="FILE", help="Another one than kubectl's.")
@click.option("--output", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True)
def convert(
    files: tuple[str, ...],
    live: str | None,
    to: str,
    scheduler: str | None,
    name: str | None,
    namespace: str | None,
    context: str | None,
    kubeconfig: str | None,
    output: str,
) -> None:
    """Write what others declare as values or manifests of dask-gitops.

    FILE is a classic worker-spec.yml, manifests of the existing operator, values of the dask/dask
    chart, or - for what is piped in. Comments stay with their keys. What is not carried over is
    listed on standard error, with the reason.
    """
    from .result import ConvertError
    from .running import from_files, from_live, written

    if bool(files) == (live is not None):
        raise click.UsageError("give files, or --live NAME")
    if live is not None and (scheduler or name):
        raise click.UsageError("--scheduler and --name are about files")
    try:
        found, comments = (
            from_files(files, name, scheduler)
            if live is None
            else from_live(live, namespace, context, kubeconfig)
        )
        text, document = written(found, comments, to)
    except ConvertError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(UNREADABLE)
    if output == "json":
        told = [{"what": one.what, "why": one.why} for one in found.left]
        text = json.dumps({to: document, "left": told}, indent=2) + "\n"
    click.echo(text, nl=False)
    for one in found.left:
        click.echo(f"not carried over: {one}", err=True)
    if found.left:
        sys.exit(LEFT)


def read(path: str) -> str:
    """The text of a file; ``-`` is standard input.

    :raises OSError, UnicodeDecodeError: it has none.
    """
    if path == "-":
        return sys.stdin.buffer.read().decode()
    return Path(path).read_text(encoding="utf-8")
