"""A real headless Chromium: what it asked for, what it complained about, what it shows."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

DESKTOP, PHONE = 1280, 375
_FLAGS = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars")


class Browser:
    """One tab. A page is opened as a person opens a file."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self._driver = driver

    def open(self, page: Path, *, width: int = DESKTOP, scheme: str = "light") -> None:
        """Show a file in a window of that width, under a scheme of the system (light, dark)."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._tell("Emulation.setEmulatedMedia", features=features)
        phone = width < 600
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": phone}
        self._tell("Emulation.setDeviceMetricsOverride", **size)
        for log in ("browser", "performance"):
            self._driver.get_log(log)  # type: ignore[no-untyped-call]  # empties it
        self._driver.get(page.absolute().as_uri())

    def run(self, script: str) -> Any:
        """Return what a function body of JavaScript returns in the page."""
        return self._driver.execute_script(script)

    def complaints(self) -> list[str]:
        """Return what is on the console since the page was opened."""
        entries = self._driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in entries]

    def requests(self) -> list[str]:
        """Return every address that was asked for since the page was opened."""
        entries = self._driver.get_log("performance")  # type: ignore[no-untyped-call]
        events = [json.loads(entry["message"])["message"] for entry in entries]
        return [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]

    def picture(self, target: Path, top: int, height: int) -> None:
        """Save a part of the page as PNG, from `top` on, in the width of the window."""
        width = self.run("return innerWidth")
        clip = {"x": 0, "y": top, "width": width, "height": height, "scale": 1}
        found = self._tell("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        target.write_bytes(base64.b64decode(found["data"]))

    def _tell(self, command: str, **arguments: Any) -> Any:
        return self._driver.execute_cdp_cmd(command, arguments)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Debian's chromium with its driver, and end both."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in _FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
