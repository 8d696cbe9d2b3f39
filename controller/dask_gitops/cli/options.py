"""What commands have in common: options, exit codes, and how what went wrong is told. Imports click alone."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from dask_gitops import __version__

#: Exit codes that every command has.
CODES = {
    0: "done",
    1: "it could not be done; standard error says why",
    2: "the words of the command line cannot be",
    4: "a fault of dask-gitops itself; please report it",
    130: "interrupted",
}
FAILED, UNUSABLE, FAULT, INTERRUPTED = 1, 2, 4, 130
#: Arguments of Python that errors name, and the options that they are here.
_OPTIONS = {
    "namespace": "--namespace",
    "kubeconfig": "--kubeconfig",
    "context": "--context",
    "n_workers": "--n-workers",
    "scheduler_service_type": "--scheduler-service-type",
    "worker_command": "--worker-command",
    "scheduler_forward_port": "--port",
    "idle_timeout": "--idle-timeout",
    "resources": "--resources",
    "image": "--image",
}


@dataclass(frozen=True, slots=True)
class Where:
    """Which Kubernetes, and where in it.

    :ivar namespace: None: the one that Dask's configuration, the kubeconfig or the Pod names.
    """

    namespace: str | None = None
    context: str | None = None
    kubeconfig: str | None = None


class Unusable(click.ClickException):
    """Words of the command line that cannot be, found before anything was asked: one line."""

    exit_code = UNUSABLE

    def show(self, file: Any = None) -> None:
        complain(f"error: {self.message}")


class Command(click.Command):
    """Tells its exit codes, and whatever goes wrong in one line, without a traceback.

    :ivar codes: what its exit codes mean.
    """

    def __init__(self, *args: Any, codes: dict[int, str] | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.codes = dict(sorted({**CODES, **(codes or {})}.items()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), means) for code, means in self.codes.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:  # whoever read has enough: click knows what to do
            raise
        except KeyboardInterrupt:
            click.echo(err=True)
            ctx.exit(INTERRUPTED)
        except Exception as error:
            code = FAILED if is_told(error) else FAULT
            if code == FAULT:
                from .faults import fault

                words = f"a fault of dask-gitops {__version__}, please report it: {fault(error)}"
            else:
                words = as_options(str(error))
            complain(f"error: {words}")
            ctx.exit(code)


def is_told(error: Exception) -> bool:
    """Does it say in words what a person can do something about?"""
    from dask_gitops.client.errors import DaskGitopsError
    from dask_gitops.kube import CredentialsError, KubeError

    return isinstance(error, DaskGitopsError | KubeError | CredentialsError | OSError)


def as_options(words: str) -> str:
    """What errors say of arguments, for who has options: ``use --namespace`` for ``use namespace=``."""
    for argument, option in _OPTIONS.items():
        words = re.sub(rf"\b{argument}=(?![\w'\"])", option, words)
        words = re.sub(rf"(?<![\w-]){argument}='([^' ]*)'", rf"{option} \1", words)
        words = re.sub(rf"(?m)^{argument}(?= )", option, words)
    return words


def complain(words: str) -> None:
    """To standard error, whatever its encoding is."""
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    click.echo(words.encode(encoding, "replace").decode(encoding), err=True)


def where(function: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say which Kubernetes: the function gets a `Where` as ``where``."""

    def with_where(
        namespace: str | None, context: str | None, kubeconfig: str | None, **more: Any
    ) -> Any:
        if namespace:
            from dask_gitops.client import names

            if not names.is_namespace(namespace):
                raise Unusable(names.namespace_refusal(namespace))
        return function(where=Where(namespace, context, kubeconfig), **more)

    with_where.__doc__ = function.__doc__
    with_where.__name__ = function.__name__
    with_where.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    for option in (
        click.option("--kubeconfig", metavar="FILE", help="Instead of the one that kubectl reads."),
        click.option("--context", metavar="NAME", help="Of the kubeconfig; else its current one."),
        click.option(
            "-n",
            "--namespace",
            metavar="NAME",
            help="Else kubernetes.namespace of Dask's configuration, the context's, or the Pod's own.",
        ),
    ):
        with_where = option(with_where)
    return with_where


def output(*formats: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option ``--output``, of which the first is what counts if it is left out."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help="How it is written.",
    )
