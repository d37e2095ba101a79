"""Models of the Hugging Face hub: fetched by us, checked, and imported by the server."""

import hashlib
import time
from dataclasses import dataclass, field
from typing import ClassVar

from orchestrator import log
from orchestrator.catalog import Catalog
from orchestrator.era import ServerVersion
from orchestrator.errors import InvalidInput, ModelUnavailable, ServerUnreachable, SourceCorrupt
from orchestrator.families.known import family_of
from orchestrator.gguf.hub_config import IMPORTED_QUANTIZATIONS
from orchestrator.home import Home
from orchestrator.importing import Destination
from orchestrator.importing.safetensors import import_safetensors
from orchestrator.model import ModelRef, Origin
from orchestrator.progress import Progress
from orchestrator.pull import hub_room
from orchestrator.pull.gguf_file import given, unseen
from orchestrator.pull.hub_chat import chat_template, text_of
from orchestrator.pull.hub_files import Gathered, HubFolder
from orchestrator.pull.hub_name import plain_name
from orchestrator.pull.hub_plan import HubPlan, other_way, planned
from orchestrator.runtime import disk
from orchestrator.server import Server
from orchestrator.source import Pulled
from orchestrator.source.hub import (
    PREFIX,
    Repository,
    Wish,
    ask_access,
    endpoint_of,
    repository,
)
from orchestrator.source.intent import Intent
from orchestrator.store import Store
from orchestrator.transfer import Manners, Patience
from orchestrator.transfer.answer import host_of

_OTHER_PULL_S = 48 * 3600.0


