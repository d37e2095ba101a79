"""How long work speaks: the rooms say what happens, the command line decides how it looks."""

from contextlib import AbstractContextManager
from typing import Protocol


class Progress(Protocol):
    """Takes what a person should see while something lasts."""

    def say(self, text: str) -> None:
        """Say one line."""

    def tick(self, text: str) -> None:
        """Say where long work is; shown now and then, the newest replaces the one before."""

    def advance(self, label: str, done: int, total: int | None) -> None:
        """Say how many bytes of `total` (None: unknown) are done under `label`."""

    def waiting(self, text: str) -> AbstractContextManager[None]:
        """Keep saying that `text` still lasts, at least every 5 s, while the context is open."""
