"""``python -m dask_gitops`` and ``dask-gitops-controller``: run the controller."""

from dask_gitops.extras import needs


def main() -> None:
    """Entry point."""
    with needs("controller"):
        from dask_gitops.main import main as run
    run()


if __name__ == "__main__":
    main()
