"""Python in a pod, one process for many calls: variables, clients and futures live on between them."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ci.demo.shell import Problem

MARK = "\x1e"  # begins a line that is an answer; all other output is the program's own

# Runs in the pod. Code is executed in __main__, so that Dask sends its functions by value.
SERVER = f"""
import json, sys, traceback
for line in sys.stdin:
    call = json.loads(line)
    globals().update(call["values"], result=None)
    try:
        exec(compile(call["code"], "<sent to the pod>", "exec"), globals())
        answer = {{"result": result}}
        text = json.dumps(answer)
    except BaseException as error:
        words = traceback.format_exc().splitlines()
        text = json.dumps({{"error": repr(error), "trace": words[-30:]}})
    print({MARK!r} + text, flush=True)
"""


class RemotePython:
    """A Python process in a pod, at the other end of ``kubectl exec``."""

    def __init__(self, exec_words: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        """
        :param exec_words: the command line up to the pod's command, such as
            ``kubectl exec -i my-pod --``.
        """
        self._process = subprocess.Popen(
            [*exec_words, "python", "-u", "-c", SERVER],
            env=None if env is None else dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.output: list[str] = []  # what the program printed otherwise
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._lines.put(line)
        self._lines.put(None)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def __call__(self, code: str, timeout: float = 120, **values: Any) -> Any:
        """Execute code in the pod; what it left in ``result`` comes back by way of JSON.

        :param values: variables that the code finds.
        :raises Problem: the code raised, the process ended, or the time is over; after the latter two
            the process is of no use any more.
        """
        self.start(code, **values)
        return self.finish(timeout)

    def start(self, code: str, **values: Any) -> None:
        """Begin a call without waiting for it; ``finish`` gets its result."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"code": code, "values": values}) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise Problem(f"the Python process in the pod has ended\n{self.tail()}") from None

    def finish(self, timeout: float = 120) -> Any:
        """The result of the call that was started."""
        end = time.monotonic() + timeout
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                self.close()
                text = f"no answer from the pod within {timeout:.0f} s"
                raise Problem(f"{text}\n{self.tail()}") from None
            if line is None:
                raise Problem(f"the Python process in the pod has ended\n{self.tail()}")
            if not line.startswith(MARK):
                self.output.append(line.rstrip())
                continue
            answer = json.loads(line[1:])
            if "error" in answer:
                raise Problem("\n".join(["in the pod:", *answer["trace"], self.tail()]).rstrip())
            return answer["result"]

    def tail(self) -> str:
        """The last lines that the program printed."""
        return "\n".join(self.output[-15:])

    def close(self) -> None:
        """End the process at this end; the one in the pod ends with its input."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(2)
