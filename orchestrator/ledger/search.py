"""Which rows are wanted, as SQL. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime

DEPLOYMENTS = """
    (:since IS NULL OR at >= :since)
    AND (:model IS NULL OR instr(lower(tag), lower(:model)) OR instr(lower(alias), lower(:model))
        OR instr(lower(json_extract(document, '$.model')), lower(:model)))
"""
"""The condition on rows of `deployments`."""

# What an alias served is found by the alias too, also where a run of it stood alone.
BENCH_RUNS = """
    (:since IS NULL OR b.at >= :since)
    AND (:machine IS NULL OR b.machine = :machine)
    AND (:key IS NULL OR b.key = :key)
    AND (:model IS NULL OR instr(lower(b.model), lower(:model)) OR b.model IN (
        SELECT json_extract(d.document, '$.model') FROM deployments d
        WHERE instr(lower(d.tag), lower(:model)) OR instr(lower(d.alias), lower(:model))))
"""
"""The condition on rows of `bench_runs` as `b`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Filters; None: any. `model` is a part of a tag, of an alias or of a derived name, and case
    does not matter; `machine` a digest; `since` a time with its zone.
    """

    model: str | None = None
    machine: str | None = None
    key: str | None = None
    since: datetime | None = None

    def values(self, limit: int) -> dict[str, object]:
        """Return the values that the conditions name, with the most rows that are wanted."""
        since = self.since and self.since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "model": self.model,
            "machine": self.machine,
            "key": self.key,
            "since": since,
            "limit": limit,
        }
