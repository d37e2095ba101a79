"""The error tree: one exit code and one default remedy a class.

    DeployError 1
    ├── InvalidInput 2      UnknownModel · ProfileInvalid · MachineInvalid · MachineElsewhere ·
    │                       NothingDeployed
    ├── NothingFits 3
    ├── ServerUnreachable 4
    ├── ServerRefused 4     OutOfMemory (RunnerKilled) · RunnerDied
    ├── PullFailed 5        ModelUnavailable · SourceUnreachable · SourceBusy · SourceCorrupt
    ├── DiskFull 6
    ├── PromiseBroken 7
    ├── BenchRegressed 8
    ├── Inconclusive 9
    ├── NodesFailed 10
    ├── CheckFailed 11
    ├── Busy 75
    └── Interrupted 130     Terminated 143 (DeadlinePassed)

Codes are only ever added. docs/exit-codes.md is tested against this file. Foreign exceptions are
mapped to one of these in the module that called the library; only the command line exits.
"""

from typing import Any, ClassVar


def one_line(text: str) -> str:
    """Return a text with what moves a terminal's cursor escaped: a file may have put it there."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class DeployError(Exception):
    """A failure that a person can act on: what happened, and the next command."""

    exit_code: ClassVar[int] = 1
    remedy: ClassVar[str] = "run the same command with -v and report what it prints"

    def __init__(self, what: str, *, hint: str | None = None, **details: Any) -> None:
        super().__init__(what)
        self.what = one_line(what)
        self.hint = one_line(hint or self.remedy)
        self.details = details

    def to_json(self) -> dict[str, Any]:
        """Return the error document that --json prints (schema `error`)."""
        return {
            "schema": 1,
            "error": {
                "code": self.exit_code,
                "name": type(self).__name__,
                "message": self.what,
                "hint": self.hint,
                "details": self.details,
            },
        }


class InternalFault(DeployError):
    """A fault of ours; the traceback lies in the crash file that the message names."""


class InvalidInput(DeployError):
    """A flag, an argument or a file that cannot be what was meant."""

    exit_code = 2
    remedy = "see `deploy --help`"


class UnknownModel(InvalidInput):
    """A tag that no DeepSeek or Qwen model of the catalogue has."""

    remedy = "list the models with `deploy catalog`"


class ProfileInvalid(InvalidInput):
    """A profile with an unknown key, a wrong type or a value out of range."""

    remedy = "compare with the bundled profiles in `profiles/`"


class MachineInvalid(InvalidInput):
    """A machine file that contradicts its schema or itself."""

    remedy = "see `deploy schema machine`; `deploy probe --json` writes a valid one"


class MachineElsewhere(InvalidInput):
    """The server runs where the probe cannot look."""

    remedy = "run deploy on the server's own host, or pass `--machine FILE` that describes it"


class NothingDeployed(InvalidInput):
    """The command speaks of a deployment, and there is none at this server."""

    remedy = "deploy one with `deploy auto`"


class NothingFits(DeployError):
    """No candidate fits this machine and this server."""

    exit_code = 3
    remedy = "lower --context, free memory, or name smaller models: `deploy plan TAG...`"


class ServerUnreachable(DeployError):
    """No Ollama server answers."""

    exit_code = 4
    remedy = "start one with `deploy runtime start`, or set OLLAMA_HOST"


class ServerRefused(DeployError):
    """The Ollama server answered a request with an error."""

    exit_code = 4
    remedy = "read the server's log: `deploy runtime status` says where it is"


class OutOfMemory(ServerRefused):
    """The server could not load the model for want of memory."""

    remedy = "free memory, or plan with less: `deploy plan --max-memory SIZE`"


class RunnerKilled(OutOfMemory):
    """The process that held the model got SIGKILL: most likely the kernel was out of memory."""

    remedy = "see `dmesg` for what was killed; free memory: `deploy plan --max-memory SIZE`"


class RunnerDied(ServerRefused):
    """The process that held the model ended, and nothing says that memory was the reason."""


class PullFailed(DeployError):
    """No source delivered the model."""

    exit_code = 5
    remedy = "name a reachable registry with --registry URL, or other sources in the profile"


class ModelUnavailable(PullFailed):
    """The source answers, and does not have this model."""


class SourceUnreachable(PullFailed):
    """The source does not answer."""


class SourceBusy(PullFailed):
    """The source asks us to come back later (429, 503), or the server must end a pull first."""

    remedy = "repeat in some minutes, or name another registry with --registry URL"


class SourceCorrupt(PullFailed):
    """What the source delivers is not what its own manifest names, twice in a row."""

    remedy = "name another registry with --registry URL, another source, or another model"


class DiskFull(DeployError):
    """The disk that must take the bytes has too few left."""

    exit_code = 6
    remedy = "free space on the disk of the model store, or move it with OLLAMA_MODELS"


class PromiseBroken(DeployError):
    """The deployment does not hold what the plan promised."""

    exit_code = 7
    remedy = "see `deploy history`; `deploy auto` plans again"


class BenchRegressed(DeployError):
    """A benchmark got worse, and an immediate second run confirmed it."""

    exit_code = 8
    remedy = "see `deploy history`"


class Inconclusive(DeployError):
    """The measurement cannot decide: noise, or another client of the server."""

    exit_code = 9
    remedy = "repeat on a quieter box"


class NodesFailed(DeployError):
    """Some nodes of a fleet failed."""

    exit_code = 10
    remedy = "see the row of each failed node"


class CheckFailed(DeployError):
    """`deploy doctor` found something broken; the checks are printed first."""

    exit_code = 11
    remedy = "follow the remedy of each failed check"


class Busy(DeployError):
    """Another run holds the lock."""

    exit_code = 75
    remedy = "wait for the other run to end"


class Interrupted(DeployError):
    """Stopped by the user (SIGINT)."""

    exit_code = 130
    remedy = "run the same command again: finished stages are not repeated"


class Terminated(Interrupted):
    """Stopped by SIGTERM."""

    exit_code = 143


class DeadlinePassed(Terminated):
    """A runbook was not done within its deadline, and ended itself."""

    remedy = "its log says what took so long; run it again: finished stages are not repeated"
