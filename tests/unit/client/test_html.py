"""HTML that shows whatever it is given, and obeys none of it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from dask_gitops.client import html
from dask_gitops.client.snapshot import Group, Snapshot

HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "' onmouseover='alert(1)",
    "</div></table><!-- ",
    "&lt;b&gt; &amp; &#60;",
    "{{7*7}} ${x} \\u003cscript\\u003e",
]
TAGS = {"div", "span", "strong", "a", "table", "tr", "th", "td"}
ATTRIBUTES = {"class", "style", "role", "aria-label", "href", "target", "rel"}


class Read(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.words: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS
        assert {name for name, _ in attrs} <= ATTRIBUTES
        self.links += [value or "" for name, value in attrs if name == "href"]
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(decl)


GROUPS = (
    Group("default", 3, 2, (1, 5), "5 for 20 tasks"),
    Group("highmem", None, 0),
)
DEMO = Snapshot("demo", "team", "scheduler ready, 2 of 3 workers", "waiting", GROUPS, "http://d/s")


def test_all_there_is_to_see() -> None:
    read = Read(html.cluster(DEMO))
    text = " ".join(read.words)
    for words in ("demo", "in team", "scheduler ready, 2 of 3 workers", "1 to 5", "5 for 20 tasks"):
        assert words in text
    assert read.links == ["http://d/s"]
    assert text.index("default") < text.index("highmem")


def test_without_autoscalers_nothing_is_said_of_them() -> None:
    words = Read(html.cluster(Snapshot("demo", "team", groups=(Group("default", 1, 1),)))).words
    assert "Autoscaler" not in words
    assert Read(html.cluster(Snapshot("demo", "team"))).links == []


@pytest.mark.parametrize("evil", HOSTILE)
def test_whatever_is_given_is_shown(evil: str) -> None:
    group = Group(evil, 1, 1, (1, 2), evil, evil)
    for made in (
        html.cluster(Snapshot(evil, evil, evil, "good", (group,), f"http://x/{evil}")),
        html.start(evil, [evil, evil], "bad"),
        html.note(evil, "bad"),
    ):
        read = Read(made)
        assert evil in "".join(read.words)
        assert all(link == f"http://x/{evil}" for link in read.links)


@pytest.mark.parametrize(
    ("link", "clickable"),
    [
        ("https://hub/user/a/proxy/8787/status", True),
        ("/user/a/proxy/8787/status", True),
        ("HTTP://d", True),
        ("javascript:alert(1)", False),
        ("JavaScript:alert(1)//http://", False),
        (" javascript:alert(1)", False),
        ("data:text/html,<script>alert(1)</script>", False),
        ("proxy/8787/status", False),
    ],
)
def test_only_links_of_the_web_can_be_clicked(link: str, clickable: bool) -> None:
    read = Read(html.cluster(Snapshot("demo", "team", dashboard=link)))
    assert read.links == ([link] if clickable else [])
    assert link in "".join(read.words)


def luminance(colour: str) -> float:
    """Relative, as WCAG 2 defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("ground", ["#ffffff", "#f5f5f5", "#1e1e1e", "#111111", "#000000"])
def test_states_are_seen_in_light_and_dark_themes(ground: str) -> None:
    for colour in html.COLOURS.values():
        low, high = sorted((luminance(colour), luminance(ground)))
        assert (high + 0.05) / (low + 0.05) >= 3, (colour, ground)


def test_text_takes_the_colours_of_the_theme() -> None:
    made = html.cluster(DEMO) + html.start("demo", ["one"]) + html.note("one", "bad")
    colours = set(re.findall(r"(?<!-)color: ([^;]+);", made))
    assert colours <= {"inherit", *html.COLOURS.values()}
    assert set(re.findall(r"background[-a-z]*: ([^;]+);", made)) <= {"none"}
