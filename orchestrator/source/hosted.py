"""GGUF repositories of a hub that answers as Ollama's registry does: HOST/ORG/REPO:QUANT."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from orchestrator import log
from orchestrator.catalog import Catalog
from orchestrator.errors import ModelUnavailable, UnknownModel
from orchestrator.model import ModelRef, registry_address
from orchestrator.progress import Progress
from orchestrator.server import Server
from orchestrator.source import Pulled
from orchestrator.source.manifest import Files
from orchestrator.source.missing import registered
from orchestrator.source.naming import dress
from orchestrator.source.through import STALL_S, Through

T = TypeVar("T")
_IN_FULL = "name a repository in full, {}/ORG/REPO:QUANT, or another source"


class Hosted:
    """The hub at `url`, reached by the server. A tag is looked up in the catalogue.

    The catalogue names GGUF repositories of a model; the quantization of the tag is asked for in
    one after the other. A name in full is that of one repository, and is kept: at one of
    `same_hosts` too, whose repositories this hub mirrors.
    """

    def __init__(
        self,
        server: Server,
        url: str,
        *,
        name: str,
        same_hosts: Sequence[str] = (),
        catalog: Catalog | None = None,
        stall_s: float = STALL_S,
    ) -> None:
        self.server, self.name = server, name
        self.host, self.insecure = registry_address(url)
        self.address = self.host
        self._hosts = {host.lower() for host in (self.host, *same_hosts)}
        self._catalog = catalog or Catalog.bundled()
        self._through = Through(server, self.address, self.insecure, stall_s)

    def name_of(self, tag: str) -> str:
        """See Source.name_of: of several repositories the first; `tag` where there is none."""
        return next(iter(self.long_names(tag)), tag)

    def long_names(self, tag: str) -> tuple[str, ...]:
        """See Renaming.long_names: a name in each repository."""
        try:
            return tuple(map(str, self._remotes(tag)))
        except ModelUnavailable:
            return ()

    def pull(self, tag: str, progress: Progress) -> Pulled:
        """See Source.pull. What the hub guessed of a template gives way to the family's own."""

        def one(remote: ModelRef) -> Pulled:
            return self._pull(remote, ModelRef.parse(tag), progress)

        with log.stage("pull", tag=tag, source=self.address):
            return self._first(tag, one, progress)

    def registered(self, tag: str) -> Files:
        """Return the files behind `tag`. Raises what missing.registered raises."""
        return self._first(tag, lambda remote: registered(remote, insecure=self.insecure))

    def _pull(self, remote: ModelRef, wanted: ModelRef, progress: Progress) -> Pulled:
        theirs = remote != wanted and self.server.find(str(remote)) is not None
        pulled = self._through.fetch(remote, str(wanted), progress)
        dress(self.server, remote, wanted, progress, theirs=theirs)
        return pulled

    def _first(self, tag: str, ask: Callable[[ModelRef], T], progress: Progress | None = None) -> T:
        """Return the answer of the first repository that has the model."""
        remotes, failures = self._remotes(tag), list[ModelUnavailable]()
        for remote in remotes:
            try:
                return ask(remote)
            except ModelUnavailable as e:
                failures.append(e)
                if progress and remote != remotes[-1]:
                    progress.say(f"{e}; trying the next repository")
        if len(failures) == 1:
            raise failures[0]
        raise ModelUnavailable(
            f"no GGUF repository at {self.address} delivers {tag}: "
            + "; ".join(f"{r}: {e}" for r, e in zip(remotes, failures, strict=True)),
            hint=failures[-1].hint,
        )

    def _remotes(self, tag: str) -> list[ModelRef]:
        """Return the repositories to ask, at least one. Raises ModelUnavailable: none is known."""
        asked = ModelRef.parse(tag)
        if asked.host.lower() in self._hosts:
            return [asked.at(self.host)]
        hint = _IN_FULL.format(self.host)
        try:
            candidate = self._catalog.find(tag)
        except UnknownModel as e:
            raise ModelUnavailable(
                f"the catalogue does not say in which repository of {self.address} {tag} lies",
                hint=hint,
            ) from e
        repositories = self._catalog.facts(candidate).gguf_repos
        if candidate.format != "gguf" or not repositories:
            raise ModelUnavailable(
                f"the catalogue knows no GGUF repository of {tag} ({candidate.format})", hint=hint
            )
        split = (repository.split("/", 1) for repository in repositories)
        return [ModelRef(name, candidate.quantization, org, self.host) for org, name in split]
