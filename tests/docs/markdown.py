"""What a Markdown page shows as code, where it links to, and which of its headings are anchors."""

import re
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^( *)```([\w-]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Code:
    """One piece of code as it stands on a page; `language` is None inside a sentence."""

    text: str
    language: str | None = None


def code_of(text: str) -> list[Code]:
    """Return fenced blocks, then code inside sentences."""
    fenced = [Code(found[3], found[2]) for found in _FENCE.finditer(text)]
    rest = _FENCE.sub("", text)
    return fenced + [Code(" ".join(found[2].split())) for found in _INLINE.finditer(rest)]


def links_of(text: str) -> list[str]:
    """Return the targets of all links outside of code."""
    return _LINK.findall(_INLINE.sub("", _FENCE.sub("", text)))


def anchors_of(text: str) -> set[str]:
    """Return the anchors that GitHub gives the headings."""
    titles = (found[1].lower() for found in _HEADING.finditer(_FENCE.sub("", text)))
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles}


def broken_links(page: Path, text: str) -> list[str]:
    """Return the relative links of a page that lead to no file or no heading."""
    broken = []
    for link in links_of(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        there = target.exists()
        if there and anchor:
            there = anchor in anchors_of(target.read_text("utf-8"))
        if not there:
            broken.append(link)
    return broken
