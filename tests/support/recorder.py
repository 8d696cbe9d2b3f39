"""Everything that happened to objects of one kind on a real API server, in order, through a watch of kubectl's."""

from __future__ import annotations

import subprocess
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Recorder:
    """What a jsonpath template gave for each object in all namespaces, one text for each change of it.

    :param template: what to note of an object.
    """

    def __init__(self, kubeconfig: str, kind: str, template: str) -> None:
        self._command = [
            "kubectl", "--kubeconfig", kubeconfig, "get", kind, "-A", "--watch", "-o",
            'jsonpath={.metadata.namespace}/{.metadata.name}{" "}' + template + '{"\\n"}',
        ]  # fmt: skip
        self._seen: dict[str, list[str]] = defaultdict(list)

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._thread.join(30)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            name, _, text = line.rstrip("\n").partition(" ")  # kubectl makes columns of tabs
            if self._seen[name][-1:] != [text]:
                self._seen[name].append(text)

    def of(self, namespace: str, name: str) -> list[str]:
        """The texts of one object so far; empty: it was not there yet."""
        return list(self.everything().get(f"{namespace}/{name}", ()))

    def everything(self) -> dict[str, list[str]]:
        """namespace/name -> texts.

        :raises AssertionError: the watch ended, and would be silent for ever.
        """
        if self._process.poll() is not None:
            assert self._process.stderr is not None
            raise AssertionError(f"the watch ended: {self._process.stderr.read()}")
        return dict(self._seen)


@contextmanager
def recording(kubeconfig: str, kind: str, template: str) -> Iterator[Recorder]:
    recorder = Recorder(kubeconfig, kind, template)
    recorder.start()
    try:
        yield recorder
    finally:
        recorder.stop()
