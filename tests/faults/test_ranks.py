"""Ranks that hang, die, run out of memory or listen where they should not; what they tell each other is data."""

import errno
import io
import json
import math
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as arrays_of
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import array_task, attempt, memory, provenance, result, work
from harness.order import Order
from harness.work import Worker
from harness.workdir import Workdir
from slurm import death, hung, local
from slurm.ddp import Ranks, joined
from slurm.job import Event, Job
from slurm.local import Local
from slurm.meeting import meeting_place, torchrun_environment
from slurm.messages import packed, unpacked
from slurm.worker import StopFlag, carry_out_one
from tasks.cell import Cell
from tasks.data import signs
from tasks.data.digits import Digits
from tasks.data.features import StorePlan, write_shard
from tasks.encoders import LSTM
from tasks.fewshot import FewShot
from tasks.schedule import Schedule
from tasks.subset import Subset
from tests.faults.listeners import LOOPBACK, family, listening
from tests.harness.running import Harness, environment, tiny

ROOT = Path(__file__).resolve().parents[2]
FOR_RANKS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "CUDA_VISIBLE_DEVICES": ""}  # fmt: skip


# What ranks tell each other.

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers() | st.tuples(st.text(), st.integers()), inner)
    ),
    max_leaves=12,
)


@given(value=PLAIN)
@settings(derandomize=True, deadline=None, max_examples=100)
def test_a_plain_value_arrives_as_it_was_with_its_types(value: Any) -> None:
    assert repr(unpacked(packed(value))) == repr(value)


@given(
    array=arrays_of.arrays(
        st.sampled_from(["f4", "f8", "i4", "u1", "?", "U5"]), arrays_of.array_shapes(min_side=0)
    )
)
@settings(derandomize=True, deadline=None, max_examples=60)
def test_an_array_arrives_with_its_bits(array: np.ndarray) -> None:
    told = unpacked(packed({3: (array, array[..., :0])}))
    found, empty = told[3]
    assert (found.dtype, found.shape, empty.shape) == (
        array.dtype,
        array.shape,
        array[..., :0].shape,
    )
    assert found.tobytes() == array.tobytes()


def test_scalars_and_arrays_of_lists_arrive_too() -> None:
    ragged = np.empty(2, dtype=object)
    ragged[:] = [[0.5], "b"]
    number, found = unpacked(packed([np.float32(1.5), ragged]))
    assert (type(number), number) == (np.float32, 1.5)
    assert found.dtype == object
    assert found.tolist() == [[0.5], "b"]


class Bomb:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("code of another rank's ran",))


def test_a_message_with_a_pickle_in_it_is_refused_and_nothing_of_it_runs() -> None:
    sink = io.BytesIO()
    np.save(sink, np.array([Bomb()], dtype=object), allow_pickle=True)
    head = b'["array", 0]'
    for hostile in (
        pickle.dumps(Bomb()),
        len(head).to_bytes(8, "little") + head + sink.getvalue(),
        len(head).to_bytes(8, "little") + head,
        b"",
    ):
        with pytest.raises(ValueError, match="a message that no rank sent"):
            unpacked(hostile)
    with pytest.raises(TypeError, match="no Bomb"):
        packed([Bomb()])


TWO = """
import json, sys
from pathlib import Path

import numpy as np
import torch

from harness import checkpoint, loop
from slurm.ddp import joined

def bomb(*words, **more):
    raise AssertionError("something is pickled between ranks")

with joined() as ranks:
    for name in ("_pickler", "_unpickler"):  # of the collectives of objects
        assert hasattr(torch.distributed.distributed_c10d, name)
        setattr(torch.distributed.distributed_c10d, name, bomb)
    folder = Path(sys.argv[1])
    rank = ranks.rank
    told = {"shared": ranks.share({"a": [1, None]} if rank == 0 else None)}
    own = {rank: {"id": np.array(["x"] * (rank + 1)), "p": np.arange(3.0) * rank}}
    parts = ranks.gather((own, rank == 1))
    told["gathered"] = [[list(part), part[index]["id"].tolist(), part[index]["p"].tolist(), flag]
                        for index, (part, flag) in enumerate(parts)]
    if rank == 0:
        checkpoint.save(folder, cell="c", step=5, state={"weights": torch.ones(2)})
    step, state = loop._loaded(checkpoint.find([folder], cell="c") if rank == 0 else None, "c", ranks)
    told["checkpoint"] = [step, state["weights"].tolist()]
    told["none"] = loop._loaded(None, "c", ranks)
    found = checkpoint.find([folder], cell="c") if rank == 0 else None
    if rank == 1:
        checkpoint.load = bomb
    try:
        loop._loaded(found, "c", ranks)
    except ValueError as error:
        told["refused"] = str(error)
    (folder / f"told-{rank}.json").write_text(json.dumps(told))
"""


