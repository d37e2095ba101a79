"""Repositories of the Hugging Face hub: `hf:ORG/REPO[:QUANT]` or `hf:ORG/REPO/FILE.gguf`.

The hub client says which files there are, whose token to send and where a file lies. Their bytes
are read by ranges. HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE and the proxies count as the client means.
"""

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, cast
from urllib.parse import quote, urlsplit

from orchestrator.errors import InvalidInput, ModelUnavailable, SourceBusy, SourceUnreachable
from orchestrator.source.remote import PATIENT, Patience, Remote, retrying

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

PREFIX = "hf:"
_ONE = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_-])?"
_WISH = re.compile(
    rf"(?P<repo>{_ONE}/{_ONE})(?::(?P<quantization>[A-Za-z0-9_-]{{1,40}})|/(?P<file>[^\x00-\x1f]+))?"
)
_PUBLIC = "huggingface.co"


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What a person asked for: a repository, and which of its files."""

    repo: str
    quantization: str | None = None
    file: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a name that starts with `hf:`. Raises InvalidInput."""
        found = _WISH.fullmatch(text.removeprefix(PREFIX))
        if found is None or any(mark in found["repo"] for mark in ("..", "--")):
            raise InvalidInput(
                f"{text[:200]!r} names no repository of the hub",
                hint="write hf:ORG/REPO, hf:ORG/REPO:Q4_K_M or hf:ORG/REPO/FILE.gguf",
            )
        return cls(**found.groupdict())


@dataclass(frozen=True, kw_only=True, slots=True)
class Repository:
    """One commit of a repository: its files with their sizes in bytes, and how to read them."""

    name: str
    commit: str
    sizes: Mapping[str, int]
    remote: Remote

    def path(self, file: str) -> str:
        """Return where a file of this commit lies below the hub's address."""
        return f"/{self.name}/resolve/{quote(self.commit, safe='')}/{quote(file)}"

    def document(self, file: str) -> Any:  # noqa: ANN401 - JSON
        """Return a JSON file. Raises what Remote.document raises."""
        return self.remote.document(self.path(file), f"{self.name}/{file}")


@contextmanager
def repository(name: str, patience: Patience = PATIENT) -> Iterator[Repository]:
    """Open a repository at its newest commit.

    Raises ModelUnavailable: absent, private or gated. SourceUnreachable, SourceBusy.
    """
    # The client would report which program calls it, by one request more to the same host.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import constants
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    if constants.HF_HUB_OFFLINE:
        raise SourceUnreachable(
            f"HF_HUB_OFFLINE is set, so the hub is not asked for {name}",
            hint="unset it, or name a .gguf file on this disk",
        )
    endpoint = constants.ENDPOINT
    deadline = time.monotonic() + patience.whole_s
    token = _token(endpoint)
    info = retrying(patience.tries, deadline)(_info, name, endpoint, token, patience)
    sizes = {each.rfilename: each.size for each in info.siblings or () if each.size is not None}
    with Remote(
        urlsplit(endpoint).netloc,
        endpoint,
        headers=build_hf_headers(token=token),
        login=_login(name),
        patience=patience,
    ) as remote:
        yield Repository(name=name, commit=info.sha or "main", sizes=sizes, remote=remote)


def _token(endpoint: str) -> bool | None:
    """Return what the client may send: a token that lies on disk goes to its own hub alone.

    A mirror gets the one of HF_TOKEN, which was set beside HF_ENDPOINT.
    """
    own = urlsplit(endpoint).hostname == _PUBLIC
    return None if own or os.environ.get("HF_TOKEN") else False


def _login(name: str) -> str:
    return f"it is private or gated: ask for access at https://{_PUBLIC}/{name}, then set HF_TOKEN"


def _info(name: str, endpoint: str, token: bool | None, patience: Patience) -> "ModelInfo":  # noqa: FBT001
    """Return the listing of a repository; every failure of the client becomes one of ours."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    # httpx's own class in version 1 of the client, that of httpx2 in version 2.
    transport = cast("type[Exception]", HfHubHTTPError.__bases__[0])
    host = urlsplit(endpoint).netloc
    try:
        return HfApi(endpoint=endpoint, token=token).model_info(
            name, files_metadata=True, timeout=patience.read_s
        )
    except RepositoryNotFoundError as e:
        raise ModelUnavailable(
            f"{host} has no repository {name} that we may see", hint=_login(name)
        ) from e
    except HfHubHTTPError as e:
        raise _refused(name, host, e.response.status_code) from e
    except (transport, ValueError, KeyError, TypeError) as e:
        raise SourceUnreachable(
            f"{host} gave no listing of {name} ({type(e).__name__})",
            hint="check the network, HF_ENDPOINT and the proxy (HTTPS_PROXY, NO_PROXY)",
        ) from e


def _refused(name: str, host: str, status: int) -> Exception:
    if status in (401, 403, 404):
        return ModelUnavailable(f"{host} refuses {name}: {status}", hint=_login(name))
    if status in (408, 429, 503):
        return SourceBusy(f"{host} asks to come back later ({status})", hint="repeat in minutes")
    return SourceUnreachable(f"{host} answers {status} for {name}", hint="repeat in some minutes")
