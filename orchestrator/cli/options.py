"""Options that several commands share, and how they become a profile."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from orchestrator import log
from orchestrator.errors import InvalidInput, ProfileInvalid
from orchestrator.profile import Profile, parse
from orchestrator.units import parse_duration, parse_memory

F = TypeVar("F", bound=Callable[..., Any])
_MOST_BYTES = 16 * 2**20
_LIST_HINT = "`deploy profile list` names the bundled ones"


def _size(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    """Read a memory size: 2.5GiB, 512MiB, 24GB."""
    try:
        return None if value is None else parse_memory(value)
    except ValueError as e:
        raise click.BadParameter(str(e)) from e


def duration_option(
    _ctx: click.Context, _param: click.Parameter, value: str | None
) -> float | None:
    """Read a duration in seconds: 90s, 5m, 1h."""
    try:
        return None if value is None else parse_duration(value)
    except ValueError as e:
        raise click.BadParameter(str(e)) from e


def rate_option(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    """Read bytes a second: 5MB, 5MB/s, 512KiB."""
    try:
        return None if value is None else parse_memory(value.removesuffix("/s"))
    except ValueError as e:
        raise click.BadParameter(f"{value!r} is no rate: write it as 5MB/s or 512KiB/s") from e


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
    path = profile_path(name or os.environ.get("DEPLOY_PROFILE") or "default")
    profile = profile_in(path).with_environment(os.environ)
    for key, value in flags.items():
        profile = profile.override({key: value}, f"--{key.replace('_', '-')}")
    return profile


def profile_in(path: Path) -> Profile:
    """Return the profile of a file over the default one. A catalogue is named relative to it."""
    default = profile_path("default")
    base = parse(profile_text(default), "default", source=str(default))
    profile = parse(profile_text(path), path.stem, base, source=str(path))
    if profile.catalog:
        return profile.override({"catalog": str(path.parent / profile.catalog)}, "profile")
    return profile


def profile_text(path: Path) -> str:
    """Return the text of a profile. Raises ProfileInvalid: it cannot be read."""
    try:
        return path.read_text("utf-8")
    except OSError as e:
        raise ProfileInvalid(f"{path}: {e.strerror}", hint=_LIST_HINT) from e
    except UnicodeDecodeError as e:
        raise ProfileInvalid(f"{path}: not UTF-8 at byte {e.start}", hint=_LIST_HINT) from e


def profile_path(name: str) -> Path:
    """Return where a profile lies: a .toml file, or the bundled one of that name."""
    if name.endswith(".toml") or "/" in name:
        return Path(name)
    bundled = {path.stem: path for path in bundled_profiles()}
    if name not in bundled:
        from difflib import get_close_matches

        near = get_close_matches(name, bundled, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        hint += f"one of: {', '.join(bundled)}; or a .toml file"
        raise ProfileInvalid(f"there is no profile {name!r}", hint=hint)
    return bundled[name]


def bundled_profiles() -> list[Path]:
    """Return the files of the bundled profiles: beside the package, or inside an installed one."""
    package = Path(__file__).parents[1]
    folders = [package / "profiles", package.parent / "profiles"]
    folder = next((f for f in folders if f.is_dir()), folders[0])
    return sorted(folder.glob("*.toml"))


def _at_once(path: str, flags: int) -> int:
    """Open a file; a pipe that nobody writes to is empty, and is not waited for."""
    a_shells = path.startswith(("/dev/fd/", "/dev/stdin", "/proc/self/fd/"))  # <(command)
    return os.open(path, flags | (0 if a_shells else os.O_NONBLOCK))


def read_json(path: str) -> Any:  # noqa: ANN401 - JSON
    """Return the JSON document in a file. Raises InvalidInput."""
    import json

    try:
        with open(path, "rb", opener=_at_once) as file:
            text = file.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            what = f"{path} has more than {_MOST_BYTES} bytes"
            raise InvalidInput(what, hint="`deploy probe --save FILE` writes a machine file")
        return json.loads(text.decode("utf-8-sig"))
    except OSError as e:
        raise InvalidInput(f"{path}: {e.strerror}", hint="name a file that can be read") from e
    except (ValueError, RecursionError) as e:
        hint = "`deploy probe --json` writes a machine file"
        raise InvalidInput(f"{path} is no JSON: {e}", hint=hint) from e
