"""An HTTP server of our own inside the user's scheduler, ahead of `control.py` in the shipped text (see `source.py`).

On a port of its own, so that no route, prefix or address of the dashboard matters to it, and nothing that exposes the
dashboard exposes it. It imports next to nothing: with a Dask in which the rest cannot be loaded, it still answers the
probes, as that scheduler is a healthy one. Under the same rules as `control.py`.
"""

import logging
import os

from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler

SERVERS = []


class Health(RequestHandler):
    def get(self):
        self.finish("ok")


def listen(routes=()):
    """Answer these routes, and probes. Never raises."""
    try:
        quiet = {"log_function": lambda handler: None}  # a probe comes every second
        server = HTTPServer(Application([("/health", Health), *routes], **quiet))
        server.listen(int(os.environ["SCHEDULER_CONTROL_PORT"]))
        SERVERS.append(server)
    except Exception:
        logging.getLogger("distributed.scheduler.control").exception("Nothing answers the probes")


def dask_setup(scheduler):
    """Called by dask, unless `control.py` brings another one."""
    listen()
