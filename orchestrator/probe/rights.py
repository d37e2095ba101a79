"""What a user may do with a file, by the file's mode."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rights:
    """A user's number and all of the groups; None: unknown, and nothing is held against them."""

    uid: int | None = None
    groups: frozenset[int] | None = None

    def allow(self, bits: int, *, mode: int, owner: int, group: int) -> bool:
        """Say whether the user has these rights of a file: 4 to read, 2 to write."""
        if self.uid in (None, 0):
            return True
        if self.uid == owner:
            return mode >> 6 & bits == bits
        if self.groups is None:
            return True
        return (mode >> 3 if group in self.groups else mode) & bits == bits
