"""``dask-gitops support-bundle``: what somebody who helps needs to see, without what nobody may see.

`redact` (pure) takes secrets out, `gather` asks and writes the archive.
"""
