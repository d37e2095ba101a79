"""One request for the bytes of a file, from its URL to where that leads, and what answers mean.

Redirects are followed by hand: credentials go to the scheme, host and port of the URL itself and
nowhere else. A failure names the host that failed, never a path with its query: signatures are
secrets as much as tokens are.
"""

import base64
import email.utils
import re
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urljoin, urlsplit

from orchestrator import __version__
from orchestrator.errors import (
    DeployError,
    ModelUnavailable,
    SourceBusy,
    SourceCorrupt,
    SourceUnreachable,
)
from orchestrator.runtime.address import is_loopback
from orchestrator.transfer import Credentials, Patience

if TYPE_CHECKING:
    import urllib3

_REDIRECTS = 5
_MOVED = (301, 302, 303, 307, 308)
_PORTS = {"http": 80, "https": 443}
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
NETWORK = "check the network and the proxy (HTTPS_PROXY, NO_PROXY)"
OTHER_PROXY = "unset ALL_PROXY, or name an http:// proxy with HTTPS_PROXY and HTTP_PROXY"
AUTHORITY = "name the authority of your network with SSL_CERT_FILE, or check the clock"
PORTAL = "a captive portal or a proxy may answer in its place: sign in, or check HTTPS_PROXY"


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """Bytes that come: from byte `first` on, of a file of `total_bytes`; None: it does not say.

    `html`: it calls them a page. `host` sends them: it may be that of a redirect.
    """

    host: str
    status: int
    first: int
    total_bytes: int | None
    html: bool
    url: str
    response: "urllib3.BaseHTTPResponse"
    patience: Patience

    def read(self, most: int, *, whole: bool) -> bytes:
        """Return what has come, at most that much, or (`whole`) all of it; b"" at the end.

        A connection that breaks takes with it what a whole piece had so far. Raises
        SourceUnreachable.
        """
        read = self.response.read if whole else self.response.read1
        with _mapped(self.url, self.patience):
            return read(most, decode_content=False)


class Line:
    """Requests of one download, by several threads; `end` breaks all that are open."""

    def __init__(self, credentials: Credentials, patience: Patience) -> None:
        self._credentials = credentials
        self._patience = patience
        self._pools: dict[str, urllib3.PoolManager] = {}
        self._open: set[urllib3.BaseHTTPResponse] = set()
        self._lock = threading.Lock()

    def end(self) -> None:
        """Wake every thread that waits for a byte."""
        with self._lock:
            for response in self._open:
                with suppress(Exception):  # it may end by itself just now
                    response.shutdown()

    @contextmanager
    def ask(self, url: str, first: int) -> Iterator[Answer]:
        """Ask for the bytes from `first` on, anew from the URL itself.

        Raises ModelUnavailable; what may be cured by waiting as SourceBusy or SourceUnreachable.
        """
        response, asked = self._followed(url, first)
        with self._lock:
            self._open.add(response)
        try:
            self._check(response, asked, own=_origin(asked) == _origin(url))
            yield self._answer(response, asked, first)
        finally:
            with self._lock:
                self._open.discard(response)
            response.close()

    def _followed(self, url: str, first: int) -> tuple["urllib3.BaseHTTPResponse", str]:
        asked = url
        for _ in range(_REDIRECTS + 1):
            response = self._get(asked, first, self._headers(asked, url))
            if response.status not in _MOVED:
                return response, asked
            location = response.headers.get("Location", "")
            response.close()
            asked = moved(asked, location)
        raise SourceUnreachable(
            f"{host_of(url)} redirects more than {_REDIRECTS} times", hint=NETWORK
        )

    def _headers(self, asked: str, url: str) -> dict[str, str]:
        """Return what goes with a request: credentials only to where the URL itself leads."""
        headers = {
            "accept-encoding": "identity",
            "user-agent": f"deploy-orchestrator/{__version__}",
        }
        if _origin(asked) == _origin(url):
            # In lower case, or a name that the credentials have as well would go out twice.
            headers |= {name.lower(): told for name, told in self._credentials.headers.items()}
            if login := _login(url):  # before a token, as with the clients that ask for metadata
                headers["authorization"] = login
        return headers

    def _get(self, url: str, first: int, headers: dict[str, str]) -> "urllib3.BaseHTTPResponse":
        import urllib3

        if first:
            headers["range"] = f"bytes={first}-"
        limits = urllib3.Timeout(connect=self._patience.connect_s, read=self._patience.read_s)
        with _mapped(url, self._patience):
            return self._pool(url).request(
                "GET",
                bare(url),
                headers=headers,
                timeout=limits,
                preload_content=False,
                redirect=False,
                retries=False,
            )

    def _pool(self, url: str) -> "urllib3.PoolManager":
        """Return the connections that lead there: directly, or by the proxy of the environment."""
        import urllib3

        proxy = _proxy(url)
        with self._lock:
            if proxy not in self._pools:
                kept: dict[str, Any] = {"ssl_context": authorities()}
                if proxy:
                    if login := _login(proxy):
                        kept["proxy_headers"] = {"Proxy-Authorization": login}
                    self._pools[proxy] = urllib3.ProxyManager(bare(proxy), **kept)
                else:
                    self._pools[proxy] = urllib3.PoolManager(**kept)
            return self._pools[proxy]

    def _check(self, response: "urllib3.BaseHTTPResponse", url: str, *, own: bool) -> None:
        """Raise what a status means; 200, 206 and 416 pass."""
        code, host = response.status, host_of(url)
        if code in (200, 206, 416):
            return
        if code in (401, 403) and own:
            raise ModelUnavailable(
                f"{host} refuses it: {code}", hint=self._credentials.login, status=code
            )
        if code in (404, 410, 451):
            raise ModelUnavailable(
                f"{host} has it not: {code}", hint="check how it is spelled", status=code
            )
        if code in (408, 429, 503):
            raise SourceBusy(
                f"{host} asks to come back later ({code})",
                hint="repeat in some minutes",
                retry_after_s=retry_after_s(response.headers.get("Retry-After", "")),
            )
        raise SourceUnreachable(f"{host} answers {code}", hint=NETWORK, status=code)

    def _answer(self, response: "urllib3.BaseHTTPResponse", url: str, first: int) -> Answer:
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() and len(length) < 19 else None
        start = 0
        if response.status == 206:
            told = response.headers.get("Content-Range", "")
            found = _RANGE.fullmatch(told)
            if found is None or int(found[1]) != first:
                raise SourceCorrupt(
                    f"{host_of(url)} was asked for byte {first} and sent {told[:80] or 'others'}",
                    hint="another mirror may serve it right",
                )
            start, total = first, None if found[3] == "*" else int(found[3])
        return Answer(
            host=host_of(url),
            status=response.status,
            first=start,
            total_bytes=total,
            html=response.headers.get("Content-Type", "").lower().startswith("text/html"),
            url=url,
            response=response,
            patience=self._patience,
        )


