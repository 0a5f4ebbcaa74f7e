"""MLflow's database in a file: there whole or not at all; one that cannot be read is set aside, as results are the facts.

MLflow makes its tables in some seventy steps, and a process that is killed between two of them leaves what it can neither
use nor mend. So they are made in memory, and come to be in one step, unless another process was there first. Whoever makes or
sets aside a database has it to itself meanwhile; file systems without locks go without, where the work folder's own has to do.
"""

import fcntl
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from mlflow.store.db.utils import create_sqlalchemy_engine
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from harness.uri import artifacts_beside, database_of
from tasks.data import writing

LOG = logging.getLogger(__name__)
# Creating tables is no news to who watches a run.
logging.getLogger("mlflow").setLevel(logging.WARNING)

BESIDE = ("-journal", "-wal", "-shm")
"""Ends of the names of what SQLite keeps beside a database: another one of that name would be taken for what it was of."""
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
PATIENCE_S = 20.0
"""How long another process may have the database to itself, as MLflow waits."""
_MEMORY = "sqlite:///:memory:"
_SEEN: dict[str, tuple[int, int]] = {}
"""Device and inode of the databases that this process has connections to, by their addresses."""


class Unreadable(Exception):
    """A database that is not this project's own, and no database of MLflow that can be read."""


def ready(address: str, *, is_own: bool) -> None:
    """See to it that a database can be opened by MLflow, in this process too where another lay there before.

    Args:
        address: sqlite:///PATH.
        is_own: whether it is a work folder's own, which is rebuilt from the results; what another has may be nowhere else.

    Raises:
        Unreadable: when another's cannot be read.
        OSError: when the disk is full, read-only or gone; nothing half made is left under the database's name.
    """
    path = database_of(address)
    assert path is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path):
        wrong = what_is_wrong(path)
        if wrong and not is_own:
            raise Unreadable(
                f"{path} is no database of MLflow that can be read ({wrong}): move it away, or name another"
            )
        if wrong:
            _set_aside(path, wrong)
        if not path.exists():
            _make(path, address)
    here = path.stat().st_dev, path.stat().st_ino
    # MLflow keeps its connections for as long as a process lives: to a file that was deleted too. And by itself it would
    # make a folder of the name that an address has for one with a % in its name.
    made = create_sqlalchemy_engine(address)  # type: ignore[no-untyped-call]
    engine = SqlAlchemyStore._engine_map.setdefault(address, made)
    if _SEEN.setdefault(address, here) != here:
        engine.dispose()
        _SEEN[address] = here


def set_aside_if_damaged(address: str, error: BaseException) -> bool:
    """Set a work folder's own database aside if this is why something failed; returns whether it is.

    Raises:
        OSError: when the disk is read-only or gone.
    """
    path, wrong = database_of(address), _damage(error)
    if path is None or not wrong:
        return False
    with _alone(path):
        if path.exists():
            _set_aside(path, wrong)
    return True


def what_is_wrong(path: Path) -> str:
    """Why a file is no database of MLflow that is whole, as far as can be told at once; empty where it is, or is not there."""
    if not path.exists():
        return ""
    size = path.stat().st_size
    if size == 0:
        return "it is empty"
    try:
        with closing(_connected(path)) as database:
            found = database.execute("select 1 from sqlite_master where name = 'experiments'")
            has_tables = found.fetchone() is not None
            is_used = has_tables and database.execute("select 1 from experiments").fetchone()
            (page_size,) = database.execute("pragma page_size").fetchone()
    except (
        sqlite3.Error
    ) as error:  # one that is locked, or may not be read, is not damaged: MLflow says what it is
        return _damage(error)
    if size % page_size:
        return "it was cut short"
    # MLflow notes an experiment as soon as all tables are made.
    return "" if is_used else "its tables were not all made"


def _damage(error: BaseException | None) -> str:
    """What SQLite says of a damaged database, if that is among the causes of an error."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        for each in (error, getattr(error, "orig", None)):
            if isinstance(each, sqlite3.Error):
                code = getattr(each, "sqlite_errorcode", None)
                if code is not None and code & 0xFF in DAMAGED:
                    return str(each)
        error = error.__cause__ or error.__context__
    return ""


def _connected(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, timeout=PATIENCE_S)


def _set_aside(path: Path, wrong: str) -> None:
    number = 1
    while (aside := path.with_name(f"{path.name}.unreadable-{number}")).exists():
        number += 1
    # What lies beside goes first: left behind, it would be taken for the next database's, and spoil it.
    for end in (*BESIDE, ""):
        part = path.with_name(path.name + end)
        if part.exists():
            writing.rename(part, aside.with_name(aside.name + end))
    LOG.warning(
        "%s cannot be read (%s): it is kept as %s, and built again from the results",
        path,
        wrong,
        aside.name,
    )


def _make(path: Path, address: str) -> None:
    """Put an empty database of MLflow in its place, in one step, unless another process did so meanwhile."""
    writing.remove_abandoned(path.parent)  # of one who was killed at this
    for end in BESIDE:
        writing.remove(path.with_name(path.name + end))
    artifacts = artifacts_beside(address)
    assert artifacts is not None
    with suppress(FileExistsError):
        writing.write_new(path, _empty(artifacts.as_uri()))


def _empty(artifacts: str) -> bytes:
    """An empty database of MLflow, which says that files are kept at this file://.

    By itself MLflow would take the current folder for that, and fails where its name has a quote in it.
    """
    store = SqlAlchemyStore(_MEMORY, artifacts)  # type: ignore[no-untyped-call]
    try:
        with closing(store.engine.raw_connection()) as connection:
            database = connection.driver_connection
            assert isinstance(database, sqlite3.Connection)
            return bytes(database.serialize())
    finally:
        store.engine.dispose()
        SqlAlchemyStore._engine_map.pop(_MEMORY, None)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Have a database to oneself, among those who ask for it here, where the file system has locks and its folder can be written."""
    with ExitStack() as held:
        with suppress(OSError):
            # Not the folder itself: NFS gives this lock on what is open for writing alone.
            lock = held.enter_context(path.with_name(f".{path.stem}.lock").open("a+b"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
