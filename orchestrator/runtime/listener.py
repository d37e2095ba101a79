"""Who listens at an address of this box: sockets are public, their owners not always."""

import contextlib
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from orchestrator.errors import InvalidInput
from orchestrator.runtime.address import parse_host, split_host
from orchestrator.runtime.proc import PROC, comm, command, contained, processes, read_text, status

_LISTEN = "0A"
_LOOPBACK = (IPv4Address("127.0.0.1"), IPv6Address("::1"))
_EVERYWHERE = (IPv4Address("0.0.0.0"), IPv6Address("::"))  # noqa: S104
Address = IPv4Address | IPv6Address


@dataclass(frozen=True, kw_only=True, slots=True)
class Listener:
    """A listening socket; `pid` is None where its owner is not ours to see."""

    address: Address
    port: int
    uid: int = 0
    inode: str = ""
    pid: int | None = None


def listener_pid(url: str) -> int | None:
    """Return the local process that listens at that URL; None: nobody, elsewhere, or hidden."""
    found = listener_at(url)
    return found.pid if found else None


def listener_at(url: str, proc: Path = PROC) -> Listener | None:
    """Return who would accept a connection to that URL; None: nobody here.

    An exact address wins over a wildcard. Programs named like Ollama are looked through first:
    that finds the owner in a fraction of a millisecond on a box with thousands of processes. The
    one Ollama server of a socket's user is its owner even if its open files are hidden.
    """
    if not is_here(url):
        return None
    name, port = _target(url)
    accepting = _accepting(name)
    public = (proc / "net" / "tcp").exists()
    found = listening(proc) if public else _told_by_psutil(port)
    at = [each for each in found if each.port == port and each.address in accepting]
    best = min(at, key=lambda each: accepting.index(each.address), default=None)
    if best is None or not public:
        return best
    return replace(best, pid=_owner(best.inode, proc) or _ollama_of(best.uid, proc))


def is_here(url: str) -> bool:
    """Say whether a URL's host is a loopback address, one of our interfaces' or our name."""
    name, _ = _target(url)
    try:
        address = ip_address(name)
    except ValueError:
        return name in ("localhost", socket.gethostname().lower())
    if address.is_loopback:
        return True
    import psutil

    interfaces = psutil.net_if_addrs().values()
    return str(address) in {a.address.partition("%")[0] for own in interfaces for a in own}


def _target(url: str) -> tuple[str, int]:
    """Return the host and the port that a URL means; ("", 0) for one that means nothing."""
    try:
        return split_host(parse_host(url))
    except InvalidInput:
        return "", 0


def _accepting(name: str) -> Sequence[Address]:
    """Return the addresses whose sockets accept a connection to that host, the best first."""
    try:
        wanted = ip_address(name)
    except ValueError:  # a name of ours
        return (*_LOOPBACK, *_EVERYWHERE)
    # "::" takes IPv4 as well, unless the program asked for IPv6 only: Go's does not.
    return (wanted, *_EVERYWHERE) if wanted.version == 4 else (wanted, _EVERYWHERE[1])


def listening(proc: Path) -> Iterator[Listener]:
    """Yield the sockets that accept connections, owners unsaid, in the network of `proc`.

    /proc/PID is a `proc` as well: it has the sockets that this process could reach.
    """
    for table in ("tcp", "tcp6"):
        for line in read_text(proc / "net" / table).splitlines()[1:]:
            fields = line.split()
            if len(fields) < 10 or fields[3] != _LISTEN:
                continue
            address, _, number = fields[1].rpartition(":")
            with contextlib.suppress(ValueError):  # no line of a kernel's
                yield Listener(
                    address=_address(address),
                    port=int(number, 16),
                    uid=int(fields[7]),
                    inode=fields[9],
                )


def _told_by_psutil(port: int) -> Iterator[Listener]:
    """Yield the sockets where the kernel has no /proc; macOS shows them to root only."""
    import psutil

    with contextlib.suppress(psutil.Error, OSError, RuntimeError):
        for each in psutil.net_connections(kind="tcp"):
            if each.status == psutil.CONN_LISTEN and each.laddr and each.laddr.port == port:
                address = ip_address(each.laddr.ip.partition("%")[0])
                yield Listener(address=address, port=port, pid=each.pid)


def _address(text: str) -> Address:
    """Read an address as the kernel prints it: words of 32 bits in the machine's byte order."""
    raw = bytes.fromhex(text)
    step = -1 if sys.byteorder == "little" else 1
    address = ip_address(b"".join(raw[i : i + 4][::step] for i in range(0, len(raw), 4)))
    return (address.version == 6 and address.ipv4_mapped) or address


def _owner(inode: str, proc: Path) -> int | None:
    target = f"socket:[{inode}]"
    owners = (pid for pid in processes(proc) if target in (open_files(pid, proc) or ()))
    return next(owners, None)


def open_files(pid: int, proc: Path) -> set[str] | None:
    """Return what the descriptors of a process lead to; None: not ours to see."""
    folder = f"{proc}/{pid}/fd"  # thousands of them: a Path each would take most of the time
    found = set()
    try:
        for name in os.listdir(folder):  # noqa: PTH208
            # A descriptor may be closed between the list and the look.
            with contextlib.suppress(FileNotFoundError):
                found.add(os.readlink(f"{folder}/{name}"))  # noqa: PTH115
    except OSError:
        return None
    return found


def _ollama_of(uid: int, proc: Path) -> int | None:
    """Return the one Ollama server of a user whose open files we may not read.

    A server whose files we can read is not it, or its socket would have been found; of two that we
    cannot read either may be it. A socket that Docker forwards is root's, like the server of many
    a container: that one listens in there.
    """
    found = []
    for pid in processes(proc):
        if "ollama" not in comm(pid, proc):
            break
        owner = status(pid, proc).get("Uid", "").split()[1:2]
        serves = owner == [str(uid)] and "serve" in command(pid, proc)
        if serves and open_files(pid, proc) is None and not contained(pid, proc):
            found.append(pid)
    return found[0] if len(found) == 1 else None
