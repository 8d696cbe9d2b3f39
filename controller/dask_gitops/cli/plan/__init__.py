"""``dask-gitops plan``: what a change of values or manifests would do, before it is merged."""
