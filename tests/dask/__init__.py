"""Tests on a real node: real Dask, with the chart and the controller's image as a user gets them."""
