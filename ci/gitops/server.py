"""The lab's web server: git over http (git's own http-backend), packaged charts, Flux's artifacts.

After each push it asks Argo CD to look again, as a webhook of a git host would.
"""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

REFRESH = "argocd.argoproj.io/refresh=normal"
REFRESH_SETS = "argocd.argoproj.io/application-set-refresh=true"


class Handler(http.server.SimpleHTTPRequestHandler):
    """/git/ is handed to git, everything else is files."""

    protocol_version = "HTTP/1.1"
    root: Path

    def do_GET(self) -> None:
        """A file, or what a fetch asks for."""
        if self.path.startswith("/git/"):
            self.ask_git(b"")
        else:
            super().do_GET()

    def do_POST(self) -> None:
        """A fetch or a push."""
        self.ask_git(self.body())
        if self.path.endswith("/git-receive-pack"):
            for kind, annotation in (("applications", REFRESH), ("applicationsets", REFRESH_SETS)):
                kubectl = ["kubectl", "-n", "argocd", "annotate", "--overwrite", "--all"]
                subprocess.run([*kubectl, f"{kind}.argoproj.io", annotation], capture_output=True)

    def body(self) -> bytes:
        """What was sent; git sends large pushes in chunks."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def ask_git(self, body: bytes) -> None:
        """Run git's CGI program, and pass its answer on."""
        asked = urlsplit(self.path)
        env = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.root / "git"),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": asked.path.removeprefix("/git"),
            "QUERY_STRING": asked.query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_ADDR": self.client_address[0],
        }
        done = subprocess.run(["git", "http-backend"], input=body, env=env, capture_output=True)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
        self.send_response(int(fields.pop("Status", "200").split()[0]))
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def main(root: str, port: str) -> None:
    """Serve a folder on loopback until killed."""
    Handler.root = Path(root)
    os.chdir(root)
    http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
