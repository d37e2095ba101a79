"""What a pull would do, told before it does it: `deploy pull --dry-run`."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Intent:
    """One pull that has not happened. Sizes are in bytes; None: the source does not say.

    `name` is the model's name on the server afterwards. Of `total_bytes` in `files` files,
    `present_bytes` lie here already and `download_bytes` come from `host`. `needed_bytes` is what
    each folder must have free, by its path.
    """

    source: str
    name: str
    host: str
    files: int | None
    total_bytes: int | None
    present_bytes: int
    download_bytes: int | None
    needed_bytes: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
