"""Where results are gathered, without importing MLflow: its address, how it is shown, how its UI is started."""

import os
import re
import signal
import subprocess
import sys

from harness.workdir import Workdir


def uri(workdir: Workdir) -> str:
    """MLFLOW_TRACKING_URI, or a SQLite database in the work folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{workdir.database.resolve()}"


def place_of_store(workdir: Workdir) -> str:
    """The store's address as shown to people: without user, password or query."""
    address = without_password(uri(workdir).partition("?")[0])
    return address.removeprefix("sqlite:///") if address.startswith("sqlite:///") else address


def without_password(text: str) -> str:
    """A text that may hold addresses, without the user and password in them."""
    return re.sub(r"//[^/@\s]*@", "//", text)


def serve_ui(workdir: Workdir, host: str, port: int) -> int:
    """Run MLflow's server on the store until it is stopped.

    Returns:
        Its exit code.
    """
    address = uri(workdir)
    if address.startswith(("http://", "https://")):
        sys.stderr.write(
            f"results are gathered by the server at {place_of_store(workdir)}: open it in a browser\n"
        )
        return 0
    workdir.prepare()
    workdir.artifacts.mkdir(parents=True, exist_ok=True)
    environment = dict(
        os.environ, MLFLOW_DISABLE_TELEMETRY="true", MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false"
    )
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", address]
    command += [
        "--artifacts-destination",
        workdir.artifacts.resolve().as_uri(),
        "--serve-artifacts",
    ]
    command += ["--host", host, "--port", str(port), "--workers", "1"]
    sys.stderr.write(
        f"MLflow on {place_of_store(workdir)}: http://{host}:{port} (Ctrl-C ends it)\n"
    )
    sys.stderr.flush()
    with subprocess.Popen(command, env=environment) as server:
        # Ctrl-C reaches the server by itself; who ends only this process means both.
        signal.signal(signal.SIGTERM, lambda *_: server.terminate())
        try:
            return server.wait()
        except KeyboardInterrupt:
            server.wait()
            return 0
