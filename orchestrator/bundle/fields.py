"""Reading a JSON document field by field: what is wrong is said with its JSON path."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import InvalidInput

HINT = "make the bundle again with `deploy bundle create`"


@dataclass(frozen=True, slots=True)
class Field:
    """A value and where it stands: "$.models[0].name" of the document `source`."""

    source: str
    path: str
    value: Any

    def wrong(self, what: str) -> InvalidInput:
        """Return the error for this value; `what` is a part of a sentence."""
        return InvalidInput(f"{self.source}: {self.path} {what}", hint=HINT, path=self.path)

    def __getitem__(self, key: str) -> "Field":
        if not isinstance(self.value, dict):
            raise self.wrong("is no object")
        if key not in self.value:
            raise Field(self.source, f"{self.path}.{key}", None).wrong("is missing")
        return Field(self.source, f"{self.path}.{key}", self.value[key])

    def __iter__(self) -> Iterator["Field"]:
        if not isinstance(self.value, list):
            raise self.wrong("is no array")
        for place, each in enumerate(self.value):
            yield Field(self.source, f"{self.path}[{place}]", each)

    @property
    def present(self) -> bool:
        """Whether it is something else than null."""
        return self.value is not None

    def text(self, form: "re.Pattern[str] | None" = None) -> str:
        """Return a text, of that form."""
        if not isinstance(self.value, str):
            raise self.wrong("is no text")
        if form is not None and not form.fullmatch(self.value):
            raise self.wrong(f"is {self.value[:200]!r}, which cannot be meant")
        return self.value

    def whole(self, most: int = 2**53) -> int:
        """Return a whole number from 0 to `most`."""
        if type(self.value) is not int:
            raise self.wrong("is no whole number")
        if not 0 <= self.value <= most:
            raise self.wrong(f"is {self.value}, which cannot be meant")
        return self.value

    def flag(self) -> bool:
        """Return true or false."""
        if not isinstance(self.value, bool):
            raise self.wrong("is neither true nor false")
        return self.value
