"""Options that several commands share, and how they become a profile."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from orchestrator import log
from orchestrator.errors import InvalidInput, ProfileInvalid
from orchestrator.profile import Profile, parse
from orchestrator.units import parse_size

F = TypeVar("F", bound=Callable[..., Any])


def _size(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    """Read a memory size: 2.5GiB, 512MiB, 24GB."""
    try:
        return None if value is None else parse_size(value)
    except ValueError as e:
        raise click.BadParameter(str(e)) from e


def common(command: F) -> F:
    """Add --json, -v and --log-format."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout."),
        click.option("-v", "--verbose", is_flag=True, help="Events on stderr."),
        click.option(
            "--log-format", type=click.Choice(["text", "json"]), help="Events on stderr, so."
        ),
    ):
        command = option(command)
    return command


def planning(command: F) -> F:
    """Add what shapes a plan."""
    for option in (
        click.option("--profile", "profile_name", metavar="NAME|FILE", help="default, reasoning…"),
        click.option("--placement", type=click.Choice(["auto", "gpu", "split", "cpu", "any"])),
        click.option("--min-tps", type=float, help="Floor in tokens/s off the GPU; 0: none."),
        click.option("--context", type=int, help="Tokens a slot (num_ctx)."),
        click.option("--parallel", type=int, help="Slots of a server that deploy starts."),
        click.option("--max-memory", callback=_size, help="Cap of the budget: 2.5GiB, 24GB."),
        click.option("--allow-licence", is_flag=True, default=None, help="Non-commercial too."),
    ):
        command = option(command)
    return command


def start_log(*, verbose: bool, log_format: str | None) -> None:
    """Listen to events if -v or --log-format asks for it."""
    if verbose or log_format:
        log.listen(as_json=log_format == "json")


def read_profile(name: str | None, flags: dict[str, Any]) -> Profile:
    """Return the profile of that name or file over the default one, then environment and flags."""
    wanted = name or os.environ.get("DEPLOY_PROFILE") or "default"
    path = Path(wanted) if wanted.endswith(".toml") or "/" in wanted else _bundled(wanted)
    default = _bundled("default")
    base = parse(_text(default), "default")
    profile = parse(_text(path), path.stem, base).with_environment(os.environ)
    if profile.catalog:
        profile = profile.override({"catalog": str(path.parent / profile.catalog)}, "profile")
    for key, value in flags.items():
        profile = profile.override({key: value}, f"--{key.replace('_', '-')}")
    return profile


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise ProfileInvalid(f"profile {path}: {e}") from e


def _bundled(name: str) -> Path:
    """Return the file of a bundled profile: beside the package, or inside an installed one."""
    package = Path(__file__).parents[1]
    folders = [package / "profiles", package.parent / "profiles"]
    folder = next((f for f in folders if f.is_dir()), folders[0])
    names = sorted(p.stem for p in folder.glob("*.toml"))
    if name not in names:
        raise ProfileInvalid(
            f"there is no profile {name!r}", hint=f"one of: {', '.join(names)}; or a .toml file"
        )
    return folder / f"{name}.toml"


def read_json(path: str) -> Any:  # noqa: ANN401 - JSON
    """Return the JSON document in a file. Raises InvalidInput."""
    import json

    try:
        return json.loads(Path(path).read_text("utf-8-sig"))
    except OSError as e:
        raise InvalidInput(f"{path}: {e.strerror}", hint="name a file that can be read") from e
    except (ValueError, RecursionError) as e:
        hint = "`deploy probe --json` writes a machine file"
        raise InvalidInput(f"{path} is no JSON: {e}", hint=hint) from e
