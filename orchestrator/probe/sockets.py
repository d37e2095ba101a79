"""Who listens on a port here, from /proc: sockets are public, their owners not always."""

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from orchestrator.probe.cgroup import read_text

_LISTEN = "0A"
Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket; `pid` is None where its owner is not ours to see."""

    inode: str
    uid: int
    pid: int | None


def listener(port: int, address: Address | None, proc: Path) -> Listener | None:
    """Return who would accept a connection to the address (None: either loopback), or None.

    An exact address wins over a wildcard. Programs named like Ollama are looked through first:
    that finds the owner in a fraction of a millisecond on a box with thousands of processes.
    """
    wanted = [address] if address else [IPv4Address("127.0.0.1"), IPv6Address("::1")]
    accepted = [*wanted, IPv4Address("0.0.0.0"), IPv6Address("::")]  # noqa: S104
    found = [s for s in _listening(proc, port) if s[0] in accepted]
    if not found:
        return None
    _, uid, inode = min(found, key=lambda s: accepted.index(s[0]))
    return Listener(inode, uid, _owner(inode, proc) or _ollama_of(uid, proc))


def processes(proc: Path) -> list[int]:
    """Return all pids that we see, those of programs named like Ollama first."""
    with contextlib.suppress(OSError):
        pids = [int(name) for name in os.listdir(proc) if name.isdigit()]  # noqa: PTH208
        return sorted(pids, key=lambda pid: ("ollama" not in comm(pid, proc), pid))
    return []


def comm(pid: int, proc: Path) -> str:
    """Return the short name of a process, "" where it is gone."""
    return read_text(proc / str(pid) / "comm").strip()


def status(pid: int, proc: Path) -> dict[str, str]:
    """Return the fields of /proc/PID/status: world-readable."""
    rows = (line.partition(":") for line in read_text(proc / str(pid) / "status").splitlines())
    return {key: value.strip() for key, _, value in rows}


def command(pid: int, proc: Path) -> list[str]:
    """Return the arguments of a process, [] where it has none or is gone."""
    return read_text(proc / str(pid) / "cmdline").rstrip("\0").split("\0")


def _listening(proc: Path, port: int) -> Iterator[tuple[Address, int, str]]:
    for table in ("tcp", "tcp6"):
        for line in read_text(proc / "net" / table).splitlines()[1:]:
            fields = line.split()
            if len(fields) < 10 or fields[3] != _LISTEN:
                continue
            address, _, number = fields[1].rpartition(":")
            if int(number, 16) == port:
                yield _address(address), int(fields[7]), fields[9]


def _address(text: str) -> Address:
    """Read an address as the kernel prints it: words of 32 bits in the machine's byte order."""
    raw = bytes.fromhex(text)
    step = -1 if sys.byteorder == "little" else 1
    address = ip_address(b"".join(raw[i : i + 4][::step] for i in range(0, len(raw), 4)))
    return (address.version == 6 and address.ipv4_mapped) or address


def _owner(inode: str, proc: Path) -> int | None:
    target = f"socket:[{inode}]"
    owners = (pid for pid in processes(proc) if target in (_open_files(pid, proc) or ()))
    return next(owners, None)


def _open_files(pid: int, proc: Path) -> set[str] | None:
    """Return what the descriptors of a process lead to; None: not ours to see."""
    folder = proc / str(pid) / "fd"
    found = set()
    try:
        for name in os.listdir(folder):  # noqa: PTH208
            # A descriptor may be closed between the list and the look.
            with contextlib.suppress(FileNotFoundError):
                found.add(os.readlink(folder / name))  # noqa: PTH115
    except OSError:
        return None
    return found


def _ollama_of(uid: int, proc: Path) -> int | None:
    """Return the one Ollama server of a user whose open files we may not read.

    A server whose files we can read is not it, or its socket would have been found; of two that we
    cannot read either may be it.
    """
    found = []
    for pid in processes(proc):
        if "ollama" not in comm(pid, proc):
            break
        owner = status(pid, proc).get("Uid", "").split()[1:2]
        if owner == [str(uid)] and "serve" in command(pid, proc) and _open_files(pid, proc) is None:
            found.append(pid)
    return found[0] if len(found) == 1 else None
