"""What the hub client says of a repository, and which of our errors each of its failures is."""

import os
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from orchestrator.errors import ModelUnavailable, PullFailed, SourceBusy, SourceUnreachable
from orchestrator.source.remote import Patience, unanswered
from orchestrator.transfer.answer import host_of, retry_after_s
from orchestrator.units import duration

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.hf_api import ModelInfo

_PUBLIC = "huggingface.co"
_SHOWN = 12
_NETWORK = "check the network, HF_ENDPOINT and the proxy (HTTPS_PROXY, NO_PROXY)"


def token_for(endpoint: str, *, profiled: bool = False) -> bool | None:
    """Return what the client may send: a token that lies on disk goes to its own hub alone.

    A mirror gets the one of HF_TOKEN, which was set beside HF_ENDPOINT; but none if it is a profile
    that names the mirror (`profiled`), for who set HF_TOKEN did not.
    """
    own = urlsplit(endpoint).hostname == _PUBLIC
    return None if own or (os.environ.get("HF_TOKEN") and not profiled) else False


def login(name: str) -> str:
    """Return the hint for who is not let in."""
    return (
        "check how it is spelled; if it is private or gated, ask for access at "
        f"https://{_PUBLIC}/{name}, and set HF_TOKEN"
    )


def gated(host: str, name: str) -> ModelUnavailable:
    """Return the error for a repository whose owner decides who may read it."""
    return ModelUnavailable(
        f"{host}: {name} is gated, and we have no access to it",
        hint=f"ask for access at https://{_PUBLIC}/{name}, then set HF_TOKEN",
    )


def refused(name: str, host: str, status: int, retry_after: str | None = None) -> PullFailed:
    """Return the error that a status means; `retry_after` is the header of that name."""
    if status in (401, 403, 404):
        return ModelUnavailable(f"{host} refuses {name}: {status}", hint=login(name))
    if status in (408, 429, 503):
        wait_s = round(retry_after_s(retry_after or ""))
        shown = f"{wait_s} s" if wait_s < _MINUTES_S else duration(wait_s)
        after = f" in {shown}" if wait_s else ""
        return SourceBusy(
            f"{host} asks to come back later{after} ({status})",
            hint="repeat in some minutes" if status != 429 else _LIMITED,
            retry_after_s=wait_s,
        )
    return SourceUnreachable(f"{host} answers {status} for {name}", hint="repeat in some minutes")


_MINUTES_S = 120
_LIMITED = "repeat in some minutes; a login (HF_TOKEN) has a higher limit of requests"


def listing(
    name: str,
    revision: str | None,
    endpoint: str,
    token: bool | None,  # noqa: FBT001 - as the client takes it
    patience: Patience,
) -> "ModelInfo":
    """Return the files of a repository at a revision, None: the newest of its main branch.

    `token` is what token_for says. Raises ModelUnavailable, SourceBusy, SourceUnreachable.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    # httpx's own class in version 1 of the client, that of httpx2 in version 2.
    transport = cast("type[Exception]", HfHubHTTPError.__bases__[0])
    host, api = host_of(endpoint), HfApi(endpoint=endpoint, token=token)
    try:
        return api.model_info(name, revision=revision, files_metadata=True, timeout=patience.read_s)
    except GatedRepoError as e:  # before its base class: both are "not found" to the client
        raise gated(host, name) from e
    except RepositoryNotFoundError as e:
        raise ModelUnavailable(
            f"{host} has no repository {name} that we may see", hint=login(name)
        ) from e
    except RevisionNotFoundError as e:
        raise ModelUnavailable(
            f"{host}: {name} has no revision {revision}", hint=_revisions(api, name)
        ) from e
    except HfHubHTTPError as e:
        raise _answered(name, host, e) from e
    except ValueError as e:
        raise SourceUnreachable(
            f"{host} gave no listing of {name}: what came is no JSON, as from the page of a portal",
            hint=f"sign in to the network where it asks for that; {_NETWORK}",
        ) from e
    # ImportError, OSError: a proxy, or a file of authorities, that the client cannot use.
    except (transport, KeyError, TypeError, ImportError, OSError) as e:
        raise unanswered(f"{host} gave no listing of {name}", e, hint=_NETWORK) from e


def _answered(name: str, host: str, failure: "HfHubHTTPError") -> PullFailed:
    answer = failure.response
    return refused(name, host, answer.status_code, answer.headers.get("Retry-After"))


def _revisions(api: "HfApi", name: str) -> str:
    """Return the hint that names the revisions there are, as far as the hub tells them."""
    try:
        refs = api.list_repo_refs(name)
        found = [each.name for each in (*refs.branches, *refs.tags)]
    except Exception:  # noqa: BLE001 - a hint may fail in every way; the error is told anyway
        found = []
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"it has {', '.join(found[:_SHOWN] or ['main'])}{more}; or name a commit"
