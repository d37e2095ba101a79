"""Write docs/cli.md from the help of every command; --check only says whether it is current.

python docs/generate_cli.py [--check]
"""  # noqa: INP001 - a script beside the pages

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from orchestrator.cli.main import deploy

PAGE = Path(__file__).with_name("cli.md")
_WIDTH = 80
_HEAD = """# Commands

Made by `python docs/generate_cli.py` from the commands themselves; do not edit.
Exit codes: [exit-codes.md](exit-codes.md). Words: [glossary.md](glossary.md).
"""


def commands(
    command: click.Command = deploy, parent: click.Context | None = None
) -> Iterator[tuple[str, str]]:
    """Yield each command's full name and its help, groups before what they hold."""
    name = "deploy" if parent is None else command.name
    context = click.Context(
        command, parent=parent, info_name=name, terminal_width=_WIDTH, max_content_width=_WIDTH
    )
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            if found := command.get_command(context, each):
                yield from commands(found, context)


def page() -> str:
    """Return the text that docs/cli.md must have."""
    parts = [f"\n## {name}\n\n```text\n{text.rstrip()}\n```\n" for name, text in commands()]
    return _HEAD + "".join(parts)


def main(arguments: list[str]) -> int:
    """Write the page, or compare it; return the exit code."""
    wanted = page()
    if "--check" not in arguments:
        PAGE.write_text(wanted, "utf-8")
        return 0
    current = PAGE.exists() and PAGE.read_text("utf-8") == wanted
    if not current:
        click.echo(f"{PAGE.name} is not current: run python docs/generate_cli.py", err=True)
    return 0 if current else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
