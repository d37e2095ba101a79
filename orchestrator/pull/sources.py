"""The sources of a profile, made for one server, in the order in which they are tried."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from orchestrator.errors import InvalidInput
from orchestrator.order import Order
from orchestrator.profile.keys import SourceName
from orchestrator.pull.registered import Registered
from orchestrator.pull.request import Request
from orchestrator.server import Server
from orchestrator.source import Source
from orchestrator.source.intent import Intent
from orchestrator.source.named import through_ollama
from orchestrator.source.starter import Starter
from orchestrator.transfer import Manners

Made = SourceName | Literal["file"]
_OURS = ("hub", "bundle", "starter")


class Intending(Source, Protocol):
    """A source that says what it would do."""

    def intent(self, tag: str) -> Intent:
        """Return what a pull would do. Raises what `pull` raises before a byte moves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sources:
    """What can deliver to `server`, whose files lie at `store_path`, None: out of sight.

    `quantize` is what safetensors become, by default what their name or tag says; `called` is what
    a model is named that has no name of its own. `version` is that of a server that does not answer
    yet.
    """

    order: Order
    server: Server
    store_path: str | None
    quantize: str | None = None
    called: str | None = None
    version: str | None = None

    def of(self, request: Request) -> list[Intending]:
        """Return what may deliver a request. Raises InvalidInput: one lacks its address."""
        return [self.named(name) for name in self.names(request)]

    def tried(self) -> list[Intending]:
        """Return what the loop tries for a tag; the starter model is no source of that."""
        return [self.named(name) for name in self.order.profile.tried if name != "starter"]

    @staticmethod
    def names(request: Request) -> tuple[Made, ...]:
        """Return how the sources of a request are called; a file is its own."""
        return request.sources or ("file",)

    @staticmethod
    def ours(name: str) -> bool:
        """Whether we move the bytes ourselves, so that limits of ours hold."""
        return name in _OURS

    def named(self, name: Made) -> Intending:
        """Return one source. Raises InvalidInput: it needs an address that nobody gave."""
        profile, catalog = self.order.profile, self.order.catalog
        match name:
            case "file":
                from orchestrator.pull.gguf_file import GgufFile

                return GgufFile(self.server, self.store_path, catalog=catalog, called=self.called)
            case "hub":
                return self._hub()
            case "bundle":
                from orchestrator.bundle.folder import Bundles

                if profile.bundles is None:
                    raise InvalidInput(
                        "source bundle: the profile names no folder of bundles",
                        hint='add bundles = "/FOLDER" to it, or name the file: deploy pull FILE',
                    )
                return Bundles(Path(profile.bundles), self.server, self.store_path)
            case "starter":
                return Starter(self.server, self.order.home)
            case "ollama" | "mirror" | "hf-gguf" | "modelscope":
                url = {"mirror": profile.registry, "hf-gguf": profile.gguf_host}.get(name)
                source = through_ollama(name, self.server, url=url, catalog=catalog)
                return Registered(source=source, store_path=self.store_path, catalog=catalog)

    def _hub(self) -> Intending:
        from orchestrator.pull.hub import Hub

        profile = self.order.profile
        return Hub(
            self.server,
            self.order.home,
            self.store_path,
            quantization=self.quantize,
            catalog=self.order.catalog,
            called=self.called,
            version=self.version,
            mirror=profile.hub_endpoint,
            manners=Manners(connections=profile.connections, bytes_per_s=profile.limit_rate_bytes),
        )
