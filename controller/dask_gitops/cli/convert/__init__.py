"""``dask-gitops convert``: what others declare, as values or manifests of ours."""
