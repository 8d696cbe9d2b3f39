"""``python -m dask_gitops.cli``: the same as ``dask-gitops``."""

from .main import main

if __name__ == "__main__":
    main()
