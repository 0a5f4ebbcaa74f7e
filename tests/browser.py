"""A headless Chromium that asks nothing of the network."""

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.tools import needs

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

QUIET = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--window-size=1200,1000",
)  # fmt: skip


@contextmanager
def chromium(profile: Path) -> Iterator["Chrome"]:
    """A browser with an empty profile in a folder; skips, or fails in CI, where there is none."""
    program = needs("chromium", "chromium-browser", "google-chrome")
    driver = needs("chromedriver")
    if importlib.util.find_spec("selenium") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("in CI this test must run, but selenium is not installed")
        pytest.skip("selenium is not installed")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = program
    for word in (*QUIET, f"--user-data-dir={profile}"):
        options.add_argument(word)
    browser = webdriver.Chrome(service=Service(driver), options=options)
    try:
        yield browser
    finally:
        browser.quit()
