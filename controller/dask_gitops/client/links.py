"""Where people find what a scheduler serves."""

from __future__ import annotations

import warnings

from distributed.utils import format_dashboard_link

from dask_gitops.kube import JSON


def dashboard(host: str, port: int) -> str:
    """The dashboard there, as ``distributed.dashboard.link`` writes it."""
    try:
        return str(format_dashboard_link(host, port))
    except KeyError as error:
        warnings.warn(
            f"distributed.dashboard.link names {error}, which the environment does not have",
            stacklevel=3,
        )
        return f"http://{host}:{port}/status"


def jupyter(cluster: JSON, link: str) -> str:
    """Jupyter on the scheduler; "" where it runs none.

    :param cluster: the DaskCluster, raw.
    :param link: of the dashboard.
    """
    spec = (cluster.get("spec") or {}).get("scheduler") or {}
    containers = (spec.get("spec") or {}).get("containers") or []
    if not any("--jupyter" in (each.get("args") or ()) for each in containers):
        return ""
    return link.replace("/status", "/jupyter/lab")
