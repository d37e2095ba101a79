"""`deploy profile list|show|check`."""

from pathlib import Path
from typing import Any

import click

from orchestrator.cli.options import (
    bundled_profiles,
    common,
    profile_in,
    profile_path,
    profile_text,
    read_profile,
    start_log,
)
from orchestrator.cli.render import emit, table
from orchestrator.errors import ProfileInvalid
from orchestrator.profile import Mistake, mistakes

INVALID = ProfileInvalid.exit_code


@click.group()
def profile() -> None:
    """Profiles: what a deployment is to be like. List them, show one, check a file."""


@profile.command(name="list")
@common
def list_(as_json: bool, verbose: bool, log_format: str | None) -> None:
    """List the profiles that come with deploy."""
    start_log(verbose=verbose, log_format=log_format)
    found = [(profile_in(path), path) for path in bundled_profiles()]
    rows = [{"name": p.name, "summary": p.summary, "file": str(path)} for p, path in found]
    text = table(([r["name"], r["summary"]] for r in rows), ("profile", "summary"))
    emit({"schema": 1, "profiles": rows}, text, as_json=as_json)


@profile.command()
@click.argument("name", metavar="NAME|FILE", required=False)
@common
def show(name: str | None, as_json: bool, verbose: bool, log_format: str | None) -> None:
    """Show every key of a profile with its value and who set it: file < environment < flag.

    Without a name: the one that DEPLOY_PROFILE names, else default.
    """
    start_log(verbose=verbose, log_format=log_format)
    document = read_profile(name, {}).to_json()
    emit(document, _shown(document), as_json=as_json)


@profile.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@common
def check(files: tuple[str, ...], as_json: bool, verbose: bool, log_format: str | None) -> None:
    """Say everything that is wrong with profiles, by file, line and key. Exit 2: something is."""
    start_log(verbose=verbose, log_format=log_format)
    found = {file: _mistakes(file) for file in files}
    document = {
        "schema": 1,
        "files": [
            {
                "file": file,
                "valid": not wrong,
                "mistakes": [{"line": m.line, "key": m.key, "message": m.message} for m in wrong],
            }
            for file, wrong in found.items()
        ],
    }
    good = "\n".join(f"{file}: good" for file, wrong in found.items() if not wrong)
    if good or as_json:
        emit(document, good, as_json=as_json)
    if not any(found.values()):
        return
    for file, wrong in found.items():
        for mistake in wrong:
            click.echo(f"error: {mistake.at(file)}", err=True)
    click.echo("hint: `deploy profile show` prints every key with its value", err=True)
    raise click.exceptions.Exit(INVALID)


def _mistakes(file: str) -> tuple[Mistake, ...]:
    """Return what is wrong with a file, or with a bundled profile by its name."""
    path = Path(file) if Path(file).is_file() else profile_path(file)
    try:
        return mistakes(profile_text(path))
    except ProfileInvalid as e:
        message = e.what.removeprefix(f"{path}: ")
        return (Mistake(line=None, key=None, message=message),)


def _shown(document: dict[str, Any]) -> str:
    rows = [
        (key, _value(each["value"]), each["origin"]) for key, each in document["values"].items()
    ]
    return f"{document['name']}: {document['summary']}\n\n" + table(
        rows, ("key", "value", "set by")
    )


def _value(value: object) -> str:
    """Return a value the way the file would hold it; what nobody set is a dash."""
    if value is None:
        return "-"
    if isinstance(value, tuple | list):
        if value and isinstance(value[0], tuple | list):
            return " > ".join(", ".join(group) for group in value)
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
