"""HDF5 files that lead elsewhere, claim what is not there, or end or hang whoever reads them: one sentence each."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import h5py
import numpy as np
import pytest
from h5py import h5t

from tasks.data import hdf5_rows
from tasks.data.hdf5_rows import opened
from tests.tasks.feature_sets import ROOT

ROWS = np.random.default_rng(0).standard_normal((40, 6)).astype("<f4")
SECRET = np.full((40, 6), 7.5, "<f4")


def refusal(path: Path, dataset: str = "hidden6") -> str:
    with pytest.raises(ValueError, match=r"in\.h5") as caught, opened(path, dataset) as rows:
        list(rows.pieces(0, rows.shape[0]))
    sentence = str(caught.value)
    assert str(path) in sentence
    assert "\n" not in sentence
    return sentence


def refused_in_process(path: Path, dataset: str = "hidden6") -> str:
    """The same without another process."""
    with pytest.raises(ValueError, match=r"in\.h5") as caught, h5py.File(path) as file:
        hdf5_rows.checked(path, file, dataset)
    sentence = str(caught.value)
    assert str(path) in sentence
    assert "\n" not in sentence
    return sentence


def outside(folder: Path) -> Path:
    path = folder / "outside.h5"
    with h5py.File(path, "w") as file:
        file["hidden6"] = SECRET
    SECRET.tofile(folder / "outside.bin")
    return path


def external_link(file: h5py.File, folder: Path) -> None:
    file["hidden6"] = h5py.ExternalLink(str(outside(folder)), "hidden6")


def relative_external_link(file: h5py.File, folder: Path) -> None:
    outside(folder)
    file["hidden6"] = h5py.ExternalLink("../outside.h5", "hidden6")


def soft_link_to_external(file: h5py.File, folder: Path) -> None:
    file["away"] = h5py.ExternalLink(str(outside(folder)), "hidden6")
    file["hidden6"] = h5py.SoftLink("/away")


def soft_link_to_itself(file: h5py.File, folder: Path) -> None:
    file["hidden6"] = h5py.SoftLink("/hidden6")


def external_storage(file: h5py.File, folder: Path) -> None:
    outside(folder)
    place = [(str(folder / "outside.bin"), 0, SECRET.nbytes)]
    file.create_dataset("hidden6", SECRET.shape, "<f4", external=place)


def virtual(file: h5py.File, folder: Path) -> None:
    layout = h5py.VirtualLayout(SECRET.shape, "<f4")
    layout[:] = h5py.VirtualSource(str(outside(folder)), "hidden6", SECRET.shape)
    file.create_virtual_dataset("hidden6", layout)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (external_link, "in another file"),
        (relative_external_link, "in another file ('../outside.h5'), which is not read"),
        (soft_link_to_external, "by a link ('hidden6'), which is not followed"),
        (soft_link_to_itself, "by a link ('hidden6'), which is not followed"),
        (external_storage, "in another file (external storage), which is not read"),
        (virtual, "is a virtual dataset"),
    ],
)
def test_what_leads_out_of_the_file_is_refused(
    make: Callable[[h5py.File, Path], None], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "given" / "in.h5"
    path.parent.mkdir()
    with h5py.File(path, "w") as file:
        make(file, tmp_path)
    assert said in refused_in_process(path)


def test_a_group_on_the_way_may_lead_nowhere_else_either(tmp_path: Path) -> None:
    with h5py.File(outside(tmp_path), "a") as file:
        file["deep/hidden6"] = SECRET
    path = tmp_path / "in.h5"
    with h5py.File(path, "w") as file:
        file["deep"] = h5py.ExternalLink(str(tmp_path / "outside.h5"), "deep")
        file["own/hidden6"] = ROWS
        file["other"] = h5py.SoftLink("/own")
    assert "in another file" in refused_in_process(path, "deep/hidden6")
    assert "by a link ('other')" in refused_in_process(path, "other/hidden6")
    with opened(path, "/own//hidden6") as rows:
        np.testing.assert_array_equal(np.concatenate(list(rows.pieces(3, 30))), ROWS[3:33])


def unwritten(file: h5py.File) -> None:
    file.create_dataset("hidden6", (2**31, 4096), "<f4")


def partly_written(file: h5py.File) -> None:
    rows_RD = file.create_dataset("hidden6", (40, 6), "<f4", chunks=(10, 6))
    rows_RD[:20] = ROWS[:20]


def claims_more(file: h5py.File) -> None:
    rows_RD = file.create_dataset("hidden6", (10, 6), "<f4", chunks=(10, 6), maxshape=(None, 6))
    rows_RD[:] = ROWS[:10]
    rows_RD.resize(2**40, axis=0)


def huge_chunks(file: h5py.File) -> None:
    file.create_dataset("hidden6", (2**28, 6), "<f4", chunks=(2**27, 6), compression="gzip")


def wide(file: h5py.File) -> None:
    file.create_dataset("hidden6", (2, 2**40), "<f4", chunks=(1, 4096))


def own_float(file: h5py.File) -> None:
    kind = h5t.IEEE_F32LE.copy()
    kind.set_ebias(120)
    space = h5py.h5s.create_simple(ROWS.shape)
    h5py.h5d.create(file.id, b"hidden6", kind, space).write(
        h5py.h5s.ALL, h5py.h5s.ALL, ROWS, mtype=kind
    )


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (unwritten, "hidden6 of {path} was never written: whoever made it did not finish"),
        (partly_written, "hidden6 of {path} has 2 of its 4 chunks"),
        (claims_more, "hidden6 of {path} has 1 of its 109951162778 chunks"),
        (huge_chunks, "has chunks of (134217728, 6) numbers, more than are read at once"),
        (wide, "claims 1099511627776 numbers a row: more than any feature has"),
        (own_float, "hidden6 of {path} is of a floating-point type of its own"),
    ],
)
def test_what_is_not_there_or_would_be_read_as_something_else_is_refused(
    make: Callable[[h5py.File], None], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "in.h5"
    with h5py.File(path, "w") as file:
        make(file)
    assert said.format(path=path) in refused_in_process(path)


def test_numbers_beyond_the_files_end_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.h5"
    with h5py.File(path, "w") as file:
        file["hidden6"] = ROWS
    # In the dataset's header: rows now and at most, and the bytes of all numbers.
    content = path.read_bytes()
    for old, new in ((40, 400), (40 * 24, 400 * 24)):
        assert old.to_bytes(8, "little") in content
        content = content.replace(old.to_bytes(8, "little"), new.to_bytes(8, "little"))
    path.write_bytes(content)
    said = refused_in_process(path)  # by libhdf5 or, where it is older, by us
    assert "corruption" in said or "claims 9600 bytes, and the file ends before them" in said


@pytest.mark.parametrize("kind", ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("how", [{}, {"chunks": (7, 6), "compression": "gzip", "shuffle": True}])
def test_every_kind_of_float_is_read_as_it_is(
    kind: str, how: dict[str, object], tmp_path: Path
) -> None:
    path = tmp_path / "in.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("hidden6", data=ROWS.astype(kind), **how)
    with h5py.File(path) as file:
        rows_RD = hdf5_rows.checked(path, file, "hidden6")
        np.testing.assert_array_equal(
            hdf5_rows.read(path, rows_RD, 5, 30), ROWS.astype(kind)[5:35], strict=True
        )


def test_rows_come_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "in.h5"
    with h5py.File(path, "w") as file:
        file["hidden6"] = ROWS
    monkeypatch.setattr(hdf5_rows, "PIECE_BYTES", 10 * 6 * 4 + 1)
    with opened(path, "hidden6") as rows:
        assert (rows.shape, rows.dtype) == ((40, 6), "<f4")
        pieces = list(rows.pieces(5, 35))
    assert [len(piece) for piece in pieces] == [10, 10, 10, 5]
    np.testing.assert_array_equal(np.concatenate(pieces), ROWS[5:], strict=True)


# ---- what libhdf5 may do over a damaged file


def crash(path: Path, dataset: str, lane: Connection) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def hang(path: Path, dataset: str, lane: Connection) -> None:
    while True:
        time.sleep(60)


def crash_later(path: Path, dataset: str, lane: Connection) -> None:
    lane.send_bytes(b'{"rows": 40, "width": 6, "dtype": "<f4"}')
    lane.recv_bytes()
    crash(path, dataset, lane)


@pytest.mark.parametrize("serve", [crash, crash_later])
def test_a_reader_that_crashes_is_told_by_its_file(
    serve: Callable[[Path, str, Connection], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "in.h5"
    path.touch()
    monkeypatch.setattr(hdf5_rows, "_serve", serve)
    assert f"{path} ended the process that read it (SIGSEGV)" in refusal(path)


def test_a_reader_ends_when_whoever_asked_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "in.h5"
    with h5py.File(path, "w") as file:
        file["hidden6"] = ROWS
    code = (
        "import os, sys; from pathlib import Path; from tasks.data.hdf5_rows import opened\n"
        "with opened(Path(sys.argv[1]), 'hidden6') as rows:\n"
        "    print(rows.reader.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )  # fmt: skip
    assert done.returncode == -9, done.stderr
    reader = Path("/proc") / done.stdout.strip() / "cmdline"
    for _ in range(600):
        if not reader.exists() or not reader.read_bytes():
            return
        time.sleep(0.1)
    raise AssertionError("the reader is still there")


def test_a_reader_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "in.h5"
    path.touch()
    monkeypatch.setattr(hdf5_rows, "_serve", hang)
    monkeypatch.setattr(hdf5_rows, "PATIENCE_S", 1)
    assert f"{path} was not read within 1 s" in refusal(path)
