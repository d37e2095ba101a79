"""Checks of the Ollama server: there, current, alone, and reachable only by whom it should be."""

from collections.abc import Iterator

from orchestrator.doctor.case import Case
from orchestrator.doctor.check import Check, failed, passed, warned
from orchestrator.era import NEWEST, Era, ServerVersion
from orchestrator.errors import InvalidInput
from orchestrator.machine import ServerState

_DROP_IN = "`systemctl edit ollama`: [Service] Environment={setting}"


def server(case: Case) -> Iterator[Check]:
    """Check the server at OLLAMA_HOST, and that there is no second one."""
    state = case.machine.server
    if case.refusal:
        yield failed("server", case.refusal, "read the server's log, and restart it")
    elif not case.answers:
        yield _silent(case)
    elif not state.local:
        yield _elsewhere(state)
    else:
        yield _version(state)
        yield from _settings(case)
    yield from _company(state, answers=case.answers)


def _silent(case: Case) -> Check:
    host = case.machine.server.host
    if case.holder:
        return failed(
            "server",
            f"{host} is held by {case.holder}, which does not answer as an Ollama server does",
            "stop it where it was started (a stopped one goes on by `kill -CONT`), or set"
            " OLLAMA_HOST to another port",
        )
    if not case.machine.server.local:
        return warned(
            "server",
            f"no Ollama server answers at {host}, which is another machine",
            "start it there, or unset OLLAMA_HOST to use one here",
        )
    return warned(
        "server",
        f"no Ollama server answers at {host}",
        "`deploy auto` starts one, or `deploy runtime start`",
    )


def _elsewhere(state: ServerState) -> Check:
    if state.where is None:
        return warned(
            "server",
            f"the process of Ollama {state.version} at {state.host} cannot be seen from this"
            " account: it may be another user's, or a container's",
            "run deploy as the server's user or as root",
        )
    return failed(
        "server",
        f"Ollama {state.version} at {state.host} runs in a container or on another host: what it"
        " has cannot be seen from here",
        "run deploy inside of it, or plan with `--machine FILE` that describes it",
    )


def _version(state: ServerState) -> Check:
    shown = f"Ollama {state.version} at {state.host}"
    if state.runtime == "embedded":
        return passed("server", f"{shown}, deploy's own runtime for the CPU")
    try:
        outdated = ServerVersion.parse(state.version or "").era is not Era.LLAMA_SERVER
    except InvalidInput:
        outdated = False
    if outdated:
        return warned(
            "server",
            f"{shown} is outdated; {NEWEST} is the newest that deploy knows",
            "upgrade it: curl -fsSL https://ollama.com/install.sh | sh",
        )
    return passed("server", shown)


def _settings(case: Case) -> Iterator[Check]:
    state = case.machine.server
    settings = state.settings
    hidden = state.settings_known is False
    if hidden:
        yield warned(
            "settings",
            f"the settings of pid {state.pid} (user {state.user or 'unknown'}) cannot be read:"
            " plans assume Ollama's defaults",
            "run deploy as that user or as root",
        )
    if settings.listens_everywhere and state.where != "container":
        yield warned(
            "exposure",
            "the server listens on every interface, and Ollama knows no passwords: whoever reaches"
            " the port can use, replace and delete models",
            _DROP_IN.format(setting="OLLAMA_HOST=127.0.0.1")
            + ", and a proxy with a login in front",
        )
    if case.our_proxy and settings.proxy != case.our_proxy and not hidden:
        theirs = settings.proxy or "none"
        yield warned(
            "proxy",
            f"the server downloads through its own proxy ({theirs}), and ours is {case.our_proxy}",
            _DROP_IN.format(setting=f"HTTPS_PROXY={case.our_proxy}"),
        )


def _company(state: ServerState, *, answers: bool) -> Iterator[Check]:
    for other in state.others:
        who = f"pid {other.pid}, user {other.user or 'unknown'} ({other.where})"
        name = f"server {other.pid}"
        if other.host is None:
            what = f"an Ollama server runs here at an address that cannot be seen: {who}"
            yield warned(name, what, "run deploy as its user or as root to see where")
        elif answers and state.pid is not None:
            yield warned(
                name,
                f"a second Ollama server runs here at {other.host}: {who}; both plan with the same"
                " memory",
                "stop the one that is not needed, as its user or through its service",
            )
        else:
            what = f"an Ollama server runs here at another address, {other.host}: {who}"
            yield warned(name, what, f"`export OLLAMA_HOST={other.host}`, if that one is meant")
    if state.orphans:
        pids = ", ".join(map(str, state.orphans))
        yield warned(
            "orphans",
            f"runners without a server hold memory: pid {pids}",
            "`deploy auto` ends them",
        )
