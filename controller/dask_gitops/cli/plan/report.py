"""The whole answer, as text, Markdown or JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from dask_gitops import status as words

from .subject import Subject

NOTHING, UNWRITTEN, ERROR, DISRUPTIVE, FAULT = range(5)  # exit codes


@dataclass(frozen=True)
class Report:
    """:ivar subjects: who is touched.
    :ivar ignored: how many objects of other kinds were not looked at.
    :ivar empty: neither side declares anything.
    """

    subjects: Sequence[Subject]
    ignored: Counter[str] = field(default_factory=Counter)
    empty: bool = False

    @property
    def disruptive(self) -> bool:
        return any(e.disruptive for s in self.subjects for e in s.effects)

    @property
    def exit_code(self) -> int:
        return DISRUPTIVE if self.disruptive else NOTHING

    def name(self, subject: Subject) -> str:
        """With the namespace where several are told of."""
        several = len({s.namespace for s in self.subjects}) > 1
        name = f"{subject.namespace}/{subject.name}" if several else subject.name
        return f"{subject.kind} {name}"

    @property
    def rest(self) -> str:
        """What else there is to say."""
        found = "nothing else changes" if self.subjects else "nothing changes"
        if self.empty:
            found += ": neither side declares a Dask object"
        if self.ignored:
            number = self.ignored.total()
            some = "1 object" if number == 1 else f"{number} objects"
            found += f"; {some} of other kinds not looked at"
        return found

    @property
    def verdict(self) -> str:
        if self.disruptive:
            return "this restarts a scheduler, or loses work or results"
        return "no scheduler restarts, and no work or result is lost"


def as_text(report: Report) -> str:
    rows = [(report.name(s), line) for s in report.subjects for line in _lines(s)]
    width = max((len(name) for name, _ in rows), default=0)
    lines, last = [], ""
    for name, line in rows:
        lines.append(f"{'' if name == last else name:<{width}}  {line}")
        last = name
    lines.append(report.rest)
    if report.subjects:
        lines.append(report.verdict)
    return "\n".join(lines) + "\n"


def _lines(subject: Subject) -> list[str]:
    return [("! " if e.disruptive else "  ") + e.text for e in subject.effects] + [
        f"  changed: {words.listed(subject.changed)}" for _ in subject.changed[:1]
    ]


def as_markdown(report: Report) -> str:
    mark = ":warning: **" if report.disruptive else ":white_check_mark: **"
    rest = report.rest[0].upper() + report.rest[1:]
    head = f"{mark}Dask: {report.verdict}**" if report.subjects else f"Dask: {report.rest}"
    if not report.subjects:
        return head + "\n"
    lines = [head, "", "| what | happens | changed |", "|---|---|---|"]
    for s in report.subjects:
        effects = "<br>".join(
            f":warning: {_cell(e.text)}" if e.disruptive else _cell(e.text) for e in s.effects
        )
        changed = ", ".join(f"`{_cell(path)}`" for path in s.changed[:4])
        more = f" and {len(s.changed) - 4} more" if len(s.changed) > 4 else ""
        lines.append(f"| {_cell(report.name(s))} | {effects} | {changed}{more} |")
    return "\n".join([*lines, "", f"{rest}."]) + "\n"


def _cell(text: str) -> str:
    """Nothing that means something to Markdown."""
    return text.translate({ord("|"): "\\|", ord("\n"): " ", ord("<"): "&lt;", ord("`"): "'"})


def as_json(report: Report) -> str:
    out = {
        "disruptive": report.disruptive,
        "exitCode": report.exit_code,
        "changes": [
            {
                "kind": s.kind,
                "namespace": s.namespace,
                "name": s.name,
                "changed": s.changed,
                "effects": [
                    {
                        "what": e.what,
                        "text": e.text,
                        "disruptive": e.disruptive,
                        **({} if e.workers is None else {"workers": e.workers}),
                    }
                    for e in s.effects
                ],
            }
            for s in report.subjects
        ],
        "ignored": dict(sorted(report.ignored.items())),
    }
    return json.dumps(out, indent=2) + "\n"


FORMATS: Mapping[str, Callable[[Report], str]] = {
    "text": as_text,
    "markdown": as_markdown,
    "json": as_json,
}
