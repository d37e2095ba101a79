"""Make the pictures of docs/report.md: `python -m tests.report.screenshots`."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from tests.report.browser import DESKTOP, PHONE, chromium
from tests.report.ledgers import fill, others

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "docs" / "report"
_PICTURES = (
    ("light", DESKTOP, "light", "header", 1420),
    ("dark", DESKTOP, "dark", "#history", 1080),
    ("phone", PHONE, "light", "#estimate", 800),
)


def _pictures(page: Path) -> None:
    with chromium() as browser:
        for name, width, scheme, start, height in _PICTURES:
            browser.open(page, width=width, scheme=scheme)
            top = browser.run(f"return document.querySelector('{start}').offsetTop")
            target = FOLDER / f"{name}.png"
            browser.picture(target, max(0, top - 12), height)
            with Image.open(target) as picture:  # flat colours: a palette is enough
                small = picture.convert("RGB").quantize(256)
            small.save(target, optimize=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ledger = fill(folder / "data" / "ledger.db", 120)
        others(ledger, ["qwen3:8b", "qwen2.5:7b"])
        page = folder / "page.html"
        subprocess.run(
            [sys.executable, "-m", "orchestrator", "report", "-o", str(page)],
            env={**os.environ, "DEPLOY_HOME": name},
            cwd=REPOSITORY,
            check=True,
        )
        FOLDER.mkdir(exist_ok=True)
        _pictures(page)


if __name__ == "__main__":
    main()
