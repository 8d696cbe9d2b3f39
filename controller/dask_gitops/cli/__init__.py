"""The command ``dask-gitops``: a file for each of its commands, `plan` in a folder of its own."""
