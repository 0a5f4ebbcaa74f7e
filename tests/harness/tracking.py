"""A real tracking server on a free port, and `harness` in this process beside it."""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError

from tests.harness.running import environment
from tests.ports import free_port


@contextmanager
def tracking_server(folder: Path) -> Iterator[str]:
    """MLflow's server with its database and the files of all runs in a folder; gives its address without http://."""
    with server_process(folder) as (address, _):
        yield address


@contextmanager
def server_process(folder: Path) -> Iterator[tuple[str, int]]:
    """The same, on a folder that another one may have had; gives its process group too, which may be killed."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--serve-artifacts"]
    command += ["--artifacts-destination", (folder / "files").as_uri()]
    environ = {**environment(), "MLFLOW_DISABLE_TELEMETRY": "true"}
    environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            command, cwd=folder, env=environ, stdout=log, stderr=log, start_new_session=True
        ) as server,
    ):
        try:
            while not _answers(port):
                assert server.poll() is None, (folder / "log").read_text()
            yield f"127.0.0.1:{port}", server.pid
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, 15)


def _answers(port: int) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def drawn(folder: Path) -> dict[str, bytes]:
    """The files of all reports below a folder, by path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }
