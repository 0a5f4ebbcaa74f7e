"""Where results are gathered, without importing MLflow: its address, how it is shown, how its UI is started."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

from harness.workdir import Workdir

SQLITE = "sqlite:///"
KINDS = "http://HOST:PORT or https://HOST (a tracking server), or sqlite:///PATH (a database file)"


PATIENCE = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "5",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
}
"""How MLflow's client waits for a server unless the environment has other values: a call ends within seven minutes, whatever
the server says. MLflow's own values are twenty, and as long as the server asks for."""
ESCAPE = (
    "write a /, # or ? of a password as %2F, %23 or %3F, or give it as MLFLOW_TRACKING_PASSWORD"
)


OF_SERVERS = ("MLFLOW_TRACKING_", "HARNESS_MIRROR")
"""How variables begin that have addresses, users, passwords and tokens of servers."""
LONGEST_LINE = 400
"""Letters of an error that are shown."""


class NoAddress(ValueError):
    """A text that is no address of an MLflow store."""


def uri(workdir: Workdir) -> str:
    """MLFLOW_TRACKING_URI, or a SQLite database in the work folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or own(workdir)


def own(workdir: Workdir) -> str:
    """The SQLite database in the work folder."""
    return address_of(workdir.database)


def address_of(database: Path) -> str:
    """The address of a SQLite database: % and ? of its path would be taken for what they mean in an address."""
    return f"{SQLITE}{database.resolve()}".replace("%", "%25").replace("?", "%3F")


def database_of(address: str) -> Path | None:
    """The file of a SQLite database; None for a server."""
    if not address.startswith(SQLITE):
        return None
    return Path(unquote(address.removeprefix(SQLITE).partition("?")[0]))


def checked(address: str, *, exists: bool = False) -> str:
    """An address that a person gave, with the path of a database made absolute.

    Args:
        address: what was given.
        exists: whether a database must be there already.

    Raises:
        NoAddress: in one sentence, without any password, when it is of no kind that can be written to or read.
    """
    told = shown(address)
    if address.startswith(("http://", "https://")):
        try:
            parts = urlsplit(address)
            good = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            good = False
        if _is_cut_by_password(address):
            raise NoAddress(f"'{told}': {ESCAPE}")
        if not good:
            raise NoAddress(f"'{told}' names no host and port: write {KINDS}")
        if parts.query or parts.fragment:
            raise NoAddress(
                f"'{told}' goes on after a ? or #, which MLflow does not pass on: leave that out, and give a token as "
                "MLFLOW_TRACKING_TOKEN"
            )
        return address.rstrip("/")
    if address.startswith(SQLITE):
        place = address.removeprefix(SQLITE)
        if not place or place.startswith(":memory:") or "?" in place:
            raise NoAddress(f"'{told}' names no database file: write sqlite:///PATH")
        path = Path(place).expanduser()
        if path.is_dir():
            raise NoAddress(
                f"{path} is a folder: name the database file in it, sqlite:///{path}/mlflow.db"
            )
        if not path.parent.is_dir():
            raise NoAddress(
                f"there is no folder {path.parent} for the database {path.name}: make it first"
            )
        if exists and not path.is_file():
            raise NoAddress(f"there is no database {path}")
        return address_of(path)
    if address.startswith(("file:", "/", ".")):
        raise NoAddress(
            f"'{told}' is a file or folder, and MLflow keeps runs in databases: write sqlite:///PATH"
        )
    if re.match(r"(postgresql|mysql|mssql)\b", address):
        raise NoAddress(
            f"'{told}' is a database behind a server: give the address of the MLflow server in front of it"
        )
    raise NoAddress(f"'{told}' is no address of an MLflow store: write {KINDS}")


def connected(address: str) -> str:
    """The address without user and password, which MLflow is given apart: what it says and keeps then cannot show them.

    Raises:
        NoAddress: when a sign in the password ends the host's part of the address too early.
    """
    if not address.startswith(("http://", "https://")):
        return address
    if _is_cut_by_password(address):
        raise NoAddress(f"'{shown(address)}': {ESCAPE}")
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    parts = urlsplit(address)
    if parts.username is not None:
        os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username)
        os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password or "")
    return without_password(address)


def forget_servers() -> None:
    """Take what only gathering and fetching need out of this process's environment, as workers do: they speak to no server.

    A user's code that runs in them, or a library that it loads, may print its environment into a log. What such code may need
    itself, such as keys to where its data lie, stays.
    """
    for name in [each for each in os.environ if each.startswith(OF_SERVERS)]:
        del os.environ[name]


def _is_cut_by_password(address: str) -> bool:
    """Whether an @ stands behind what ends the part of an address in which user and host are."""
    after = address.partition("//")[2]
    host = re.split(r"[/?#]", after, maxsplit=1)[0]
    return "@" in after[len(host) :]


def artifacts_beside(address: str) -> Path | None:
    """Where files of a SQLite store are kept: beside its database; None for a server, which keeps them itself."""
    database = database_of(address)
    return database.resolve().parent / "mlartifacts" if database else None


def place_of_store(workdir: Workdir) -> str:
    """The store's address as shown to people: without user, password or query."""
    return shown(uri(workdir))


def shown(address: str) -> str:
    """An address as shown to people: without user, password or query; of a database the file."""
    if address.startswith(SQLITE):
        return unquote(address.removeprefix(SQLITE).partition("?")[0])
    place = re.split(r"[?#]", without_password(address), maxsplit=1)[0]
    return re.sub(r"^[^/\s]*@", "", place)


def without_password(text: str) -> str:
    """A text that may hold addresses, without the user and password in them, and without what follows a ?."""
    text = re.sub(r"//[^\s'\"]*@", "//", text)  # to the last @: a password may hold any sign
    return re.sub(r"(https?://[^\s?'\"]*)\?[^\s'\")]*", r"\1", text)


def first_line(error: BaseException) -> str:
    """What an error of MLflow says in one line that may be shown; of a connection that failed the innermost reason.

    A server's own words may be in it: what is no sign to be seen is replaced, and a line has an end.
    """
    line = without_password((str(error).strip().splitlines() or [""])[0])
    line = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in line)
    reason = re.search(r"\[Errno -?\d+\] ([^'\")\]]+)", line)
    line = reason[1].strip() if reason else line
    return (
        line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 1]}\N{HORIZONTAL ELLIPSIS}"
    )


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
    artifacts = artifacts_beside(address) or workdir.artifacts.resolve()
    artifacts.mkdir(parents=True, exist_ok=True)
    environment = dict(
        os.environ, MLFLOW_DISABLE_TELEMETRY="true", MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false"
    )
    # MLflow would make a folder of the name that the address of this one has, if there is a % in it.
    here, place = (
        (workdir.root, f"{SQLITE}{workdir.database.name}")
        if address == own(workdir)
        else (None, address)
    )
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", place]
    command += ["--artifacts-destination", artifacts.as_uri(), "--serve-artifacts"]
    command += ["--host", host, "--port", str(port), "--workers", "1"]
    sys.stderr.write(
        f"MLflow on {place_of_store(workdir)}: http://{host}:{port} (Ctrl-C ends it)\n"
    )
    sys.stderr.flush()
    with subprocess.Popen(command, env=environment, cwd=here) as server:
        # Ctrl-C reaches the server by itself; who ends only this process means both.
        signal.signal(signal.SIGTERM, lambda *_: server.terminate())
        try:
            return server.wait()
        except KeyboardInterrupt:
            server.wait()
            return 0
