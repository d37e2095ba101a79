"""What MODEL means to `deploy pull`, and which sources may deliver it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from orchestrator.errors import InvalidInput
from orchestrator.model import ModelRef
from orchestrator.profile import Profile
from orchestrator.profile.keys import SourceName
from orchestrator.source.hub import PREFIX, Wish
from orchestrator.source.named import HF_HOSTS, MODELSCOPE, MODELSCOPE_HOSTS

Kind = Literal["tag", "hub", "file", "bundle"]
_BUNDLE = re.compile(r"\.(?:tar|bundle)$", re.IGNORECASE)
_REPOSITORIES: dict[str, SourceName] = {
    **dict.fromkeys(HF_HOSTS, "hf-gguf"),
    **dict.fromkeys(MODELSCOPE_HOSTS, "modelscope"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """`name` is a tag in its short form, a name that begins with `hf:`, or a path.

    `sources` are empty for a .gguf file, which is its own.
    """

    kind: Kind
    name: str
    sources: tuple[SourceName, ...]

    @classmethod
    def read(cls, model: str, source: SourceName | None, profile: Profile) -> "Request":
        """Return what was asked for; `source` is the only one that may deliver, if given.

        Raises InvalidInput: no name of a model, no file, or a source that cannot have it.
        """
        if model.startswith(PREFIX):
            return cls._of_hub(Wish.parse(model), model, source, profile)
        if kind := _of_disk(model):
            if source not in ((None, "bundle") if kind == "bundle" else (None,)):
                raise InvalidInput(f"{model} is a file: --source {source} cannot have it")
            return cls(kind=kind, name=model, sources=("bundle",) if kind == "bundle" else ())
        try:
            name = ModelRef.parse(model)
        except ValueError as e:
            raise InvalidInput(
                str(e),
                hint="name a tag of `deploy catalog`, hf:ORG/REPO, a .gguf file or a bundle",
            ) from e
        elsewhere = model.count("/") == 2
        return cls(
            kind="tag", name=str(name), sources=_of_tag(name, source, profile.tried, elsewhere)
        )

    @classmethod
    def _of_hub(
        cls, wish: Wish, model: str, source: SourceName | None, profile: Profile
    ) -> "Request":
        """Return a repository's request: fetched by us, or by the server from a host that has it.

        Raises InvalidInput: the source has no repositories, or takes no revision and no file.
        """
        if source in (None, "hub"):
            return cls(kind="hub", name=model, sources=("hub",))
        hosts = {"hf-gguf": profile.gguf_host, "modelscope": MODELSCOPE}
        if source not in hosts:
            raise InvalidInput(
                f"--source {source} has no repositories of the hub, and {model[:200]} is one",
                hint=f"it may come by --source hub, {', '.join(hosts)}",
            )
        if wish.revision or wish.file:
            raise InvalidInput(
                f"--source {source} takes hf:ORG/REPO:QUANT, no revision and no file",
                hint="--source hub takes both",
            )
        tag = f":{wish.quantization}" if wish.quantization else ""
        return cls(kind="tag", name=f"{hosts[source]}/{wish.repo}{tag}", sources=(source,))


def _of_disk(model: str) -> Kind | None:
    path = Path(model)
    if model.endswith(".gguf"):
        kind: Kind = "file"
    elif _BUNDLE.search(model):
        kind = "bundle"
    else:
        return None
    if not path.exists():
        raise InvalidInput(f"{model}: no such file", hint="name a file that can be read")
    return kind


def _of_tag(
    name: ModelRef,
    source: SourceName | None,
    preferred: Sequence[SourceName],
    elsewhere: bool,  # noqa: FBT001 - a fact of the name
) -> tuple[SourceName, ...]:
    """Return the sources of a tag. A name with the host of a registry is the server's to fetch:
    one of a hub's repositories as from that hub, whose templates are guesses.
    """
    if not elsewhere:
        return (source,) if source else tuple(preferred)
    own = _REPOSITORIES.get(name.host.lower(), "ollama")
    if source not in (None, "ollama", own):
        raise InvalidInput(
            f"{name} names its registry, {name.host}: --source {source} is another",
            hint="leave --source out, or name the tag alone",
        )
    return (source or own,)
