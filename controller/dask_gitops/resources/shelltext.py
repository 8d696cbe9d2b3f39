"""Pure: the commands in a shell text, as far as one must know them to find where a program's name stands.

In one pass, so that the time is linear: a text may come from anybody.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

# Nothing in it is tried twice: repetitions are possessive, and a quote that is never closed reaches to the end.
_TOKEN = re.compile(
    r"""(?P<space>[^\S\n]++|\\\n)
    |(?P<comment>\#[^\n]*+)
    |(?P<word>(?:[^\s;&|()<>'"\\`]++|\\[^\n]|\\\Z|'[^']*+(?:'|\Z)|"(?:[^"\\]++|\\[\s\S]|\\\Z)*+(?:"|\Z))++)
    |(?P<operator><<<|<<-?|>>|>&|<&|>\||&>>?|;;|&&|\|\||[;&|()<>`\n])""",
    re.VERBOSE,
)
_PART = re.compile(r"""'([^']*+)'?|"((?:[^"\\]++|\\[\s\S]|\\\Z)*+)"?|\\([\s\S])|([^'"\\]++)|\\\Z""")
_ESCAPED = re.compile(r'\\(["\\$`])')
_HEREDOC = ("<<", "<<-")
_REDIRECTS = {"<<<", ">>", ">&", "<&", ">|", "&>", "&>>", "<", ">"}

#: The words of one command, and the same as they are written -> what stands for some of them, by index.
Edits = Callable[[Sequence[str], Sequence[str]], dict[int, str]]
Span = tuple[int, int]


def replaced(text: str, edits: Edits) -> str:
    """The text with words of its commands replaced, and nothing else changed."""
    return _Reader(text, edits).read()


def inside(raw: str, change: Callable[[str], str]) -> str:
    """A word that is a shell text itself, changed within its own quotes."""
    mark = raw[:1]
    if mark in ("'", '"') and len(raw) > 1 and raw.endswith(mark) and mark not in raw[1:-1]:
        return mark + change(raw[1:-1]) + mark
    if any(c in raw for c in "'\"\\"):
        return raw  # a patchwork: left alone
    new = change(raw)
    return raw if new == raw else f"'{new}'"


def unquoted(word: str) -> str:
    """What a shell makes of a word, variables left as they are."""

    def part(match: re.Match[str]) -> str:
        single, double, escaped, plain = match.groups()
        if double is not None:
            return _ESCAPED.sub(r"\1", double)
        return next((p for p in (single, escaped, plain) if p is not None), "")

    return _PART.sub(part, word)


class _Reader:
    """:ivar spans: of the words of the present command.
    :ivar outer: commands that go on when the present parenthesis is closed; None: it does not stand within one.
    :ivar pending: (start, end, what stands there) of the commands of one pipeline, which may turn out to be patterns.
    :ivar heredocs: delimiters of the texts that begin with the next line, and whether tabs may stand before them.
    """

    def __init__(self, text: str, edits: Edits) -> None:
        self.text = text
        self.edits = edits
        self.spans: list[Span] = []
        self.outer: list[tuple[str, list[Span] | None]] = []
        self.pending: list[tuple[int, int, str]] = []
        self.done: list[tuple[int, int, str]] = []
        self.heredocs: list[tuple[str, bool]] = []

    def read(self) -> str:
        at, target = 0, ""  # target: the redirection whose file comes next
        while (match := _TOKEN.match(self.text, at)) is not None:
            start, at, kind = at, match.end(), match.lastgroup
            if kind == "word":
                if target in _HEREDOC:
                    self.heredocs.append((unquoted(match[0]), target == "<<-"))
                elif not target:
                    self.spans.append((start, at))
                target = ""
            elif kind == "operator":
                operator = match[0]
                if operator in _REDIRECTS or operator in _HEREDOC:
                    target = operator
                    if self.spans and self.spans[-1][1] == start:
                        self._drop_number()
                    continue
                # <(...) and $(...) stand for a word of the command that they are in.
                within = operator == "(" and self.text[max(0, start - 1) : start] in ("$", "<", ">")
                target = ""
                self._operator(operator, within=within)
                if operator == "\n" and self.heredocs:
                    at = self._past_heredocs(at)
        self._ends("\n")
        return self._written()

    def _drop_number(self) -> None:
        """``2>log``: what seems to be a word is the number of a stream."""
        first, last = self.spans[-1]
        if self.text[first:last].isdecimal():
            self.spans.pop()

    def _operator(self, operator: str, *, within: bool) -> None:
        closes = {")": "(", "`": "`"}.get(operator, "")
        if closes and self.outer and self.outer[-1][0] == closes:
            self._ends(operator)
            _, spans = self.outer.pop()
            self.spans = spans or []
        elif within or operator == "`":
            self.outer.append((operator, self.spans))
            self.spans = []
        elif operator == "(":
            self.spans = []  # else what is before it is the name of a function
            self.outer.append((operator, None))
        elif operator == ")":
            self.spans = []  # patterns of a `case`
            self.pending.clear()
        else:
            self._ends(operator)

    def _ends(self, operator: str) -> None:
        """A command has ended."""
        if self.spans:
            raw = [self.text[a:b] for a, b in self.spans]
            for index, new in self.edits([unquoted(word) for word in raw], raw).items():
                self.pending.append((*self.spans[index], new))
        if operator != "|":
            self.done += self.pending
            self.pending.clear()
        self.spans = []

    def _past_heredocs(self, at: int) -> int:
        """Where the commands go on after the texts that begin here."""
        for delimiter, tabs in self.heredocs:
            while at < len(self.text):
                end = self.text.find("\n", at)
                end = len(self.text) if end < 0 else end
                line = self.text[at:end]
                at = end + 1
                if (line.lstrip("\t") if tabs else line) == delimiter:
                    break
        self.heredocs = []
        return at

    def _written(self) -> str:
        out, at = [], 0
        for start, end, new in sorted(self.done):
            out += [self.text[at:start], new]
            at = end
        return "".join([*out, self.text[at:]])
