"""A captured /proc: its listening sockets, and the processes that a test adds."""

import os
from pathlib import Path

# 127.0.0.1:11434 as an x86 kernel prints it.
LOOPBACK = "0100007F:2CAA"


class Proc:
    """Below `root`; at first with one socket, at Ollama's port, and without its owner."""

    def __init__(self, root: Path) -> None:
        self.path = root / "proc"
        self.file("net/tcp6", "  sl  local_address\n")
        self.listen(LOOPBACK)

    def file(self, name: str, text: str) -> None:
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def listen(
        self,
        address: str,
        *,
        uid: int = 0,
        table: str = "tcp",
        state: str = "0A",
        of: int | None = None,
    ) -> None:
        """Write the one socket 777 of a table; `of` names the process whose network has it."""
        self.sockets({"777": address}, uid=uid, table=table, state=state, of=of)

    def sockets(
        self,
        addresses: dict[str, str],
        *,
        uid: int = 0,
        table: str = "tcp",
        state: str = "0A",
        of: int | None = None,
    ) -> None:
        """Write a table's sockets by their numbers."""
        queue = "00000000:00000000 00:00000000 00000000"
        rows = [
            f"   0: {address} 00000000:0000 {state} {queue} {uid} 0 {inode} 1\n"
            for inode, address in addresses.items()
        ]
        network = "net" if of is None else f"{of}/net"
        self.file(f"{network}/{table}", "".join(["  sl  local_address\n", *rows]))

    def process(
        self,
        pid: int,
        name: str,
        *arguments: str,
        socket_of: str = "",
        uid: int = 0,
        hidden: bool = False,
        parent: int = 1,
        status: str = "",
        cgroup: str = "",
        environ: dict[str, str] | None = None,
    ) -> None:
        """Add a process; one that is `hidden` is another user's: no files, no environment."""
        self.file(f"{pid}/comm", f"{name}\n")
        self.file(f"{pid}/cmdline", "\0".join([name, *arguments]) + "\0")
        ids = f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n"
        self.file(f"{pid}/status", f"Name:\t{name}\nPPid:\t{parent}\n{ids}{status}")
        if cgroup:
            self.file(f"{pid}/cgroup", f"0::{cgroup}\n")
        if not hidden:
            (self.path / str(pid) / "fd").mkdir()
        if environ is not None:
            self.file(f"{pid}/environ", "".join(f"{k}={v}\0" for k, v in environ.items()))
        if socket_of:
            (self.path / str(pid) / "fd" / "3").symlink_to(f"socket:[{socket_of}]")

    def in_container(self, pid: int, *, address: str, network: str = "docker0") -> None:
        """Put a process into a container: numbers, and a network of its own."""
        self.file(f"{os.getpid()}/status", f"NSpid:\t{os.getpid()}\n")
        own = self.path / str(pid) / "status"
        own.write_text(f"{own.read_text()}NSpid:\t{pid}\t1\n")
        self.file(f"{pid}/net/fib_trie", f"Main:\n     |-- {address}\n  /32 host LOCAL {network}\n")
