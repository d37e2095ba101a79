"""Where deploy keeps its own things: data that is worth keeping, state, and a lock."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Home:
    """Folders of one user. `data`: runtimes and the ledger; `state`: pid files, logs, locks;
    `cache`: what may be deleted at any time.
    """

    data: Path
    state: Path
    cache: Path

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Self:
        """Return the folders: below DEPLOY_HOME if set, else where the platform keeps them."""
        if root := environ.get("DEPLOY_HOME"):
            base = Path(root).expanduser().absolute()
            return cls(base / "data", base / "state", base / "cache")
        import platformdirs

        dirs = platformdirs.PlatformDirs("deploy", appauthor=False)
        return cls(dirs.user_data_path, dirs.user_state_path, dirs.user_cache_path)

    @property
    def ledger(self) -> Path:
        """The SQLite file with everything that was planned, deployed and measured."""
        return self.data / "ledger.db"

    @property
    def runtimes(self) -> Path:
        """One folder a runtime that we installed."""
        return self.data / "runtimes"
