"""Take out of a document what names a person, a host or a secret; all else stays as it was.

Pure. The same name becomes the same stand-in everywhere, so a mask still points at its card.
"""

import re
from collections.abc import Callable, Iterator
from ipaddress import AddressValueError, IPv4Address, ip_address
from typing import Any

# Accounts that say nothing about a person; and words too short to be told from other text.
_NOBODY = frozenset({"root", "ollama", "nobody", "user", "ubuntu", "debian", "admin"})
_LEAST_NAME = 3
_DEVICE = re.compile(r"\b(?:GPU|MIG)-([0-9a-fA-F][0-9a-fA-F-]{7,})")
_HOME = re.compile(r"(?<![\w.])/(home|Users)/([^/\s\"':,]+)")
_SECRETS = (
    (re.compile(r"\b(?:hf_|sk-|ghp_|github_pat_|glpat-|xox[a-z]-)[A-Za-z0-9_-]{8,}"), "REDACTED"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}"), r"\1 REDACTED"),
    (
        re.compile(
            r"(?i)([\w-]*(?:password|passwd|secret|token|api[_-]?key|credential)[\w-]*"
            r"[\"']?\s*[:=]\s*[\"']?)(?!\d+\b)[^\s\"',}]+"  # a number is a count of tokens
        ),
        r"\1REDACTED",
    ),
    (re.compile(r"://[^/\s:@]+(?::[^/\s@]*)?@"), "://REDACTED@"),
    (re.compile(r"(?i)\b[0-9a-f]{2}(?::[0-9a-f]{2}){5}\b"), "00:00:00:00:00:00"),
    # The servers of network file systems: nas.example.com:/export
    (re.compile(r"(?<![\w./-])[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+:/(?!/)"), "server:/"),
)
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.])")
_IPV6 = re.compile(r"(?i)(?<![\w:])(?:[23][0-9a-f]{3}|f[cde][0-9a-f]{2})(?::[0-9a-f]{0,4}){2,7}")


class Redactor:
    """Redacts texts and JSON documents of one box alike.

    `home`, `user` and `host` are this account's folder and name, and the name of the box.
    """

    def __init__(self, *, home: str = "", user: str = "", host: str = "") -> None:
        self._words = [(home.rstrip("/"), "~")] if home.count("/") > 1 else []
        for name, stand_in in ((user, "user"), (host, "host"), (host.partition(".")[0], "host")):
            if len(name) >= _LEAST_NAME and name.lower() not in (*_NOBODY, "localhost"):
                self._words.append((name, stand_in))
        self._devices: dict[str, str] = {}
        self._addresses: dict[str, str] = {}
        self._people: dict[str, str] = {}

    def document(self, value: Any) -> Any:  # noqa: ANN401 - JSON
        """Return a JSON value with every text in it redacted, keys included."""
        for text in _texts(value):
            self._learn(text)
        return _mapped(value, self.text)

    def text(self, text: str) -> str:
        """Return a text with names, addresses, device numbers and secrets replaced."""
        self._learn(text)
        for pattern, stand_in in _SECRETS:
            text = pattern.sub(stand_in, text)
        for name, stand_in in self._words:
            text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", stand_in, text)
        text = _HOME.sub(self._person, text)
        for number, stand_in in self._devices.items():
            text = text.replace(number, stand_in)
        return _IPV6.sub(self._address, _IPV4.sub(self._address, text))

    def _learn(self, text: str) -> None:
        for number in _DEVICE.findall(text):
            new = len(self._devices) + 1
            # The shape stays: groups of hexadecimal digits.
            zeros = re.sub(r"[0-9a-fA-F]", "0", number)
            self._devices.setdefault(number, f"{new:x}".zfill(8)[:8] + zeros[8:])

    def _person(self, found: "re.Match[str]") -> str:
        name = found[2]
        if name in (*_NOBODY, "~"):
            return found[0]
        stand_in = self._people.setdefault(name, f"person{len(self._people) + 1}")
        return f"/{found[1]}/{stand_in}"

    def _address(self, found: "re.Match[str]") -> str:
        try:
            address = ip_address(found[0])
        except (ValueError, AddressValueError):
            return found[0]
        if address.is_loopback or address.is_unspecified:
            return found[0]
        number = len(self._addresses) + 1
        # The addresses that are set aside for documentation.
        of_4 = isinstance(address, IPv4Address)
        new = f"192.0.2.{number % 256}" if of_4 else f"2001:db8::{number:x}"
        return self._addresses.setdefault(found[0], new)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield str(key)
            yield from _texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)


def _mapped(value: Any, change: Callable[[str], str]) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(str(key)): _mapped(each, change) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_mapped(each, change) for each in value]
    return value
