"""Which server OLLAMA_HOST means, by Ollama's own rules, and whether one answers there."""

import ipaddress
import json
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from orchestrator.errors import InvalidInput

_PORT = 11434
_SCHEME_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")
_PATH = re.compile(r"[A-Za-z0-9_.~/%-]*")
_HINT = "write it as host, host:port or http://host:port, for example 127.0.0.1:11434"


def server_host(environ: Mapping[str, str]) -> str:
    """Return the URL of the server that OLLAMA_HOST means, always with its port.

    A server that listens everywhere (0.0.0.0, [::]) is reached over loopback. Raises InvalidInput:
    a value that Ollama would silently replace by its default, such as port 99999.
    """
    return parse_host(environ.get("OLLAMA_HOST", ""))


def parse_host(value: str) -> str:
    """Return the URL that a value of OLLAMA_HOST means; see server_host."""
    text = value.strip().strip("\"'").strip()
    if text == "ollama.com":
        return "https://ollama.com:443"
    scheme, mark, rest = text.partition("://")
    if not mark:
        scheme, rest, port = "http", text, _PORT
    elif scheme in _SCHEME_PORTS:
        port = _SCHEME_PORTS[scheme]
    else:
        raise InvalidInput(
            f"OLLAMA_HOST={_shown(value)}: {scheme!r} is not http or https", hint=_HINT
        )
    authority, _, path = rest.partition("/")
    if not _PATH.fullmatch(path):
        raise InvalidInput(f"OLLAMA_HOST={_shown(value)}: {path!r} is no path", hint=_HINT)
    name, given = _split(authority)
    path = path.rstrip("/")
    return (
        f"{scheme}://{_host(name, value)}:{_port(given, port, value)}{'/' + path if path else ''}"
    )


def split_host(url: str) -> tuple[str, int]:
    """Return (host, port) of a URL that server_host returned; an IPv6 address without brackets."""
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or _SCHEME_PORTS.get(parts.scheme, _PORT)


def is_loopback(url: str) -> bool:
    """Say whether only this host can reach that address."""
    name, _ = split_host(url)
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def names_everywhere(value: str) -> bool:
    """Say whether that value of OLLAMA_HOST, given to a server, opens it to the network."""
    name, _ = _split(value.strip().rpartition("://")[2].partition("/")[0])
    try:
        return ipaddress.ip_address(name).is_unspecified
    except ValueError:
        return False


def version_at(url: str, *, limit_s: float = 2.0) -> str | None:
    """Return the version of the Ollama server at `url`, "0.9.3"; None: no Ollama answers.

    stdlib only, because `deploy plan` asks this and must answer in a third of a second.
    """
    import http.client

    parts = urlsplit(url)
    secure = parts.scheme == "https"
    connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    link = connect(*split_host(url), timeout=limit_s)
    try:
        link.request("GET", f"{parts.path}/api/version")
        answer = link.getresponse()
        found = json.loads(answer.read(65536)) if answer.status == 200 else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        link.close()
    version = found.get("version") if isinstance(found, dict) else None
    return version if isinstance(version, str) else None


def _shown(value: str) -> str:
    """Return the value for an error message, without a password that somebody put into it."""
    return repr(re.sub(r"[^/\s@]*@", "***@", value))


def _split(authority: str) -> tuple[str, str]:
    """Return (host, port) of "host", "host:port", ":port", "[v6]:port", "[v6]" or a bare v6."""
    if authority.startswith("["):
        inside, closed, after = authority[1:].partition("]")
        if not closed:
            return authority, ""
        return inside, after.removeprefix(":") if after.startswith(":") or not after else "?"
    if authority.count(":") == 1:
        name, _, port = authority.partition(":")
        return name, port or "?"
    return authority, ""


def _host(name: str, value: str) -> str:
    try:
        address = ipaddress.ip_address(name or "127.0.0.1")
    except ValueError:
        if name.lower() == "localhost":  # one server, one name: the lock and the ledger go by it
            return "127.0.0.1"
        # A name of digits and dots only is a mistyped address: 127.0.0.300, never a host name.
        if _NAME.fullmatch(name) and not re.fullmatch(r"[\d.]+", name):
            return name
        raise InvalidInput(
            f"OLLAMA_HOST={_shown(value)}: {_shown(name)} is no host", hint=_HINT
        ) from None
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "[::1]"
    if address.version == 6:
        if "%" in str(address):
            raise InvalidInput(
                f"OLLAMA_HOST={_shown(value)}: no zone can be named here", hint=_HINT
            )
        return f"[{address}]"
    return str(address)


def _port(given: str, default: int, value: str) -> int:
    if not given:
        return default
    if not re.fullmatch(r"\d{1,5}", given, re.ASCII) or not 0 < int(given) < 65536:
        raise InvalidInput(
            f"OLLAMA_HOST={_shown(value)}: {given!r} is no port (1-65535)", hint=_HINT
        )
    return int(given)
