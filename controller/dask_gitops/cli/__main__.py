"""``python -m dask_gitops.cli``: the same as ``dask-gitops``."""

from .group import gitops

if __name__ == "__main__":
    gitops(prog_name="dask-gitops")
