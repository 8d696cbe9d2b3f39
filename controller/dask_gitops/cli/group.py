"""``dask-gitops``, also reached as ``dask gitops``: its commands.

``dask`` imports this at each of its starts, so a command imports what it needs when it is called.
"""

from __future__ import annotations

import click

from dask_gitops import __version__
from dask_gitops.extras import needs


class _OwnParser(click.Command):
    """Its words go on as they are, ``--help`` and ``--`` too."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.args = args
        return []


@click.group(name="gitops", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dask-gitops")
def gitops() -> None:
    """Dask clusters on Kubernetes, declared as custom resources."""


@gitops.command(cls=_OwnParser, add_help_option=False)
@click.pass_context
def plan(ctx: click.Context) -> None:
    """What a change of values or manifests would do, before it is merged."""
    with needs("cli"):
        from .plan.main import main
    main(["plan", *ctx.args])
