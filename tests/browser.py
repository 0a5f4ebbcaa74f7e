"""A page as a person sees it: headless Chromium, driven with selenium, that counts clicks."""

import os
import shutil
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

Seen = TypeVar("Seen")

WAIT_S = 90.0
"""Longest wait for anything on a page."""
OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars"),
)  # fmt: skip


def lacking() -> str:
    """What a browser lacks here, in a sentence; empty if nothing."""
    try:
        import selenium  # noqa: F401 - whether it is there
    except ImportError:
        return "selenium is not installed: pip install -e '.[dev]'"
    absent = [command for command in ("chromium", "chromedriver") if shutil.which(command) is None]
    if absent:
        return f"{' and '.join(absent)} not found: python3 tests/debian.py browser installs them"
    return ""


def need_browser() -> None:
    """Skip the test where there is no browser; where CI=true, that is a failure."""
    if lacking():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(lacking())


@dataclass
class Browser:
    """One window."""

    driver: "Chrome"
    clicks: int = 0

    def open(self, address: str) -> None:
        """Go to an address, as typed by hand."""
        self.driver.get(address)

    def see(self, xpath: str) -> "WebElement":
        """Wait until such a thing is shown; fails with what is shown instead."""
        return self.until(lambda: self.shown(xpath), f"nothing shown is {xpath}")[0]

    def shown(self, xpath: str) -> "list[WebElement]":
        """All such things that are shown now."""
        from selenium.common.exceptions import StaleElementReferenceException

        found = []
        for element in self.driver.find_elements("xpath", xpath):
            try:
                if element.is_displayed():
                    found.append(element)
            except StaleElementReferenceException:
                continue  # drawn anew while we looked
        return found

    def click(self, xpath: str) -> None:
        """One click by a person: on the first such thing that is shown, as soon as nothing covers it."""
        from selenium.common.exceptions import (
            ElementClickInterceptedException,
            ElementNotInteractableException,
            StaleElementReferenceException,
        )

        def clicked() -> bool:
            try:
                for element in self.shown(xpath)[:1]:
                    element.click()
                    return True
            except (
                ElementClickInterceptedException,
                ElementNotInteractableException,
                StaleElementReferenceException,
            ):
                pass
            return False

        self.until(clicked, f"nothing can be clicked that is {xpath}")
        self.clicks += 1

    def until(self, look: Callable[[], Seen], otherwise: str) -> Seen:
        """Wait until `look` gives something true."""
        end = time.monotonic() + WAIT_S
        while not (seen := look()):
            if time.monotonic() > end:
                page = self.driver.find_element("xpath", "//body").text
                raise AssertionError(f"{otherwise} on {self.driver.current_url}:\n{page[:3000]}")
            time.sleep(0.1)
        return seen


@contextmanager
def browser(profile: Path, *, width: int = 1600, height: int = 1000) -> Iterator[Browser]:
    """A window of its own, that knows nothing of earlier ones."""
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for option in (*OPTIONS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
        options.add_argument(option)
    driver = Chrome(options=options, service=Service(str(shutil.which("chromedriver"))))
    try:
        yield Browser(driver)
    finally:
        driver.quit()


def answers(address: str) -> bool:
    """Whether a server says anything there, yet."""
    try:
        with urllib.request.urlopen(address, timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False
