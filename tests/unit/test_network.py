"""Two networks on one machine do not meet."""

from __future__ import annotations

import socket
import threading

import pytest

from tests.support.network import first_network, own_network


def listening(host: str, port: int = 0) -> socket.socket:
    server = socket.create_server((host, port))
    server.settimeout(10)
    return server


def test_the_same_port_twice() -> None:
    with listening("127.0.0.1") as outside:
        port = outside.getsockname()[1]
        with own_network():
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), timeout=10)
            with first_network(), socket.create_connection(("127.0.0.1", port), timeout=10):
                pass
            with listening("0.0.0.0", port) as inside:
                reached = []
                thread = threading.Thread(
                    target=lambda: reached.append(socket.create_connection(("127.64.0.1", port)))
                )
                thread.start()
                connection, _ = inside.accept()
                thread.join()
                connection.close()
                reached[0].close()
        with socket.create_connection(("127.0.0.1", port), timeout=10):
            pass  # back where it was
