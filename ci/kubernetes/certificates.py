"""An instance's certificates and kubeconfigs. They live as long as the instance."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from common import run

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Certificates:
    """A certificate authority of its own in one folder, and what it signs."""

    def __init__(self, folder: Path) -> None:
        """Nothing is made yet."""
        self.folder = folder

    def authority(self) -> None:
        """Make the authority, and the key that signs service account tokens."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._request("ca", "/CN=dask-gitops-local", ["basicConstraints=critical,CA:TRUE"], [])
        curve = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        run(["openssl", "genpkey", *curve, "-out", self.key("accounts")])
        run(["openssl", "pkey", "-in", self.key("accounts"), "-pubout", "-out", self.public()])

    def sign(self, name: str, user: str, group: str = "", addresses: tuple[str, ...] = ()) -> None:
        """Make a key and a certificate: of a client, and of a server too when it has addresses."""
        usage = "clientAuth,serverAuth" if addresses else "clientAuth"
        extensions = ["basicConstraints=critical,CA:FALSE", f"extendedKeyUsage={usage}"]
        if addresses:
            kind = {True: "IP", False: "DNS"}
            names = [f"{kind[a.replace('.', '').isdigit()]}:{a}" for a in addresses]
            extensions.append("subjectAltName=" + ",".join(names))
        subject = (f"/O={group}" if group else "") + f"/CN={user}"
        issuer = ["-CA", str(self.crt("ca")), "-CAkey", str(self.key("ca"))]
        self._request(name, subject, extensions, issuer)

    def _request(self, name: str, subject: str, extensions: list[str], issuer: list[str]) -> None:
        """One call of openssl."""
        settings = self.folder / "openssl.cnf"
        settings.write_text("[req]\ndistinguished_name=name\n[name]\n")
        added = [word for extension in extensions for word in ("-addext", extension)]
        files = ["-keyout", self.key(name), "-out", self.crt(name)]
        life = ["-days", "3650"]
        base = ["openssl", "req", "-x509", "-new", "-config", settings, "-subj", subject]
        run([*base, *KEY, *life, *issuer, *added, *files])

    def key(self, name: str) -> Path:
        """A private key's file."""
        return self.folder / f"{name}.key"

    def crt(self, name: str) -> Path:
        """A certificate's file."""
        return self.folder / f"{name}.crt"

    def public(self) -> Path:
        """The public key that verifies service account tokens."""
        return self.folder / "accounts.pub"

    def kubeconfig(self, file: Path, name: str, server: str, context: str) -> None:
        """Write a kubeconfig that holds everything itself, so that it may be copied anywhere."""
        cluster = {"server": server, "certificate-authority-data": _base64(self.crt("ca"))}
        user = {
            "client-certificate-data": _base64(self.crt(name)),
            "client-key-data": _base64(self.key(name)),
        }
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": context, "cluster": cluster}],
            "users": [{"name": context, "user": user}],
            "contexts": [{"name": context, "context": {"cluster": context, "user": context}}],
            "current-context": context,
        }
        file.touch(mode=0o600)
        file.write_text(json.dumps(config, indent=2) + "\n")


def _base64(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()
