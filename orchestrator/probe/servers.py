"""The other Ollama servers of this box, and runners that outlived theirs."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from orchestrator.errors import InvalidInput
from orchestrator.machine import OtherServer
from orchestrator.probe.forwards import forwards
from orchestrator.probe.server import sees_our_files, where_runs
from orchestrator.runtime.address import parse_host, server_host, split_host
from orchestrator.runtime.listener import Listener, listener_at, listening, open_files
from orchestrator.runtime.proc import PROC, account, comm, command, environ, processes, read_text
from orchestrator.runtime.runner import is_runner
from orchestrator.runtime.strays import strays

_DEFAULT = "http://127.0.0.1:11434"


def other_servers(
    host_url: str, pid_of_ours: int | None, proc: Path = PROC
) -> tuple[OtherServer, ...]:
    """Return every Ollama server on this box but the one that answers at `host_url`.

    Those in containers are among them, as far as the box shows their processes. Never raises.
    """
    found = []
    for pid in processes(proc):
        if "ollama" not in comm(pid, proc):
            break
        if pid != pid_of_ours and serves(command(pid, proc)):
            found.append(_other(pid, proc))
    # Without a process of its own, ours is the one that is reached at the same address.
    ours = _same(host_url) if pid_of_ours is None else None
    return tuple(each for each in found if ours is None or each.host != ours)


def orphans(store: Path | None, proc: Path = PROC) -> tuple[int, ...]:
    """Return the runners of models in that store that no living server owns; () for None."""
    return () if store is None else tuple(stray.pid for stray in strays(store, proc))


def serves(arguments: Sequence[str]) -> bool:
    """Say whether that command line is a server's: `ollama serve`, or `start`, its other name."""
    words = [each for each in arguments[1:] if not each.startswith("-")]
    return not is_runner(arguments) and words[:1] in (["serve"], ["start"])


def _other(pid: int, proc: Path) -> OtherServer:
    env, same = environ(pid, proc), sees_our_files(pid, proc)
    where = where_runs(pid, env, same_namespaces=same, proc=proc)
    elsewhere = where == "container" and not _on_our_network(pid, proc)
    at = _forwarded(pid, env, proc) if elsewhere else _address(pid, env, proc)
    return OtherServer(pid=pid, host=at, user=account(pid, proc)[0], where=where)


def _address(pid: int, env: Mapping[str, str] | None, proc: Path) -> str | None:
    """Return the URL of a server on our network; None: it cannot be seen."""
    if own := _sockets(pid, proc, proc):
        return _same(_url(str(own[0].address), own[0].port))
    if env is not None:
        return _meant(env)
    # Whose open files are hidden has its environment hidden too. Then only the socket's owner is
    # known, who may have other programs that listen: at Ollama's own port it is Ollama.
    hidden = open_files(pid, proc) is None and listener_at(_DEFAULT, proc)
    return _DEFAULT if hidden and hidden.pid == pid else None


def _forwarded(pid: int, env: Mapping[str, str] | None, proc: Path) -> str | None:
    """Return the URL at which this box reaches a container's server; None: no port leads there."""
    own = _sockets(pid, proc, proc / str(pid))
    port = own[0].port if own else split_host(_meant(env or {}) or _DEFAULT)[1]
    network = read_text(f"{proc}/{pid}/net/fib_trie")
    for each in forwards(proc):
        if each.container_port == port and f"-- {each.container}\n" in network:
            return _same(_url(each.host, each.port))
    return None


def _sockets(pid: int, proc: Path, network: Path) -> list[Listener]:
    """Return the sockets that a process itself accepts connections on, [] where hidden."""
    files = open_files(pid, proc) or set()
    return [each for each in listening(network) if f"socket:[{each.inode}]" in files]


def _on_our_network(pid: int, proc: Path) -> bool:
    """Say whether a container was given the network of the box: both have the same addresses."""
    theirs = read_text(f"{proc}/{pid}/net/fib_trie")
    return theirs != "" and theirs == read_text(f"{proc}/net/fib_trie")


def _meant(env: Mapping[str, str]) -> str | None:
    with suppress(InvalidInput):
        return server_host(env)
    return None


def _url(address: str, port: int) -> str:
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


def _same(url: str) -> str | None:
    """Return a URL as every other one is written: loopback for all addresses."""
    with suppress(InvalidInput):
        return parse_host(url)
    return None