@dataclass(slots=True)
class Hub:
    """The hub at HF_ENDPOINT: names with `hf:`, and tags whose repository the catalogue knows.

    `mirror` is the address of another one where that is not set: it gets no token. `store_path` is
    the server's store if it is a folder of this machine. `quantization` is what safetensors become
    whose name says none: Q4_K_M unless told. `called` is what a model with `hf:` is named, in place
    of a name after its repository. `version` is that of a server which is to be started yet.
    """

    server: Server
    home: Home
    store_path: str | None
    quantization: str | None = None
    manners: Manners = field(default_factory=Manners)
    patience: Patience = field(default_factory=Patience)
    catalog: Catalog = field(default_factory=Catalog.bundled)
    mirror: str | None = None
    called: str | None = None
    version: str | None = None
    _plans: dict[str, HubPlan] = field(default_factory=dict, init=False)
    name: ClassVar[str] = "hub"

    @property
    def address(self) -> str:
        """The host that is asked."""
        return host_of(endpoint_of(self.mirror)[0])

    def name_of(self, tag: str) -> str:
        """See Source.name_of: the server gets it under its final name at once."""
        return self.final(tag)

    def final(self, tag: str) -> str:
        """See Source.final. A name that leaves open which file is meant is looked up in the
        repository: that may raise what `intent` raises.
        """
        if not tag.startswith(PREFIX):
            return str(ModelRef.parse(tag))
        if self.called:
            return self.called
        wish = Wish.parse(tag)
        if wish.quantization and tag not in self._plans:
            title = wish.repo.rpartition("/")[2]
            return plain_name(title, wish.quantization, self.catalog)
        return self._plan(tag).name

    def origin(self, tag: str, progress: Progress) -> Origin | None:
        """See Deriving.origin."""
        if not tag.startswith(PREFIX):
            return None
        with progress.waiting(f"asking {self.address} for {tag}"):
            plan = self._plan(tag)
        files = [f"{each.name} {each.digest or plan.commit}" for each in plan.files]
        content = "\n".join((plan.quantization, *sorted(files)))
        return Origin(f"{PREFIX}{plan.repo}", hashlib.sha256(content.encode()).hexdigest())

    def intent(self, tag: str) -> Intent:
        """Return what a pull would do: nothing but metadata moves.

        Raises InvalidInput: this server cannot import it. ModelUnavailable, SourceUnreachable,
        SourceBusy, SourceCorrupt.
        """
        plan = self._plan(tag)
        folder = HubFolder(self.home, plan, self.patience)
        present = folder.present_bytes()
        missing = plan.total_bytes - present
        needed = {str(folder.path): missing}
        if self.store_path:
            needed[self.store_path] = hub_room.store_needs(plan, Store.at(self.store_path))
        return Intent(
            source=self.name,
            name=plan.name,
            host=plan.host,
            files=len(plan.wanted),
            total_bytes=plan.total_bytes,
            present_bytes=present,
            download_bytes=missing,
            needed_bytes=needed,
            notes=(f"{plan.repo} at commit {plan.commit[:12]}", *plan.notes),
        )

    def pull(self, tag: str, progress: Progress) -> Pulled:
        """See Source.pull. Raises InvalidInput too: a name with `hf:` that cannot be imported."""
        with log.stage("pull", tag=tag, source=self.name):
            with progress.waiting(f"asking the hub for {tag}"):
                plan = self._plan(tag)
            before = self.server.find(plan.name)
            lock = self.home.state / "hub" / f"{plan.repo.replace('/', '--')}.lock"
            with disk.locked(
                lock,
                what=f"another pull of {plan.repo}",
                limit_s=_OTHER_PULL_S,
                report=progress.say,
            ):
                if self.server.find(plan.name) != before:  # the other pull was of the same model
                    return Pulled()
                return self._make(plan, progress)

    def _make(self, plan: HubPlan, progress: Progress) -> Pulled:
        folder, store = HubFolder(self.home, plan, self.patience), Store.at(self.store_path)
        for note in plan.notes:
            progress.say(note)
        hub_room.check(
            plan,
            folder.path,
            plan.total_bytes - folder.present_bytes(),
            None if store is None else store.path,
            hub_room.store_needs(plan, store),
        )
        began = time.monotonic()
        gathered = folder.gather(progress, self.manners)
        fetch_s = time.monotonic() - began
        try:
            cached = self._import(plan, gathered, progress)
        except SourceCorrupt:  # as the hub has it: to fetch the same bytes again cures nothing
            folder.remove(progress)
            raise
        folder.remove(progress)
        return Pulled(cached=cached, fetched_bytes=gathered.fetched_bytes, fetch_s=fetch_s)

    def _import(self, plan: HubPlan, gathered: Gathered, progress: Progress) -> tuple[str, ...]:
        """Make the model; return the digests of its files that the server had before."""
        version = ServerVersion.parse(self.server.version())
        to = Destination(server=self.server, store=Store.at(self.store_path), version=version)
        files = [gathered.files[file.name] for file in plan.files]
        licence = text_of(gathered.files[plan.licence.name]) if plan.licence else None
        if plan.parts:
            made = given(to, plan.name, files, title=plan.repo, licence=licence, progress=progress)
            return unseen(files, made)
        family = family_of(
            architecture=plan.architecture,
            chat_template=chat_template(gathered.files),
            name=plan.repo,
        )
        made = import_safetensors(
            to,
            plan.name,
            files,
            quantization=plan.quantization,
            family=family,
            licence=licence,
            progress=progress,
        )
        for note in made.notes:
            progress.say(note)
        return ()  # what it is made of is no file of the model

    def _plan(self, tag: str) -> HubPlan:
        """Return what a tag means at the commit of now: asked once, then it stays that."""
        if tag not in self._plans:
            version = self._version()
            wish, quantization, name = self._asked(tag)
            with repository(wish.repo, revision=wish.revision, mirror=self.mirror) as found:
                _ask_access(found)
                self._plans[tag] = self._planned(found, wish, quantization, version, name)
        return self._plans[tag]

    def _version(self) -> ServerVersion:
        try:
            return ServerVersion.parse(self.server.version())
        except ServerUnreachable:
            if self.version is None:
                raise
            return ServerVersion.parse(self.version)

    def _planned(
        self,
        found: Repository,
        wish: Wish,
        quantization: str | None,
        version: ServerVersion,
        name: str | None,
    ) -> HubPlan:
        try:
            return planned(found, wish, quantization, version, self.catalog, name=name)
        except InvalidInput as e:
            if name in (None, self.called):
                raise
            # A plain tag leaves the source open: another one may have what this one has not.
            raise ModelUnavailable(e.what, hint=e.hint, **e.details) from e

    def _asked(self, tag: str) -> tuple[Wish, str | None, str | None]:
        """Return the repository that a tag means, at which quantization, under which name."""
        if tag.startswith(PREFIX):
            return Wish.parse(tag), self.quantization, self.called
        candidate = self.catalog.find(tag)
        facts = self.catalog.facts(candidate)
        if not facts.hf_repos or candidate.kind == "base":  # the repositories are of the chat
            raise ModelUnavailable(
                f"the catalogue names no repository of {tag} on the hub",
                hint="name one: deploy pull hf:ORG/REPO",
            )
        repo, kind = facts.hf_repos[0], candidate.quantization
        if kind not in IMPORTED_QUANTIZATIONS:
            raise ModelUnavailable(
                f"{tag} is {kind}, which no import of {repo} makes",
                hint=other_way(repo, self.catalog),
            )
        return Wish(repo=repo, quantization=kind), kind, str(ModelRef.parse(tag))


def _ask_access(found: Repository) -> None:
    """Ask for the largest file: the small ones of a gated repository may be open to anybody."""
    if found.sizes:
        ask_access(found, max(found.sizes, key=lambda file: found.sizes[file]))
