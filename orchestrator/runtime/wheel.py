"""One file of a package index, pinned."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Wheel:
    """A wheel. With `size_bytes` the disk is checked before anything is fetched."""

    name: str
    version: str
    sha256: str
    size_bytes: int | None = None

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def requirement(self) -> str:
        """The line of a requirements file that accepts this very file."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}\n"
