"""What a version of Ollama does by itself: three eras of placement, and its defaults.

ESTIMATE: a formula over the header decides (llm/memory.go, removed before 0.12.11).
MEASURED: the runner allocates on trial and reports; Ollama assigns layers (up to 0.24).
LLAMA_SERVER: llama.cpp's own fit decides (0.30 and later).
"""

import re
from dataclasses import dataclass
from enum import Enum
from functools import total_ordering
from typing import Self

from orchestrator.errors import InvalidInput

_NEWEST = (0, 33, 0)


class Era(Enum):
    """Who decides where layers go."""

    ESTIMATE = "estimate"
    MEASURED = "measured"
    LLAMA_SERVER = "llama-server"


@total_ordering
@dataclass(frozen=True, slots=True)
class ServerVersion:
    """A version of Ollama; pre-releases count as their release.

    "0.0.0" is what a build from source calls itself: it is taken for the newest.
    """

    numbers: tuple[int, int, int]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "0.9.3", "v0.33.0-rc2" or "0.30". Raises InvalidInput: no version."""
        found = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", text.strip())
        if not found:
            raise InvalidInput(
                f"{text!r} is not an Ollama version", hint="write it as 0.9.3: --server-version"
            )
        numbers = (int(found[1]), int(found[2]), int(found[3] or 0))
        return cls(numbers if any(numbers) else _NEWEST)

    def __lt__(self, other: "ServerVersion") -> bool:
        return self.numbers < other.numbers

    @property
    def era(self) -> Era:
        """The era of placement that this version belongs to."""
        if self.numbers < (0, 12, 11):
            return Era.ESTIMATE
        return Era.MEASURED if self.numbers < (0, 30, 0) else Era.LLAMA_SERVER

    @property
    def masks_twice(self) -> bool:
        """Whether an f16 copy of the attention mask is kept: llama.cpp as 0.11.5 brought it."""
        return self.numbers >= (0, 11, 5)

    def __str__(self) -> str:
        return ".".join(map(str, self.numbers))


NEWEST = ServerVersion(_NEWEST)
"""The physics that an estimate without a server version assumes."""