def test_two_ranks_tell_each_other_what_they_have_without_a_pickle(tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(TWO)
    done = of_ranks([str(script), str(tmp_path)], tmp_path)
    assert [each.returncode for each in done] == [0, 0], (tmp_path / "stderr").read_text()
    told = [json.loads((tmp_path / f"told-{rank}.json").read_text()) for rank in range(2)]
    assert told[0] == told[1]
    assert told[0]["shared"] == {"a": [1, None]}
    assert told[0]["gathered"] == [[[0], ["x"], [0, 0, 0], False], [[1], ["x", "x"], [0, 1, 2], True]]  # fmt: skip
    assert told[0]["checkpoint"] == [5, [1, 1]]
    assert told[0]["none"] is None
    assert told[0]["refused"].startswith("rank 1 cannot read ")


def of_ranks(words: list[str], folder: Path, **more: str) -> list[subprocess.Popen[bytes]]:
    """Two ranks of one job, started as the local pool starts them; ended."""
    meeting = meeting_place()
    processes = []
    for rank in range(2):
        kept = [meeting.fileno()] if rank == 0 else []
        told = {"HARNESS_LISTENING": str(meeting.fileno())} if rank == 0 else {}
        environ = {
            **environment(), **FOR_RANKS, **torchrun_environment(rank, 2, meeting.getsockname()[1]), **told, **more,
            "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        with (folder / "stderr").open("ab") as sink:
            processes.append(
                subprocess.Popen(
                    [sys.executable, *words], env=environ, pass_fds=kept, stderr=sink, stdout=sink, cwd=folder
                )
            )  # fmt: skip
    meeting.close()
    for process in processes:
        process.wait(timeout=200)
    return processes


# What listens.


@pytest.mark.skipif(sys.platform != "linux", reason="/proc says who listens")
def test_nothing_of_a_run_on_two_ranks_listens_but_on_loopback(tmp_path: Path) -> None:
    words = tiny(methods="pretrained", shots=1, resamples=1, pretrain_steps=20)
    harness = Harness(tmp_path / "work")
    driver = harness.start("run", "fig12", *words, "--ranks", "2")
    seen: set[str] = set()

    def look() -> None:
        while driver.poll() is None:
            seen.update(listening(family(driver.pid)))
            time.sleep(0.1)

    looking = threading.Thread(target=look)
    looking.start()
    _, told = driver.communicate(timeout=200)
    looking.join()
    assert driver.returncode == 0, told
    assert seen  # the two ranks had to meet
    assert seen <= LOOPBACK
    assert {body["usage"]["ranks"] for body in harness.results().values()} == {1, 2}


def test_one_rank_opens_no_socket_and_needs_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    with joined() as ranks:
        assert not torch.distributed.is_initialized()
        assert ranks.share(ranks.gather("alone")) == ["alone"]


def test_nobody_can_take_the_port_before_rank_0_listens_there() -> None:
    with meeting_place() as meeting, socket.socket() as other, pytest.raises(OSError) as refused:  # noqa: PT011 - by its number
        other.bind(meeting.getsockname())
    assert refused.value.errno == errno.EADDRINUSE


# Ranks that hang.

STUB = """
import os, signal, subprocess, sys, time
from pathlib import Path
from slurm import hung
from slurm.worker import StopFlag, serve, take_stdout

folder, rank = Path(sys.argv[1]), os.environ["RANK"]
events, stop = take_stdout(), StopFlag()
hung.tell_stacks_when_asked()

def stuck_for_ever():
    while True:
        time.sleep(60)

def waits_for_the_other():
    while True:
        time.sleep(60)

def carry_out(job, on_event):
    mark = folder / f"{job}-{rank}"
    first = not mark.exists()
    mark.touch()
    last = rank == str(int(os.environ["WORLD_SIZE"]) - 1)
    if job == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if job.startswith("hang") and first:
        stuck_for_ever() if last else waits_for_the_other()
    if job == "stop" and first and last:
        os.kill(os.getpid(), signal.SIGSTOP)
        stuck_for_ever()
    if job == "nap" and first:
        subprocess.Popen([sys.executable, "-c", f"import os, time; time.sleep(2); os.kill({os.getpid()}, 18)"])
        os.kill(os.getpid(), signal.SIGSTOP)
    if job == "slow":  # for longer than patience, and at every moment a step further than before
        began = time.monotonic()
        while time.monotonic() - began < 1.5 * float(os.environ["HARNESS_HUNG_AFTER_S"]):
            stop()
            time.sleep(0.1)

sys.exit(serve(events, stop, carry_out))
"""


@dataclass(frozen=True)
class Hung:
    """What came of jobs that hang, together with others, in a pool of little patience."""

    events: list[Event]
    logs: str

    def kinds(self, job: str) -> list[str]:
        return [event.kind for event in self.events if event.job == job]

    def detail(self, job: str, kind: str) -> str:
        return next(each.detail for each in self.events if (each.job, each.kind) == (job, kind))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Hung:
    folder = tmp_path_factory.mktemp("hung")
    (folder / "worker.py").write_text(STUB)
    events: list[Event] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv(hung.VARIABLE, "6")
        patch.setattr(hung, "LAST_WORDS_S", 2.0)
        command = [sys.executable, str(folder / "worker.py"), str(folder)]
        jobs = [Job(id="hang-alone"), Job(id="hang-two", ranks=2), Job(id="stop", ranks=2), Job(id="nap"), Job(id="slow"), Job(id="kill")]  # fmt: skip
        Local(command, slots=8, logs=folder / "logs").run(jobs, events.append)
    logs = "\n".join(path.read_text() for path in sorted((folder / "logs").iterdir()))
    return Hung(events, logs)


@pytest.mark.parametrize("job", ["hang-alone", "hang-two", "stop"])
def test_ranks_that_hang_are_ended_and_their_job_is_tried_again(pool: Hung, job: str) -> None:
    assert pool.kinds(job) == ["started", "lost", "started", "done"]
    detail = pool.detail(job, "lost")
    assert detail.startswith("no step, and no other sign of it, for 6 s (HARNESS_HUNG_AFTER_S)")
    assert ("rank 1 is stopped by a signal" in detail) == (job == "stop")


def test_where_every_rank_was_is_in_the_log(pool: Hung) -> None:
    assert (
        pool.logs.count("in stuck_for_ever") >= 2
    )  # the one that was stopped may be just before it
    assert pool.logs.count("in waits_for_the_other") == 1
    # Rank 0 of "stop" had done its part: it waits for its next job. Rank 1 went on, to say where it is.
    assert pool.logs.count("Current thread") == 5


def test_a_stop_that_is_shorter_and_steps_that_go_on_harm_nothing(pool: Hung) -> None:
    assert pool.kinds("nap") == pool.kinds("slow") == ["started", "done"]


def test_a_long_chunk_shows_that_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Making a shard of features is one chunk, and may take hours."""
    seen: list[str] = []

    def served(events: object, stop: StopFlag, *jobs: object) -> int:
        del events, jobs
        stop.on_asked = lambda: seen.append("a sign")
        plan = StorePlan.cut({}, [("short", 2), ("long", 30)], 4)
        pieces = {"short": [2], "long": [10, 10, 10]}
        arrays = ((video, [np.ones((n, 4), np.float16) for n in pieces[video]]) for video in pieces)
        write_shard(tmp_path / "store", plan, 0, arrays)
        return 0

    Order(workdir=str(tmp_path), source="fig12", settings=()).write(tmp_path / "order.json")
    monkeypatch.setattr(work, "serve", served)
    monkeypatch.setattr(work, "take_stdout", io.StringIO)
    monkeypatch.setattr(work, "prepare_process", lambda: None)
    monkeypatch.setattr(hung, "tell_stacks_when_asked", lambda: None)
    for name, value in torchrun_environment(0, 1).items():
        monkeypatch.setenv(name, value)
    handlers = {
        each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
    }
    try:
        assert work.main([str(tmp_path / "order.json")]) == 0
    finally:
        signs.tell(lambda: None)
        for each, handler in handlers.items():
            signal.signal(each, handler)
    assert len(seen) == 4


def test_a_worker_that_the_system_killed_says_what_to_do_about_memory(pool: Hung) -> None:
    detail = pool.detail("kill", "failed")
    assert detail.startswith("3 times in a row: its worker was killed by SIGKILL")
    for knob in ("--jobs", "--together", "batch", "memory_gb"):
        assert knob in detail


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [(3, 4, "; the system ran out of memory: "), (3, 3, "; if memory ran out: "), (None, None, "; if memory ran out: ")],
)  # fmt: skip
def test_whether_memory_ran_out_is_asked_of_the_system(
    before: int | None,
    now: int | None,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(death, "killed_for_memory", lambda: now)
    assert words in death.in_words("rank 1", -9, tmp_path / "none", before)
    assert (
        death.in_words("rank 1", -11, tmp_path / "none", before) == "rank 1 was killed by SIGSEGV"
    )


def test_a_worker_that_is_slow_to_start_does_not_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = STUB.replace("import os, signal", "import time; time.sleep(3)\nimport os, signal", 1)
    assert slow != STUB
    (tmp_path / "worker.py").write_text(slow)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv(hung.VARIABLE, "1")
    events: list[Event] = []
    command = [sys.executable, str(tmp_path / "worker.py"), str(tmp_path)]
    Local(command, slots=1, logs=tmp_path / "logs").run([Job(id="job")], events.append)
    assert [event.kind for event in events if event.job == "job"] == ["started", "done"]


def test_an_array_task_refuses_a_patience_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    order = Order(workdir="work", source="fig12", settings=(), code=provenance.code())
    assert array_task._why_not(order) == ""
    monkeypatch.setenv(hung.VARIABLE, "soon")
    assert array_task._why_not(order).startswith("HARNESS_HUNG_AFTER_S=soon: it is the number")


def test_time_in_which_the_driver_itself_slept_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(hung.VARIABLE, "100")
    pool = Local(["false"], slots=1, logs=tmp_path)
    group = local._Group([], tmp_path / "log", jobs={"a": set()})
    pool._groups.append(group)
    pool._looked -= 1e6  # a laptop that was shut for eleven days
    assert pool._look_out() == []
    assert group.quiet_s <= 2.0
    assert not group.asked


@pytest.mark.parametrize(
    ("said", "seconds"), [("", 1800.0), ("90", 90.0), (" 2.5 ", 2.5), ("0", math.inf)]
)
def test_patience_is_a_number_of_seconds(said: str, seconds: float) -> None:
    assert hung.patience_s({hung.VARIABLE: said}) == seconds
    assert hung.patience_s({}) == 1800.0


@pytest.mark.parametrize("said", ["soon", "-1", "0.5", "nan", "inf", "1h"])
def test_any_other_patience_is_refused_in_a_sentence(said: str) -> None:
    with pytest.raises(ValueError, match=rf"HARNESS_HUNG_AFTER_S={said}: .* or 0 to wait for ever"):
        hung.patience_s({hung.VARIABLE: said})


HANGS = """
import os, time

from torch import nn

from configs.fig12 import fig12
from tasks.encoders import own


class Hangs(nn.Module):
    def __init__(self, frame_size):
        super().__init__()
        self.rnn = nn.GRU(frame_size, 6)

    def forward(self, frames_TBD):
        if os.environ["RANK"] == "1":
            self.stuck_on_a_disk()
        return self.rnn(frames_TBD)[0]

    def stuck_on_a_disk(self):
        time.sleep(1000)


def hangs():
    return fig12(encoder=own(Hangs), methods=("pretrained",), shots=(1,), resamples=1, pretrain_steps=5, finetune_steps_few=2)
"""


def test_where_torchrun_started_them_ranks_end_themselves_with_every_stack_in_the_cells_log(
    tmp_path: Path,
) -> None:
    (tmp_path / "mine.py").write_text(HANGS)
    source = f"{tmp_path}/mine.py:hangs"
    Order(workdir=str(tmp_path / "work"), source=source, settings=()).write(tmp_path / "order.json")
    from harness.source import find

    key = next(
        cell.key for cell in find(source).experiment(()).all_cells() if type(cell.task).__name__ == "Pretrain"
    )  # fmt: skip
    words = ["-m", "harness.work", str(tmp_path / "order.json"), key]
    done = of_ranks(words, tmp_path, **{hung.VARIABLE: "6"})
    assert [each.returncode for each in done] == [work.HUNG, work.HUNG], (tmp_path / "stderr").read_text()  # fmt: skip
    (folder,) = (tmp_path / "work" / "runs").glob("*/attempt-*")
    logs = {path.name: path.read_text() for path in folder.glob("log*.txt")}
    assert set(logs) == {"log.txt", "log-rank1.txt"}
    assert all("most recent call first" in text for text in logs.values())
    assert "in stuck_on_a_disk" in logs["log-rank1.txt"]
    assert "in train" in logs["log.txt"]  # rank 0 waits for the other in the loop
    told = json.loads((folder / result.FAILURE).read_text())["error"]
    assert "no step, and no other sign of it, for 6 s (HARNESS_HUNG_AFTER_S)" in told


# Memory, and results that are damaged.


@dataclass(frozen=True, kw_only=True, slots=True)
class Greedy(FewShot):
    """The same, which asks for more memory than there is."""

    on_a_gpu: bool

    def batch(self, seed: int, step: int, shard: Any) -> Any:
        if self.on_a_gpu:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\nGPU 0 has less.")  # fmt: skip
        return torch.empty(2**55)


def cell(kind: type[FewShot] = FewShot, **more: Any) -> Cell:
    task = kind(
        subset=Subset(dataset=Digits(), split=1, shots=1, resample=0),
        encoder=LSTM(units=4, layers=1),
        dropout=0.0,
        schedule=Schedule(steps=1, batch_size=4, learning_rate=1e-2),
        **more,
    )
    return Cell(task=task, seed=0, label="LSTM")


def worker(folder: Path, made: Cell) -> Worker:
    order = Order(workdir=str(folder), source="tests", settings=())
    alone = Ranks(rank=0, num_ranks=1, device=torch.device("cpu"))
    return Worker(order, alone, lambda: False, {made.key: made})


@pytest.mark.parametrize("on_a_gpu", [True, False])
def test_memory_that_ran_out_names_the_knobs_in_the_event_and_the_failure(
    on_a_gpu: bool, tmp_path: Path
) -> None:
    made = cell(Greedy, on_a_gpu=on_a_gpu)
    told: list[Event] = []
    carry_out_one(made.key, worker(tmp_path, made).carry_out, told.append)
    (folder,) = result.attempts(Workdir(tmp_path), made)
    failure = json.loads((folder / result.FAILURE).read_text())["error"]
    assert (told[-1].kind, told[-1].detail) == ("failed", failure)
    assert "\n" not in failure
    for knob in ("--jobs", "--together", "batch", "--ranks" if on_a_gpu else "memory_gb"):
        assert knob in failure


@pytest.mark.parametrize(
    ("error", "is_so"),
    [
        (MemoryError(), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), True),
        (RuntimeError("shapes do not match"), False),
        (OSError(errno.ENOSPC, "No space left on device"), False),
    ],
)
def test_only_errors_of_memory_get_that_advice(error: Exception, is_so: bool) -> None:
    memory.advise(error)
    memory.advise(error)  # on its way through
    assert memory.ran_out(error) == is_so == bool(getattr(error, "__notes__", ()))
    assert attempt.in_one_line(error).count("batch") == is_so


def test_a_result_that_is_damaged_is_set_aside_by_the_worker_and_made_again(tmp_path: Path) -> None:
    made = cell()
    worker(tmp_path, made).carry_out(made.key, lambda event: None)
    accepted = Workdir(tmp_path).accepted(made.key)
    whole = accepted.read_bytes()
    accepted.unlink()
    accepted.write_bytes(whole.replace(b'"seed": 0', b'"seed": 1'))
    told: list[Event] = []
    carry_out_one(made.key, worker(tmp_path, made).carry_out, told.append)
    assert told[-1].kind == "done", told
    found = result.read(Workdir(tmp_path), made, verify=True)
    assert found is not None
    assert found.body["scores"] == json.loads(whole)["scores"]
    assert len(list(accepted.parent.glob("damaged-*.json"))) == 1
