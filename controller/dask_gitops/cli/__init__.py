"""The command ``dask-gitops``: what a change would do, before it is merged."""