def host_of(url: str) -> str:
    """Return host:port of a URL as it stands there, without a login."""
    return urlsplit(url).netloc.rpartition("@")[2] or "a URL without a host"


def moved(url: str, location: str) -> str:
    """Return where a redirect leads. Raises SourceUnreachable: nowhere, or out of TLS."""
    to, scheme = "", ""
    with suppress(ValueError):  # brackets that do not close, a port beyond all ports
        to = urljoin(url, location) if location else ""
        scheme = _origin(to)[0]
    if scheme not in _PORTS:
        raise SourceUnreachable(f"{host_of(url)} redirects to no address", hint=NETWORK)
    if scheme == "http" and urlsplit(url).scheme == "https":
        raise SourceUnreachable(
            f"{host_of(url)} redirects to {host_of(to)} without TLS", hint=PORTAL
        )
    return to


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def bare(url: str) -> str:
    """Return a URL without the login in it: a proxy would read that in the first line."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _login(url: str) -> str:
    """Return the value of an authorization for the login that stands in a URL; "": none does."""
    parts = urlsplit(url)
    if not parts.username and not parts.password:
        return ""
    told = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return f"Basic {base64.b64encode(told.encode()).decode()}"


def _proxy(url: str) -> str:
    """Return the proxy that the environment names for a URL; "": none.

    Raises SourceUnreachable: one of a kind that we do not speak with.
    """
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    if is_loopback(url) or (parts.hostname and proxy_bypass(parts.hostname)):
        return ""
    known = getproxies()
    found = known.get(parts.scheme) or known.get("all") or ""
    proxy = found if not found or "://" in found else f"http://{found}"
    if proxy and urlsplit(proxy).scheme not in _PORTS:
        raise SourceUnreachable(
            f"the proxy for {host_of(url)} is no HTTP proxy: {urlsplit(proxy).scheme}://…",
            hint=OTHER_PROXY,
        )
    return proxy


def authorities() -> ssl.SSLContext:
    """Return the authorities of the system or of SSL_CERT_FILE, and those of Mozilla."""
    import certifi

    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def retry_after_s(told: str) -> float:
    """Return the seconds that a Retry-After asks for, a number or a date; 0: none."""
    if told.isdecimal():
        return float(told[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(told).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


@contextmanager
def _mapped(url: str, patience: Patience) -> Iterator[None]:
    """Map every failure of urllib3 and of the sockets below it."""
    import urllib3

    try:
        yield
    except (urllib3.exceptions.HTTPError, OSError, ValueError, AttributeError) as e:
        # AttributeError: `end` shut the socket of this answer down between two reads.
        raise _unreachable(url, e, patience) from None  # their texts may hold the whole URL


def _unreachable(url: str, failure: Exception, patience: Patience) -> DeployError:
    from urllib3 import exceptions

    hint, details = NETWORK, {}
    match failure:
        case exceptions.ProxyError():
            why = "cannot be reached through the proxy"
        case exceptions.NameResolutionError():
            why = "is a name that nothing resolves"
        case exceptions.NewConnectionError():
            why = "takes no connection"
        case exceptions.ConnectTimeoutError():
            why = f"took no connection within {patience.connect_s:g} s"
        case exceptions.ReadTimeoutError():
            why = f"sent no byte for {patience.read_s:g} s"
        case exceptions.SSLError():
            why = f"has a certificate or TLS that we do not accept ({failure.args[0]})"
            hint = AUTHORITY
            if isinstance(failure.args[0], ssl.SSLCertVerificationError):
                details = {"certificate": failure.args[0].verify_message}
        case _:
            why = f"broke the connection ({type(failure).__name__})"
    return SourceUnreachable(f"{host_of(url)} {why}", hint=hint, **details)
