"""The catalogue: names to candidates, the way the server resolves names."""

import json
from functools import cache, cached_property
from pkgutil import get_data
from typing import Self

from orchestrator.catalog.document import Row, candidates, rows
from orchestrator.catalog.facts import ModelFacts, model_facts
from orchestrator.errors import UnknownModel
from orchestrator.model import Candidate, ModelRef


def _key(name: str) -> str:
    """Return the form in which two names are the same to the server: short, lower case, tagged."""
    return str(ModelRef.parse(name.strip().lower()))


class Catalog:
    """What could be deployed. Immutable; candidates and indexes are built at their first use."""

    def __init__(self, document: Row) -> None:
        self._document = document

    @classmethod
    def bundled(cls) -> "Catalog":
        """Return the catalogue of this version, read once a process."""
        return _bundled()

    @classmethod
    def from_json(cls, document: Row) -> Self:
        """Return the catalogue in a parsed document of the bundled file's format.

        Raises InvalidInput: the document is not one; the message names the JSON path.
        """
        # Here, because the bundled file was checked when it was built: reading it must be quick.
        from orchestrator.catalog.check import check

        check(document)
        return cls(document)

    @cached_property
    def candidates(self) -> tuple[Candidate, ...]:
        """One candidate per distinct file, under all the tags that name it."""
        return tuple(candidates(self._document))

    def find(self, name: str) -> Candidate:
        """Return the file that the server would run under this name.

        Case does not matter, nor does the default registry in front; a missing tag is `latest`.
        Raises UnknownModel: no file has it; the hint holds the nearest names that exist.
        """
        try:
            return self.candidates[self._places[_key(name)]]
        except (KeyError, ValueError):
            from orchestrator.catalog.unknown import unknown_model

            raise unknown_model(name, self.candidates) from None

    def facts(self, candidate: Candidate) -> ModelFacts:
        """Return the provenance of a candidate of this catalogue.

        Raises UnknownModel: it is not of this catalogue.
        """
        place = self._places.get(_key(candidate.tag))
        if place is None:
            raise UnknownModel(f"the catalogue has no {candidate.tag}")
        model, variant = self._rows[place]
        return model_facts(self._document, model, variant)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {
            # Library tags need no parsing: lower case is all that sets them apart from their key.
            tag.lower() if "/" not in tag else _key(tag): place
            for place, candidate in enumerate(self.candidates)
            for tag in candidate.tags
        }

    @cached_property
    def _rows(self) -> tuple[tuple[Row, Row], ...]:
        return tuple(rows(self._document))


@cache
def _bundled() -> Catalog:
    # Not importlib.resources: importing it alone takes longer than this whole file.
    return Catalog(json.loads(get_data(__package__, "models.json") or b"{}"))
