"""``python -m dask_gitops``: run the controller."""

from dask_gitops.main import main

if __name__ == "__main__":
    main()
