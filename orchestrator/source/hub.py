"""Repositories of the Hugging Face hub: a name with `hf:`, a commit, and files of a known size.

The hub client says which files there are, whose token to send and where a file lies. Their bytes
are read by ranges. HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE and the proxies count as the client means.
"""

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlsplit

from orchestrator.errors import InvalidInput, SourceUnreachable
from orchestrator.runtime.address import is_loopback
from orchestrator.source.hub_listing import gated, listing, login, refused, token_for
from orchestrator.source.remote import PATIENT, Patience, Remote, retrying, unanswered
from orchestrator.transfer.answer import authorities, bare, host_of

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

PREFIX = "hf:"
_ONE = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_-])?"
# A branch, a tag, a commit; or what the hub keeps proposals and conversions under.
_REVISION = r"refs/(?:pr|convert)/[A-Za-z0-9_-]{1,40}|[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}"
_REPO, _COMMIT = re.compile(rf"{_ONE}/{_ONE}"), re.compile(r"[0-9a-f]{7,64}")
_WISH = re.compile(
    rf"(?P<repo>{_ONE}/{_ONE})(?:@(?P<revision>{_REVISION}))?"
    r"(?::(?P<quantization>[A-Za-z0-9_-]{1,40})|/(?P<file>[^\x00-\x1f]+))?"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What a person asked for: a repository, at which revision, and which of its files."""

    repo: str
    revision: str | None = None
    quantization: str | None = None
    file: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a name that starts with `hf:`. Raises InvalidInput."""
        found = _WISH.fullmatch(text.removeprefix(PREFIX))
        if (
            found is None
            or any(mark in found["repo"] for mark in ("..", "--"))
            or ".." in (found["revision"] or "")
        ):
            raise InvalidInput(
                f"{text[:200]!r} names no repository of the hub",
                hint="write hf:ORG/REPO, hf:ORG/REPO:Q4_K_M or hf:ORG/REPO/FILE.gguf; a revision "
                "follows the repository: hf:ORG/REPO@REVISION",
            )
        return cls(**found.groupdict())


@dataclass(frozen=True, kw_only=True, slots=True)
class Repository:
    """One commit of a repository: its files with their sizes in bytes, and how to read them.

    `digests` are "sha256:…" of large files, and "git:…" of others: the sha1 of a git blob.
    `headers` are for the hub's own host alone; a token may be among them.
    """

    name: str
    commit: str
    sizes: Mapping[str, int]
    digests: Mapping[str, str]
    remote: Remote
    headers: Mapping[str, str] = field(repr=False)
    login: str

    @property
    def where(self) -> str:
        """What a person is told: the address, without a login, and the commit."""
        return f"{bare(self.remote.base)}/{self.name}@{self.commit[:12]}"

    def path(self, file: str) -> str:
        """Return where a file of this commit lies below the hub's address."""
        return f"/{self.name}/resolve/{quote(self.commit, safe='')}/{quote(file)}"

    def url(self, file: str) -> str:
        """Return the whole address of a file of this commit."""
        return self.remote.base + self.path(file)

    def document(self, file: str) -> Any:  # noqa: ANN401 - JSON
        """Return a JSON file. Raises what Remote.document raises."""
        return self.remote.document(self.path(file), f"{self.name}/{file}")


def endpoint_of(mirror: str | None) -> tuple[str, bool]:
    """Return the hub's address, and whether it is that of a profile: HF_ENDPOINT goes before it."""
    from huggingface_hub import constants

    if mirror is not None and not os.environ.get("HF_ENDPOINT"):
        return mirror.rstrip("/"), True
    parts = urlsplit(constants.ENDPOINT)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        shown = constants.ENDPOINT.rpartition("@")[2][:200]
        raise InvalidInput(f"HF_ENDPOINT={shown} is no URL", hint="write it as https://HOST")
    return constants.ENDPOINT, False


@contextmanager
def repository(
    name: str,
    patience: Patience = PATIENT,
    *,
    revision: str | None = None,
    mirror: str | None = None,
) -> Iterator[Repository]:
    """Open a repository at the commit that a revision names now, None: its newest.

    `mirror` is the hub's address where HF_ENDPOINT says none; it gets no token.

    Raises ModelUnavailable: absent, private or gated, or it has no such revision.
    SourceUnreachable, SourceBusy.
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
    endpoint, profiled = endpoint_of(mirror)
    token = token_for(endpoint, profiled=profiled)
    deadline = time.monotonic() + patience.whole_s
    info = retrying(patience.tries, deadline)(listing, name, revision, endpoint, token, patience)
    files = [each for each in info.siblings or () if each.size is not None]
    headers = build_hf_headers(token=token)
    with Remote(
        host_of(endpoint), endpoint, headers=headers, login=login(name), patience=patience
    ) as remote:
        yield Repository(
            # One that was renamed answers with its name of today. Both become parts of paths here.
            name=_fitting(info.id, _REPO, name),
            commit=_fitting(info.sha, _COMMIT, revision or "main"),
            sizes={each.rfilename: each.size for each in files if each.size is not None},
            digests={each.rfilename: told for each in files if (told := _digest(each))},
            remote=remote,
            headers=headers,
            login=login(name),
        )


def _fitting(told: str | None, form: re.Pattern[str], instead: str) -> str:
    return told if told and form.fullmatch(told) and ".." not in told else instead


def _digest(file: "RepoSibling") -> str | None:
    if file.lfs is not None:
        return f"sha256:{file.lfs.sha256}"
    return f"git:{file.blob_id}" if file.blob_id else None


def ask_access(found: Repository, file: str, patience: Patience = PATIENT) -> None:
    """Ask whether we may read a file, by one HEAD: anybody gets the listing of a gated repository.

    Raises ModelUnavailable, SourceBusy, SourceUnreachable.
    """
    deadline = time.monotonic() + patience.whole_s
    retrying(patience.tries, deadline)(_ask_access, found, file, patience)


def _ask_access(found: Repository, file: str, patience: Patience) -> None:
    import httpx

    host, limits = found.remote.name, httpx.Timeout(patience.read_s, connect=patience.connect_s)
    try:
        # No proxy stands between us and ourselves; a redirect is an answer: we may read it there.
        answer = httpx.head(
            found.url(file),
            headers=dict(found.headers),
            timeout=limits,
            trust_env=not is_loopback(found.remote.base),
            verify=authorities(),
        )
    except (httpx.HTTPError, httpx.InvalidURL, ImportError, ValueError) as e:
        raise unanswered(f"{host} does not answer for {found.name}/{file}", e) from e
    if answer.headers.get("X-Error-Code") == "GatedRepo":
        raise gated(host, found.name)
    if answer.is_error:
        raise refused(found.name, host, answer.status_code, answer.headers.get("Retry-After"))
