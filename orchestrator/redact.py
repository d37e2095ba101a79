"""Take out of a document what names a person, a host or a secret; all else stays as it was.

Pure. The same name becomes the same stand-in everywhere, so a mask still points at its card.
"""

import re
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

# Accounts that say nothing about a person.
_NOBODY = frozenset({"root", "ollama", "nobody", "user", "ubuntu", "debian", "admin", "~"})
# Words of these documents. A host or user with such a name is replaced only where the text around
# it says that it is one.
_WORDS = frozenset({
    "amd", "apple", "ascend", "auto", "cpu", "cuda", "data", "default", "deploy", "disk", "docker",
    "ext4", "gpu", "host", "intel", "linux", "localhost", "machine", "memory", "model", "models",
    "node", "nvidia", "nvme", "process", "rocm", "run", "server", "store", "system", "systemd",
    "test", "tmpfs", "xfs", "zfs",
})  # fmt: skip
_LEAST_NAME = 3
_PUBLIC_HOSTS = (
    "ollama.com", "ollama.ai", "huggingface.co", "hf.co", "hf-mirror.com", "modelscope.cn",
    "github.com", "pypi.org", "no-color.org", "localhost", "example.org",
)  # fmt: skip
_DEVICE = re.compile(r"\b(?:GPU|MIG)-([0-9a-fA-F][0-9a-fA-F-]{7,})")
_HOME = re.compile(r"/(home|Users|media)/([^/\s\"':,;]+)")
_SECRETS = (
    (re.compile(r"\b(?:hf_|sk-|ghp_|github_pat_|glpat-|xox[a-z]-)[A-Za-z0-9_-]{8,}"), "REDACTED"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}"), r"\1 REDACTED"),
    (
        re.compile(r"(?i)(--?(?:token|password|passwd|secret|api-?key|key)[ =])[^\s\"']+"),
        r"\1REDACTED",
    ),
    (
        re.compile(
            r"(?i)([\w-]*(?:password|passwd|secret|token(?!s\b)|api[_-]?key|credential)[\w-]*"
            r"[\"']?\s*[:=]\s*[\"']?)(?!\d+\b)[^\s\"',}]+"  # a number is a count of tokens
        ),
        r"\1REDACTED",
    ),
    (re.compile(r"://[^/\s]+@"), "://REDACTED@"),
    (re.compile(r"\b(user|username|domain|workgroup)=[^,\s]+"), r"\1=REDACTED"),
    (re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), "REDACTED@example.org"),
    (re.compile(r"(?i)\b[0-9a-f]{2}(?::[0-9a-f]{2}){5}\b"), "00:00:00:00:00:00"),
    (re.compile(r"\b(ssh-(?:ed25519|rsa)) [A-Za-z0-9+/=]{16,}"), r"\1 REDACTED"),
    (re.compile(r"(?i)\b(serial(?:[ _-]?n(?:o|umber))?[=:] ?)\S+"), r"\1REDACTED"),
)
# The servers of network file systems: nas:/export, //server/share.
_SHARE = re.compile(r"(?<![\w./:-])(?:([A-Za-z0-9][\w.-]*):/[^/\s]\S*|//([\w.-]+)/\S+)")
_URL_HOST = re.compile(r"(?<=://)(?:REDACTED@)?([A-Za-z][\w.-]*)|\blookup ([A-Za-z][\w.-]*)")
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.])")
_IPV6 = re.compile(r"(?i)(?<![\w:])(?:[23][0-9a-f]{3}|f[cde][0-9a-f]{2})(?::[0-9a-f]{0,4}){2,7}")


class Redactor:
    """Redacts texts and JSON documents of one box alike.

    `home`, `user` and `host` are this account's folder and name, and the name of the box.
    """

    def __init__(self, *, home: str = "", user: str = "", host: str = "") -> None:
        self._names: dict[str, str] = {}
        self._home = home.rstrip("/") if home.count("/") > 1 else ""
        for name, stand_in in ((user, "user"), (host, "host"), (host.partition(".")[0], "host")):
            if len(name) >= _LEAST_NAME and name not in _NOBODY | _WORDS:
                self._names[name] = stand_in
        self._devices: dict[str, str] = {}
        self._addresses: dict[str, str] = {}
        self._people: dict[str, str] = {}
        self._hosts: dict[str, str] = {}

    def document(self, value: Any) -> Any:  # noqa: ANN401 - JSON
        """Return a JSON value with the texts in it redacted. Its keys stay, but for paths."""
        for text in _texts(value):
            self._learn(text)
        return self._value(value, "")

    def text(self, text: str) -> str:
        """Return a text with names, addresses, device numbers and secrets replaced."""
        self._learn(text)
        for pattern, stand_in in _SECRETS:
            text = pattern.sub(stand_in, text)
        if self._home:
            text = re.sub(rf"{re.escape(self._home)}(?![\w.-])", "~", text)
        text = _HOME.sub(lambda found: f"/{found[1]}/{self._person(found[2])}", text)
        text = _SHARE.sub(lambda found: "server:/share" if found[1] else "//server/share", text)
        text = _URL_HOST.sub(self._url_host, text)
        for name, stand_in in self._names.items():
            word = rf"(?<![A-Za-z]){re.escape(name)}(?![A-Za-z])"
            text = re.sub(word, stand_in, text, flags=re.IGNORECASE)
        for number, stand_in in self._devices.items():
            text = text.replace(number, stand_in)
        return _IPV6.sub(self._address, _IPV4.sub(self._address, text))

    def _value(self, value: Any, key: str) -> Any:  # noqa: ANN401 - JSON
        if isinstance(value, dict):
            return {
                self.text(name) if "/" in name else name: self._value(each, name)
                for name, each in value.items()
            }
        if isinstance(value, list | tuple):
            return [self._value(each, key) for each in value]
        if not isinstance(value, str):
            return value
        if key == "user":
            return self._names.get(value) or self._person(value)
        if key == "proxy":
            return "REDACTED"
        # A field that is nothing but one word is a name of its own kind: "nvidia", "linux".
        return value if value in self._names else self.text(value)

    def _learn(self, text: str) -> None:
        for number in _DEVICE.findall(text):
            new = len(self._devices) + 1
            # The shape stays: groups of hexadecimal digits.
            zeros = re.sub(r"[0-9a-fA-F]", "0", number)
            self._devices.setdefault(number, f"{new:x}".zfill(8)[:8] + zeros[8:])

    def _person(self, name: str) -> str:
        return name if name in _NOBODY else _numbered(self._people, name, "person{}")

    def _url_host(self, found: "re.Match[str]") -> str:
        name = found[1] or found[2]
        return found[0].replace(name, self._host(name))

    def _host(self, name: str) -> str:
        if name.endswith(_PUBLIC_HOSTS):
            return name
        return self._names.get(name) or _numbered(self._hosts, name, "host{}.example")

    def _address(self, found: "re.Match[str]") -> str:
        try:
            address = ip_address(found[0])
        except ValueError:
            return found[0]
        if address.is_loopback or address.is_unspecified:
            return found[0]
        # The addresses that are set aside for documentation.
        form = "192.0.2.{}" if address.version == 4 else "2001:db8::{}"
        return _numbered(self._addresses, found[0], form)


def _numbered(known: dict[str, str], name: str, form: str) -> str:
    return known.setdefault(name, form.format(len(known) + 1))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield key
            yield from _texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)
