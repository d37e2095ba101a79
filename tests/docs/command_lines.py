"""The `deploy …` command lines on a page, held against click's own commands."""

import re
import shlex
from collections.abc import Iterator

import click

from orchestrator.cli.main import COMMANDS, deploy
from tests.docs.markdown import Code

_COMMAND = re.compile(r"(?:^|[\s$(\"'/])deploy +([^\s`].*)$")
_ENDS = re.compile(r"\s(?:\||&&|;|>|2>|#)|[)`]")
_FLAG = re.compile(r"-{1,2}[A-Za-z][\w-]*")
_PLACEHOLDER = re.compile(r"[A-Z…\[(]")


def lines_of(code: Code) -> Iterator[str]:
    """Yield what follows `deploy` on each line that a reader may type.

    In a block of plain text only what stands behind a prompt is a command, the rest is output.
    """
    for line in code.text.replace("\\\n", " ").splitlines():
        if code.language == "text" and not line.startswith(("$ ", "Usage: ")):
            continue
        if found := _COMMAND.search(line):
            yield _ENDS.split(found[1])[0].strip()


def problems(code: Code) -> list[str]:
    """Return what is wrong with the command lines and flags of one piece of code."""
    found = [p for line in lines_of(code) for p in _wrong(line)]
    if code.language is None and code.text.startswith("-") and not found:
        known = {flag for command in _all() for flag in _flags(command)}
        found = [f"no command has {f}" for f in _FLAG.findall(code.text)[:1] if f not in known]
    return found


def _wrong(line: str) -> list[str]:
    words = shlex.split(line)
    command, path = _walk(words)
    if command is None:
        return [f"deploy {line}: there is no command {path}"]
    given = {word.partition("=")[0] for word in words if _FLAG.match(word)}
    return [f"deploy {line}: {path} has no {flag}" for flag in sorted(given - _flags(command))]


def _walk(words: list[str]) -> tuple[click.Command | None, str]:
    """Return the command that the words name, and how it is called."""
    command: click.Command = deploy
    path = "deploy"
    for word in words:
        if not isinstance(command, click.Group) or _PLACEHOLDER.match(word):
            break
        if word.startswith("-"):
            continue
        path = f"{path} {word}"
        names = COMMANDS if command is deploy else command.commands
        found = command.get_command(click.Context(command), word) if word in names else None
        if found is None and any(isinstance(p, click.Argument) for p in command.params):
            break  # a group that takes a word of its own
        if found is None:
            return None, path
        command = found
    return command, path


def _flags(command: click.Command) -> set[str]:
    return {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"-h", "--help"}


def _all(command: click.Command = deploy) -> Iterator[click.Command]:
    yield command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            if found := command.get_command(context, name):
                yield from _all(found)
