"""Why something cannot be used, and what a person can do about it. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """`what` was found, and `remedy` says what to do; None: nothing can be done about it."""

    what: str
    remedy: str | None = None

    @property
    def text(self) -> str:
        """Both in one sentence: the reason that a document and a page show."""
        return f"{self.what}: {self.remedy}" if self.remedy else self.what


def joined(faults: Iterable[Fault], between: str = "; ") -> Fault:
    """Return several faults as one: all that was found, then all that there is to do, once."""
    found = list(faults)
    remedies = dict.fromkeys(each.remedy for each in found if each.remedy)
    return Fault(between.join(each.what for each in found), "; ".join(remedies) or None)
