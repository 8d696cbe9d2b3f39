"""The command line of ``convert``."""

from __future__ import annotations

import click

from dask_gitops.cli.options import UNUSABLE, Command, Where, complain, output, where

LEFT = 3


@click.command(
    cls=Command,
    short_help="Write what others declare as values or manifests.",
    codes={
        UNUSABLE: "the words of the command line cannot be, or something cannot be read",
        LEFT: "something is not carried over; standard error says what, and why",
    },
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
@where
@output("yaml", "json")
@click.pass_context
def convert(
    ctx: click.Context,
    files: tuple[str, ...],
    live: str | None,
    to: str,
    scheduler: str | None,
    name: str | None,
    where: Where,
    output: str,
) -> None:
    """Write what others declare as values or manifests of dask-gitops.

    FILE is a classic worker-spec.yml, manifests of the existing operator, values of the dask/dask
    chart, or - for what is piped in. Comments stay with their keys. What is not carried over is
    listed on standard error, with the reason.
    """
    from .result import ConvertError
    from .running import from_files, from_live, shown, written

    if bool(files) == (live is not None):
        raise click.UsageError("give files, or --live NAME")
    if live is not None and (scheduler or name):
        raise click.UsageError("--scheduler and --name are about files")
    try:
        found, comments = (
            from_files(files, name, scheduler) if live is None else from_live(live, where)
        )
        text, document = written(found, comments, to)
    except ConvertError as error:
        complain(f"error: {error}")
        ctx.exit(UNUSABLE)
    click.echo(text if output == "yaml" else shown({to: document}, found), nl=False)
    for one in found.left:
        complain(f"not carried over: {one}")
    if found.left:
        ctx.exit(LEFT)
