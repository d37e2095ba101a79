"""The command group: finds a command's module when it is called, and ends every failure."""

import errno
import importlib
import json
import os
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click

from orchestrator import __version__, log
from orchestrator.errors import (
    DeployError,
    DiskFull,
    InternalFault,
    Interrupted,
    InvalidInput,
    Terminated,
)

# Name -> (module, help line): the help is printed without importing a single command.
COMMANDS = {
    "auto": ("auto", "Choose, download, load, measure and serve the best model that fits."),
    "bench": ("bench", "Measure decode and prefill rate, TTFT, load time and peak memory."),
    "bundle": ("bundle", "Carry models across an air gap: create, load, show."),
    "catalog": ("catalog", "List what could be deployed, or show all about one model."),
    "doctor": ("doctor", "Say what is wrong with this box, each with its remedy."),
    "env": ("env", "Print what a client needs: base URL, model and a curl line."),
    "estimate": ("estimate", "Predict memory and speed of one model."),
    "explain": ("explain", "Tell why this model, what would change it, and what is so."),
    "history": ("history", "List deployments and bench runs."),
    "plan": ("plan", "Say what would be deployed here, and why nothing larger."),
    "probe": ("probe", "Show the machine: CPU, memory, disk, accelerators, server."),
    "profile": ("profile", "List the profiles, show one with who set what, or check a file."),
    "pull": ("pull", "Download a model and verify every byte; resumes, loses nothing."),
    "receipt": ("receipt", "One redacted page of proof: what was promised, what was measured."),
    "remove": (
        "remove",
        "Take a deployment away: its names, and its download if deploy fetched it.",
    ),
    "report": ("report", "Write one HTML page: what is deployed, why, and what was measured."),
    "rollback": ("rollback", "Go back to the deployment before, at once and without a download."),
    "runbook": ("runbook", "Run what cron runs: watchdog, nightly-bench, refresh."),
    "runtime": ("runtime", "Install, roll back, start, stop and inspect the Ollama server itself."),
    "schema": ("schema", "Print the JSON Schema of an output."),
    "status": ("status", "Say what is deployed and whether it answers."),
    "verify": ("verify", "Say whether the deployment still holds: names, files, memory, a token."),
}


class Group(click.Group):
    """Loads a command's module on demand: `--version` must not pay for an HTTP client."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return every command's name."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of one command."""
        if cmd_name not in COMMANDS:
            from difflib import get_close_matches

            near = get_close_matches(cmd_name, COMMANDS, 1)
            hint = f"did you mean `deploy {near[0]}`?" if near else "see `deploy --help`"
            raise InvalidInput(f"there is no command {cmd_name!r}", hint=hint)
        module = importlib.import_module(f"orchestrator.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, COMMANDS[cmd_name][0])
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in sorted(COMMANDS.items())])


@click.command(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="deploy")
def deploy() -> None:
    """Put the largest DeepSeek-R1 or Qwen model that fits on this box, and prove it."""


def main() -> NoReturn:
    """Run the command line and exit with the documented code."""
    signal.signal(signal.SIGTERM, _terminate)
    if sys.stderr is None:  # closed by the caller: nobody hears, and nothing may fail by it
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - till the end
    wants_json = "--json" in sys.argv[1:]
    try:
        code = deploy.main(standalone_mode=False, prog_name="deploy")
        if sys.stdout:  # None where the caller closed it
            sys.stdout.flush()
    except BaseException as e:  # noqa: BLE001 - every failure ends here, once
        code = _end(e, wants_json=wants_json)
    _leave(code if isinstance(code, int) else 0)


def _leave(code: int) -> NoReturn:
    """Exit; what is still in the buffers of a closed or full stream is let go in silence."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream:
                stream.flush()
    except OSError:
        for number in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    sys.exit(code)


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated("terminated by SIGTERM")


def _end(failure: BaseException, *, wants_json: bool) -> int:
    """Print what went wrong and return the exit code."""
    if isinstance(failure, SystemExit):
        # click makes a 1 of a reader that went away.
        if isinstance(failure.__context__, BrokenPipeError):
            return 0
        return failure.code if isinstance(failure.code, int) else 1
    if isinstance(failure, click.exceptions.Exit):
        return failure.exit_code
    if isinstance(failure, click.exceptions.NoArgsIsHelpError):  # a group by itself
        click.echo(failure.format_message(), err=True)
        return failure.exit_code
    if isinstance(failure, BrokenPipeError):  # the reader went away: `deploy catalog | head`
        return 0
    error = as_deploy_error(failure)
    if error.hint == InvalidInput.remedy:
        error.hint = f"see `{_own_command()} --help`"
    with suppress(OSError):  # the stream may be the fault
        click.echo(f"error: {error.what}\nhint: {error.hint}", err=True)
        log.event("run.failed", code=error.exit_code, error=type(error).__name__)
        if wants_json:
            click.echo(json.dumps(error.to_json()))
    return error.exit_code


def _own_command() -> str:
    """Return the command that was called, without its arguments."""
    called = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    return f"deploy {called}" if called in COMMANDS else "deploy"


def as_deploy_error(failure: BaseException) -> DeployError:
    """Return what a person is told of any failure; a fault of ours leaves a crash file."""
    if isinstance(failure, DeployError):
        return failure
    if isinstance(failure, KeyboardInterrupt | click.exceptions.Abort):
        return Interrupted("interrupted")
    if isinstance(failure, OSError) and failure.errno == errno.ENOSPC:
        where = failure.filename or "standard output"
        return DiskFull(f"no space left on the disk ({where})", hint="free space there, and repeat")
    if isinstance(failure, click.UsageError):
        path = failure.ctx.command_path if failure.ctx else "deploy"
        return InvalidInput(failure.format_message(), hint=f"see `{path} --help`")
    return _fault(failure)


def _fault(failure: BaseException) -> InternalFault:
    """Keep the traceback in a file: a person needs one line, we need all of it."""
    from orchestrator.home import Home

    text = "".join(traceback.format_exception(failure))
    if "-v" in sys.argv or "--verbose" in sys.argv:
        click.echo(text, err=True)
    what = f"a fault of deploy itself: {type(failure).__name__}: {failure}"
    details: dict[str, Any] = {}
    try:
        crash: Path = Home.of(os.environ).state / f"crash-{os.getpid()}.txt"
        crash.parent.mkdir(parents=True, exist_ok=True)
        crash.write_text(f"deploy {__version__}: {sys.argv[1:]}\n{text}", "utf-8")
        what, details = f"{what} (details in {crash})", {"crash_file": str(crash)}
    except OSError:
        pass  # the disk may be the fault; the line on the screen is what remains
    return InternalFault(what, **details)
