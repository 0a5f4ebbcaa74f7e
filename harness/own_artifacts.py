"""Where MLflow's database of a work folder says that files are: in this folder, after it was copied or moved too.

The database has absolute places. Those of a folder that was copied would be the other one's, and what is collected here
would be written there.
"""

from mlflow.entities import Experiment
from mlflow.store.tracking.dbmodels import models
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking._tracking_service.utils import _get_store
from sqlalchemy import Table, func, or_, update

COLUMNS = ("artifact_location", "artifact_uri")
"""They hold places of experiments, models and runs; looked for in all tables, so that no version of them has to be known."""


def bring_along(address: str, experiment: Experiment, own: str) -> None:
    """Say of all files that lay where those of an experiment did that they lie in the folder's own place, at once or not at all.

    A place that is none of this project's making, such as a server's or one that a person chose, is left alone.

    Args:
        address: of the work folder's own SQLite store.
        experiment: as it stands there.
        own: the place of its files now, as file:// without a / at the end.

    Raises:
        mlflow.exceptions.MlflowException: when the database cannot be written; nothing was changed.
    """
    old = str(experiment.artifact_location)
    is_ours = old.startswith("file:") and old.rpartition("/")[2] == own.rpartition("/")[2]
    store = _get_store(address)  # type: ignore[no-untyped-call]
    if old == own or not is_ours or not isinstance(store, SqlAlchemyStore):
        return
    tables: list[Table] = list(models.SqlRun.metadata.tables.values())
    with store.ManagedSessionMaker(read_only=False) as session:
        for place in (table.c[name] for table in tables for name in COLUMNS if name in table.c):
            # Not LIKE, to which large and small letters are the same.
            lies_there = or_(place == old, func.substr(place, 1, len(old) + 1) == f"{old}/")
            moved = own + func.substr(place, len(old) + 1)
            session.execute(update(place.table).where(lies_there).values({place.name: moved}))
