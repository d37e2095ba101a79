"""Loads of a model into a new runner, each with where its file was before."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from orchestrator.bench.file_cache import cached_share, evict

if TYPE_CHECKING:
    from orchestrator.server import Server

FileCache = Literal["cold", "warm", "partly", "unknown"]
_WARM, _COLD = 0.95, 0.05
_GONE_S = 15.0
_LOOK_S = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """One load: seconds by our clock and by the server's (None in old versions).

    `file_cache`: "cold", the file was read from its disk; "warm", it was in the kernel's file
    cache; "partly"; "unknown": it cannot be read from here.
    """

    wall_s: float
    load_s: float | None
    file_cache: FileCache


@dataclass(frozen=True, kw_only=True, slots=True)
class Loader:
    """Loads one model of a server. `file` is its weights where we can read them, `gone` says
    whether the process that holds them has ended.
    """

    server: "Server"
    model: str
    options: Mapping[str, object]
    keep_alive: float | str
    file: Path | None
    gone: Callable[[], bool]

    def load(self, *, cold: bool = False) -> Load:
        """Load it into a new runner; `cold`: try to take its file out of the file cache before.

        Raises OutOfMemory, ServerRefused, ServerUnreachable.
        """
        if cold and self.file:
            evict(self.file)
        before = self._file_cache()
        timing = self.server.load(self.model, options=self.options, keep_alive=self.keep_alive)
        return Load(wall_s=timing.wall_s, load_s=timing.load_s, file_cache=before)

    def unload(self) -> None:
        """Take it out of memory, and wait until its process has ended: only then is memory free.

        A runner that stays is no failure of ours; it shows in the next load.
        """
        self.server.unload(self.model)
        self.await_end()

    def await_end(self) -> None:
        """Wait until the process that held it has ended, as far as that can be seen."""
        until = time.monotonic() + _GONE_S
        while not self.gone() and time.monotonic() < until:
            time.sleep(_LOOK_S)

    def _file_cache(self) -> FileCache:
        share = cached_share(self.file) if self.file else None
        if share is None:
            return "unknown"
        if share >= _WARM:
            return "warm"
        return "cold" if share <= _COLD else "partly"
