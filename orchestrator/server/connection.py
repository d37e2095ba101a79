"""The connection to one Ollama server: the true client, and what its failures mean."""

import functools
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ServerRefused, ServerUnreachable

if TYPE_CHECKING:
    import ollama

_CONNECT_S = 5.0


class Connection:
    """The server at `host`, a URL."""

    def __init__(self, host: str) -> None:
        self.host = host

    @contextmanager
    def client(self, read_s: float, **hooks: Callable[[Any], None]) -> Iterator["ollama.Client"]:
        """Yield a client; a hook "request" or "response" is called with each of these."""
        import httpx
        import ollama

        # A proxy of the environment must never stand between us and a server that we were given.
        client = ollama.Client(
            self.host,
            trust_env=False,
            verify=certificates(),
            timeout=httpx.Timeout(read_s, connect=_CONNECT_S),
            event_hooks={kind: [hook] for kind, hook in hooks.items()},
        )
        try:
            yield client
        finally:
            client.close()  # type: ignore[no-untyped-call]

    @contextmanager
    def mapped(self) -> Iterator[None]:
        """Map every failure of the ollama client and of httpx below it."""
        import httpx
        import ollama

        try:
            yield
        except ollama.ResponseError as e:
            raise ServerRefused(e.error, status=e.status_code) from e
        except httpx.TimeoutException as e:
            raise ServerUnreachable(f"the Ollama server at {self.host} stopped answering") from e
        except (ConnectionError, httpx.TransportError) as e:
            raise ServerUnreachable(f"lost the Ollama server at {self.host} ({e})") from e


@functools.cache
def certificates() -> ssl.SSLContext:
    """Return what every client checks a server with. To read the authorities takes 17 ms, which
    would count as time to first token if each request did it anew.
    """
    import httpx

    return httpx.create_ssl_context(trust_env=False)
