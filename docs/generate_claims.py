"""Write docs/claims.md from the topics of `deploy explain`; --check says whether it is current.

python docs/generate_claims.py [--check]
"""  # noqa: INP001 - a script beside the pages

import sys
import textwrap
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import click

from orchestrator.explain.topics import Topic, all_topics

PAGE = Path(__file__).with_name("claims.md")
_WIDTH = 100
_HEAD = """# Claims, checked

Made by `python docs/generate_claims.py` from what `deploy explain TOPIC` says; do not edit.

What circulates about deploying DeepSeek and Qwen, and what is so. Sizes, windows and licences are
computed from the catalogue. `deploy explain topics` lists the topics; each adds what it means on
the machine at hand. A tag that does not exist is refused with exit code 2 before anything else
happens.
"""


def page() -> str:
    """Return the text that docs/claims.md must have."""
    groups = groupby(all_topics(), key=lambda topic: topic.group)
    return _HEAD + "".join(
        f"\n## {group}\n" + "".join(map(_section, topics)) for group, topics in groups
    )


def _section(topic: Topic) -> str:
    return f"\n### {topic.title}\n\n`deploy explain {topic.name}`\n\n" + "".join(_items(topic))


def _items(topic: Topic) -> Iterator[str]:
    for claim in topic.claims:
        text = f"**“{claim.said}”** {claim.fact} *Source: {claim.source}.*"
        yield (
            textwrap.fill(
                text,
                _WIDTH,
                initial_indent="- ",
                subsequent_indent="  ",
                break_long_words=False,
                break_on_hyphens=False,
            )
            + "\n"
        )


def main(arguments: list[str]) -> int:
    """Write the page, or compare it; return the exit code."""
    wanted = page()
    if "--check" not in arguments:
        PAGE.write_text(wanted, "utf-8")
        return 0
    current = PAGE.exists() and PAGE.read_text("utf-8") == wanted
    if not current:
        click.echo(f"{PAGE.name} is not current: run python docs/generate_claims.py", err=True)
    return 0 if current else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
