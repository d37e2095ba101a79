"""A topic: what people say, what is so, and by which source."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Claim:
    """`said` is the claim as it circulates (a question where nobody claims), `fact` what is so."""

    said: str
    fact: str
    source: str


@dataclass(frozen=True, slots=True)
class Topic:
    """`name` is what `deploy explain NAME` takes; it is never a model's name."""

    name: str
    title: str
    group: str
    claims: tuple[Claim, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the topic of a document (schema `explain`)."""
        return {
            "name": self.name,
            "title": self.title,
            "group": self.group,
            "claims": [{"said": c.said, "fact": c.fact, "source": c.source} for c in self.claims],
        }
