"""MLflow's UI on a work folder, and where on its pages things are (MLflow 3.17)."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.browser import WAIT_S, Browser, answers
from tests.harness.running import Harness, environment

TRAINING = "//*[normalize-space(text())='Model training']"
CHARTS = "//label[.//input[@value='CHART']]"
CARD = "//*[@data-testid='experiment-view-compare-runs-card']"
GROUP_BY = "//button[contains(normalize-space(), 'Group by')]"
CLOSE_ASSISTANT = "//button[@data-component-id='mlflow.assistant.chat_panel.close']"


def link(name: str) -> str:
    """A link of this name."""
    return f"//a[normalize-space()='{name}']"


def run_of(name: str) -> str:
    """The link to a run in the table."""
    return f"//a[normalize-space()='{name}' and contains(@href, '/runs/')]"


def box_before(name: str) -> str:
    """What opens the list of a run's children."""
    return f"{run_of(name)}/ancestor::*[@role='gridcell']//button"


def chart(metric: str) -> str:
    """The chart of a metric."""
    return f"{CARD}[.//*[normalize-space(text())='{metric}']]"


def tab(name: str) -> str:
    """A tab of a run's page."""
    return f"//*[@role='tab' and normalize-space()='{name}']"


@contextmanager
def served(harness: Harness, page: Browser) -> Iterator[str]:
    """`harness ui` on a free port, as long as it is needed; gives the address of its first page."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    log = (
        harness.work.parent / "ui.log"
    )  # a file: a pipe that nobody reads would hold the server up
    with log.open("wb") as sink:
        server = subprocess.Popen(
            harness.command("ui", "--port", str(port)), stdout=sink, stderr=sink, env=environment()
        )
    try:
        page.until(
            lambda: server.poll() is not None or answers(f"{address}/health"),
            f"no server answers at {address}",
        )
        assert server.poll() is None, log.read_text()
        yield address
    finally:
        server.terminate()
        server.wait(WAIT_S)
