"""Models of the Hugging Face hub: fetched by us, checked, and imported by the server."""

from urllib.parse import urlsplit

from orchestrator import log
from orchestrator.catalog import Catalog
from orchestrator.era import ServerVersion
from orchestrator.errors import InvalidInput, ModelUnavailable, SourceCorrupt
from orchestrator.families.known import family_of
from orchestrator.gguf.hub_config import IMPORTED_QUANTIZATIONS
from orchestrator.home import Home
from orchestrator.importing import Destination, check_safetensors
from orchestrator.importing.safetensors import import_safetensors
from orchestrator.model import ModelRef
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

_OTHER_PULL_S = 48 * 3600.0
_MANNERS, _PATIENCE = Manners(), Patience()


class Hub:
    """The hub at HF_ENDPOINT: names with `hf:`, and tags whose repository the catalogue knows.

    `mirror` is the address of another one where that is not set: it gets no token. `store_path` is
    the server's store if it is a folder of this machine. `quantization` is what safetensors become
    whose name says none: Q4_K_M unless told.
    """

    name = "hub"

    def __init__(
        self,
        server: Server,
        home: Home,
        store_path: str | None,
        *,
        quantization: str | None = None,
        manners: Manners = _MANNERS,
        patience: Patience = _PATIENCE,
        catalog: Catalog | None = None,
        mirror: str | None = None,
    ) -> None:
        self.server = server
        self.home = home
        self.store_path = store_path
        self._quantization = quantization
        self._manners = manners
        self._patience = patience
        self._catalog = catalog or Catalog.bundled()
        self._mirror = mirror
        self._plans: dict[str, HubPlan] = {}

    @property
    def address(self) -> str:
        """The host that is asked."""
        return urlsplit(endpoint_of(self._mirror)[0]).netloc

    def name_of(self, tag: str) -> str:
        """See Source.name_of: the server gets it under its final name at once."""
        return self.final(tag)

    def final(self, tag: str) -> str:
        """See Source.final. A name that leaves open which file is meant is looked up in the
        repository: that may raise what `intent` raises.
        """
        if not tag.startswith(PREFIX):
            return str(ModelRef.parse(tag))
        wish = Wish.parse(tag)
        if wish.quantization and tag not in self._plans:
            title = wish.repo.rpartition("/")[2]
            return plain_name(title, wish.quantization, self._catalog)
        return self._plan(tag).name

    def intent(self, tag: str) -> Intent:
        """Return what a pull would do: nothing but metadata moves.

        Raises InvalidInput: this server cannot import it. ModelUnavailable, SourceUnreachable,
        SourceBusy, SourceCorrupt.
        """
        plan = self._plan(tag)
        folder = HubFolder(self.home, plan, self._patience)
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
        folder, store = HubFolder(self.home, plan, self._patience), Store.at(self.store_path)
        for note in plan.notes:
            progress.say(note)
        hub_room.check(
            plan,
            folder.path,
            plan.total_bytes - folder.present_bytes(),
            None if store is None else store.path,
            hub_room.store_needs(plan, store),
        )
        gathered = folder.gather(progress, self._manners)
        try:
            cached = self._import(plan, gathered, progress)
        except SourceCorrupt:  # as the hub has it: to fetch the same bytes again cures nothing
            folder.remove(progress)
            raise
        folder.remove(progress)
        return Pulled(cached=cached, fetched_bytes=gathered.fetched_bytes)

    def _import(self, plan: HubPlan, gathered: Gathered, progress: Progress) -> tuple[str, ...]:
        """Make the model; return the digests of its files that the server had before."""
        version = ServerVersion.parse(self.server.version())
        to = Destination(server=self.server, store=Store.at(self.store_path), version=version)
        files = [gathered.files[file.name] for file in plan.files]
        licence = text_of(gathered.files[plan.licence.name]) if plan.licence else None
        if plan.parts:
            made = given(to, plan.name, files, title=plan.repo, licence=licence, progress=progress)
            return unseen(files, made)
        check_safetensors.check(files)
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
            version = ServerVersion.parse(self.server.version())
            wish, quantization, name = self._asked(tag)
            with repository(wish.repo, revision=wish.revision, mirror=self._mirror) as found:
                _ask_access(found)
                self._plans[tag] = self._planned(found, wish, quantization, version, name)
        return self._plans[tag]

    def _planned(
        self,
        found: Repository,
        wish: Wish,
        quantization: str | None,
        version: ServerVersion,
        name: str | None,
    ) -> HubPlan:
        try:
            return planned(found, wish, quantization, version, self._catalog, name=name)
        except InvalidInput as e:
            if name is None:
                raise
            # A plain tag leaves the source open: another one may have what this one has not.
            raise ModelUnavailable(e.what, hint=e.hint, **e.details) from e

    def _asked(self, tag: str) -> tuple[Wish, str | None, str | None]:
        """Return the repository that a tag means, at which quantization, under which name."""
        if tag.startswith(PREFIX):
            return Wish.parse(tag), self._quantization, None
        candidate = self._catalog.find(tag)
        facts = self._catalog.facts(candidate)
        if not facts.hf_repos or candidate.kind == "base":  # the repositories are of the chat
            raise ModelUnavailable(
                f"the catalogue names no repository of {tag} on the hub",
                hint="name one: deploy pull hf:ORG/REPO",
            )
        repo, kind = facts.hf_repos[0], candidate.quantization
        if kind not in IMPORTED_QUANTIZATIONS:
            raise ModelUnavailable(
                f"{tag} is {kind}, which no import of {repo} makes",
                hint=other_way(repo, self._catalog),
            )
        return Wish(repo=repo, quantization=kind), kind, str(ModelRef.parse(tag))


def _ask_access(found: Repository) -> None:
    """Ask for the largest file: the small ones of a gated repository may be open to anybody."""
    if found.sizes:
        ask_access(found, max(found.sizes, key=lambda file: found.sizes[file]))
