"""The profile itself: every preference, and who set it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from orchestrator.errors import InvalidInput, ProfileInvalid
from orchestrator.model import Kind
from orchestrator.profile.keys import SCALARS, PlacementWish, SourceName, checked, read

BUILT_IN = "built in"
_ENVIRONMENT = "DEPLOY_"
DEFAULT_SOURCES: tuple[SourceName, ...] = ("ollama", "hf-gguf", "modelscope")


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """Every preference; sizes in bytes, contexts in tokens a slot, speeds in tokens/s.

    `kinds` are the kinds of models that count unless a tag names one. `sources` empty: see
    `tried`. `limit_rate_bytes` are bytes/s of downloads of ours. `origin` says who set a key: a
    profile, an environment variable or a flag.
    """

    name: str
    summary: str = ""
    families: tuple[tuple[str, ...], ...] = ()
    kinds: tuple[Kind, ...] = ("chat",)
    quantizations: tuple[str, ...] = ()
    context_gpu: int = 8192
    context_cpu: int = 4096
    min_context: int = 0
    context: int | None = None
    parallel: int = 1
    placement: PlacementWish = "auto"
    min_tps: float = 4.0
    max_memory_bytes: int | None = None
    alias: str = "deploy-current"
    keep_alive: float | str = -1
    memory_pass: float = 0.10
    memory_warn: float = 0.25
    validation_s: float = 45.0
    allow_licence: bool = False
    sources: tuple[SourceName, ...] = ()
    registry: str | None = None
    gguf_host: str = "hf.co"
    hub_endpoint: str | None = None
    bundles: str | None = None
    runtime_url: str | None = None
    connections: int = 4
    limit_rate_bytes: int | None = None
    catalog: str | None = None
    fallback: str | None = None
    origin: Mapping[str, str] = field(default_factory=dict)

    @property
    def tried(self) -> tuple[SourceName, ...]:
        """The sources in the order in which they are tried. Whoever names a registry means it."""
        return self.sources or (("mirror",) if self.registry else DEFAULT_SOURCES)

    @property
    def falls_back(self) -> bool:
        """Whether the starter model may be deployed where no source delivers."""
        return self.fallback == "starter" or "starter" in self.sources

    def rank(self, family: str) -> int | None:
        """Return the family's place in the order of preference; None: not wanted."""
        return next((i for i, group in enumerate(self.families) if family in group), None)

    def override(self, values: Mapping[str, Any], origin: str) -> "Profile":
        """Return the profile with every value that is not None set, and its origin noted.

        Raises ProfileInvalid: the origin, the key, the value and what is allowed.
        """
        given = {k: v for k, v in values.items() if v is not None}
        hint = InvalidInput.remedy if origin.startswith("--") else SHOW_HINT
        try:
            values = {k: checked(k, v) for k, v in given.items()}
        except ValueError as e:
            raise ProfileInvalid(f"{origin}: {e}", hint=hint) from e
        noted = {**self.origin, **dict.fromkeys(given, origin)}
        return replace(self, **values, origin=noted)

    def with_environment(self, environ: Mapping[str, str]) -> "Profile":
        """Apply DEPLOY_MIN_TPS, DEPLOY_CONTEXT … Raises ProfileInvalid: a value does not read."""
        result = self
        for key in SCALARS:
            variable = _ENVIRONMENT + key.removesuffix("_bytes").upper()
            if not (text := environ.get(variable)):
                continue
            try:
                value = read(key, text)
            except ValueError as e:
                raise ProfileInvalid(f"{variable}={text}: {e}", hint=SHOW_HINT) from e
            result = result.override({key: value}, variable)
        return result

    def to_json(self) -> dict[str, Any]:
        """Return the document of `deploy profile show`: each key with its value and who set it."""
        keys = [f.name for f in fields(self) if f.name not in ("name", "summary", "origin")]
        return {
            "schema": 1,
            "name": self.name,
            "summary": self.summary,
            "values": {
                key: {"value": getattr(self, key), "origin": self.origin.get(key, BUILT_IN)}
                for key in keys
            },
        }


SHOW_HINT = "`deploy profile show` prints every key with its value"
