"""``dask-gitops doctor``: what may stand between a person and a cluster that computes.

`gather` asks, `checks` (pure) judge what was found, `main` shows it.
"""
