"""The headers of a tar archive, as we write them, and the few of them that we read.

A plain file, a name in ASCII, a size: nothing else is a member of a bundle. Links, devices,
folders, sparse files, and the extra headers that give a name or a size a second time are refused,
because two readers could disagree about them.
"""

import tarfile

BLOCK = 512
END = bytes(2 * BLOCK)
_NAME, _PREFIX = 100, 155
_LARGEST_OCTAL = 8**11


class Refused(ValueError):
    """A header that no bundle has; the text is a part of a sentence."""


def padding(size_bytes: int) -> int:
    """Return how many zeros follow the content of a member, up to the next block."""
    return -size_bytes % BLOCK


def room_of(size_bytes: int) -> int:
    """Return how many bytes of an archive a member of that size takes."""
    return BLOCK + size_bytes + padding(size_bytes)


def header(name: str, size_bytes: int, *, mode: int, mtime_s: int) -> bytes:
    """Return the block before a member's content, which GNU tar, bsdtar and busybox read.

    Raises ValueError: a name that does not fit into it.
    """
    prefix, short = _split(name)
    fields = b"".join(
        (
            short.encode("ascii").ljust(_NAME, b"\0"),
            b"%07o\0" % mode,
            b"%07o\0" % 0,  # who owned it on the box where it was written is no one's concern
            b"%07o\0" % 0,
            _size(size_bytes),
            b"%011o\0" % mtime_s,
            b" " * 8,
            b"0",
            bytes(_NAME),
            b"ustar\x0000",
            bytes(32 + 32 + 8 + 8),
            prefix.encode("ascii").ljust(_PREFIX, b"\0"),
            bytes(12),
        )
    )
    return fields[:148] + b"%06o\0 " % sum(fields) + fields[156:]


def read(block: bytes) -> tuple[str, int] | None:
    """Return the name and the size that a header states; None: the end of the archive.

    Raises Refused.
    """
    if len(block) < BLOCK:
        raise Refused("ends in the middle")
    if not any(block):
        return None
    if block[257:262] != b"ustar":
        raise Refused("is no tar file, so it is no bundle")
    kind = block[156:157]
    if kind != b"0":
        raise Refused(f"has a member of type {kind.decode('ascii', 'replace')}: no plain file")
    try:
        found = tarfile.TarInfo.frombuf(block, "ascii", "strict")
    except (tarfile.HeaderError, ValueError) as e:
        raise Refused(f"has a damaged header ({e})") from e
    if found.size < 0 or not found.isreg():
        raise Refused(f"has a member {found.name!r} that is no plain file")
    return found.name, found.size


def _size(size_bytes: int) -> bytes:
    """Octal digits as far as these reach (8 GiB), else GNU's binary form."""
    if size_bytes < _LARGEST_OCTAL:
        return b"%011o\0" % size_bytes
    return b"\x80" + size_bytes.to_bytes(11, "big")


def _split(name: str) -> tuple[str, str]:
    """Return a long name in the two fields that a header has for it."""
    if len(name) <= _NAME:
        return "", name
    for place in range(len(name) - _NAME - 1, min(len(name), _PREFIX + 1)):
        if name[place] == "/":
            return name[:place], name[place + 1 :]
    raise ValueError(f"the name {name!r} is too long for an archive")
