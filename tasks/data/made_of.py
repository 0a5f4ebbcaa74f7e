"""made_of.json: what exported features were made of, so that labels which their net has seen are not forgotten on the way.

It lies beside the files of an export (`tasks.data.hidden6`), and an import reads it where it lies beside the HDF5 file.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from tasks.data.feature_plan import StorePlan
from tasks.data.plain_json import JSON
from tasks.data.reading import at_most

FILE = "made_of.json"
FORMAT = 1
MOST_BYTES = 2**24
"""Of the file: a thousand times what it takes."""


def told_of(set_name: str, plan: StorePlan) -> str:
    """The text of the file: of which set a store is, which one, and what it was made of."""
    content = {
        "format": FORMAT,
        "set_name": set_name,
        "percepts": plan.identity,
        "made_of": plan.made_of,
    }
    return json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"


def labels_carried(hdf5: Path, videos: str) -> dict[str, JSON]:
    """Whose labels the net of exported features has seen, as `tasks.data.videos` looks for it in a store's `made_of`.

    A net that was trained on the very videos that were exported has seen those that are imported, whatever their files'
    checksums say: features alone have no files. So these videos' identity takes the place of the exported ones'.

    Args:
        hdf5: the file of features; the folder that it lies in, or a link leads to, is looked at.
        videos: identity of the videos that the features are imported for (`Index.content_identity`).

    Returns:
        {"convnet": {"trained_on": ...}}, or nothing where there is no such file, or it tells of no labels.

    Raises:
        ValueError: when the file is there and cannot be read or understood.
    """
    for folder in (hdf5.parent, hdf5.resolve().parent):
        path = folder / FILE
        if path.exists():
            return _carried(path, videos)
    return {}


def _carried(path: Path, videos: str) -> dict[str, JSON]:
    if not path.is_file():  # such as a pipe, which would never end
        raise _not_understood(path)
    try:
        with path.open("rb") as source:
            text = at_most(source, MOST_BYTES + 1)
        content = json.loads(text) if len(text) <= MOST_BYTES else None
    except (OSError, ValueError, RecursionError):
        content = None
    match content:
        case {"format": 1, "set_name": str(exported), "made_of": dict(made_of)}:
            pass
        case _:
            raise _not_understood(path)
    convnet = made_of.get("convnet")
    seen = convnet.get("trained_on") if isinstance(convnet, Mapping) else None
    match seen:
        case None:
            return {}
        case {"set_name": str(trained), "index": str(), "videos": str(those), "split": int()}:
            same = trained == exported or those == made_of.get("videos")
            return {"convnet": {"trained_on": {**seen, "videos": videos if same else those}}}
    raise _not_understood(path)


def _not_understood(path: Path) -> ValueError:
    return ValueError(
        f"{path} should say whose labels the net of these features has seen, and is not what export-features writes: copy it "
        "again from where it came, or, if it is something else, import from a folder without it"
    )
