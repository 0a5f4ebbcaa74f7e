"""What the code must never do, whoever wrote it last; who listens where; and that no secret of the environment is kept or told."""

import ast
import base64
import os
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

import pytest

from tests.faults.listeners import LOOPBACK, family, listening
from tests.harness.faked import invoke
from tests.harness.running import environment
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("harness", "configs", "tasks", "reports", "slurm", "models")
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]

MODULES = {"pickle", "cPickle", "_pickle", "shelve", "marshal", "dill", "cloudpickle", "joblib"}
"""Reading what these wrote can run code."""
BUILTINS = {"eval", "exec", "compile", "__import__"}
METHODS = {
    **dict.fromkeys(("read_pickle", "to_pickle", "unsafe_load", "full_load"), "unpickles"),
    **dict.fromkeys(("extractall", "unpack_archive"), "takes paths from an archive"),
    **dict.fromkeys(("load_model", "load_checkpoint"), "may unpickle"),
    **dict.fromkeys(
        ("broadcast_object_list", "all_gather_object", "gather_object", "scatter_object_list"),
        "unpickles what other ranks send",
    ),
    **dict.fromkeys(("system", "popen", "getoutput", "getstatusoutput"), "is a shell"),
}
SHELLS = {"sh", "bash", "dash", "zsh", "/bin/sh", "/bin/bash"}


def doubtful(source: str) -> list[str]:
    """What a file does that it must not, each as its line and why."""
    found = []
    for node in ast.walk(ast.parse(source)):
        reason = ""
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else [node.module or ""]  # fmt: skip
            bad = sorted({each.partition(".")[0] for each in names} & MODULES)
            reason = f"imports {bad[0]}" if bad else ""
        elif isinstance(node, ast.Call):
            reason = _doubtful_call(node)
        elif isinstance(node, ast.List | ast.Tuple):
            reason = _doubtful_words(node.elts)
        if reason:
            found.append(f"line {node.lineno}: {reason}")
    return found


def _doubtful_call(call: ast.Call) -> str:
    said = ast.unparse(call.func)
    name = said.rpartition(".")[2]
    keywords = {each.arg: each.value for each in call.keywords}
    first = call.args[0] if call.args else None

    def is_said(keyword: str, value: bool) -> bool:
        told = keywords.get(keyword)
        return isinstance(told, ast.Constant) and told.value is value

    if said in BUILTINS:
        return f"calls {said}"
    if "." in said and name in METHODS:
        return f"{said} {METHODS[name]}"
    if said == "torch.load" and not is_said("weights_only", True):
        return "torch.load without weights_only=True"
    if "allow_pickle" in keywords and not is_said("allow_pickle", False):
        return f"{said} with allow_pickle"
    if said == "yaml.load":
        return "yaml.load builds objects"
    if "shell" in keywords and not is_said("shell", False):
        return f"{said} with a shell"
    if said.startswith("subprocess.") and isinstance(first, ast.Constant | ast.JoinedStr):
        return f"{said} of one string"
    return ""


def _doubtful_words(words: list[ast.expr]) -> str:
    """`sh -c` of anything but a constant; what comes behind the script are its arguments, which no shell reads."""
    said = [each.value if isinstance(each, ast.Constant) else None for each in words]
    for place, word in enumerate(said[:-2]):
        is_shell = isinstance(word, str) and word in SHELLS and said[place + 1] == "-c"
        if is_shell and not isinstance(said[place + 2], str):
            return "a script for a shell that is no constant"
    return ""


def test_nothing_is_unpickled_executed_unpacked_or_given_to_a_shell() -> None:
    found = {str(path.relative_to(ROOT)): doubtful(path.read_text(encoding="utf-8")) for path in FILES}  # fmt: skip
    assert len(found) > 200
    assert {path: told for path, told in found.items() if told} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import joblib.numpy_pickle",
        "eval('1')",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "np.load(path, allow_pickle=True)",
        "pd.read_pickle(path)",
        "archive.extractall()",
        "yaml.load(text)",
        "os.system('ls')",
        "subprocess.run(f'ls {path}')",
        "subprocess.run(words, shell=True)",
        "subprocess.run(['sh', '-c', f'ls {path}'])",
        "x = [*before, 'bash', '-c', script]",
        "mlflow.pyfunc.load_model(uri)",
    ],
)
def test_each_of_these_would_be_found(source: str) -> None:
    assert len(doubtful(source)) == 1


def test_what_is_safe_is_not_taken_for_it() -> None:
    for source in (
        "torch.load(path, weights_only=True)",
        "np.load(path, allow_pickle=False)",
        "['sh', '-c', 'exec \"$@\"', 'sh', path]",
        "re.compile(pattern)",
        "subprocess.run([program, path])",
    ):
        assert doubtful(source) == []


SECRET = "c4n4ry"
GUARDED = f"http://me:{SECRET}{{}}@127.0.0.1:9"
"""Nobody listens there: what fails is told, too."""
VARIABLES = {
    "MLFLOW_TRACKING_URI": GUARDED.format(1),
    "HARNESS_MIRROR": f"{GUARDED.format(2)}/mnist",
    "http_proxy": GUARDED.format(3),
    "DATABASE_URL": f"postgresql://me:{SECRET}4@127.0.0.1:9/runs",
    **{
        name: f"{SECRET}{number}"
        for number, name in enumerate(
            ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "AWS_ACCESS_KEY_ID",
             "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_ACCESS_KEY", "GOOGLE_API_KEY", "HF_TOKEN",
             "GITHUB_TOKEN", "WANDB_API_KEY", "OPENAI_API_KEY"),
            start=5,
        )
    },
}  # fmt: skip
CURIOUS = """
import os
import sys

from configs.fig12 import fig12


def curious():
    if any(word == "harness.work" for word in sys.orig_argv):
        print("a worker has", {k: v for k, v in os.environ.items() if k.startswith(("MLFLOW_T", "HARNESS_M"))}, file=sys.stderr)
    return fig12(methods=("single_frame",), shots=(1,), resamples=1, single_frame_steps=2)
"""
"""An experiment that prints what only the collector needs, wherever it is made."""


def spellings(secret: str) -> list[bytes]:
    """A text as it is, and inside of what was encoded in base64, wherever it begins there."""
    found = [secret.encode()]
    for shift in range(3):
        told = base64.b64encode(b"\0" * shift + secret.encode())
        found.append(told[-(-shift * 8 // 6) : len(told) - 4])
    return found


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder in which everything was done with secrets in the environment, and what each verb said."""
    place = tmp_path_factory.mktemp("secrets")
    file, work = place / "curious.py", place / "work"
    file.write_text(CURIOUS)
    name, there = f"{file}:curious", ("--workdir", str(work))
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in VARIABLES.items():
            patch.setenv(variable, value)
        patch.setenv("HARNESS_DATA", str(place / "data"))
        patch.setenv("HARNESS_LOG_MODELS", "0")
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        for variable in ("NO_PROXY", "no_proxy"):
            patch.delenv(variable, raising=False)
        said = {}

        def do(key: str, *words: str) -> None:
            done = invoke(*words)
            assert isinstance(done.exception, SystemExit | None), repr(done.exception)
            said[key] = done.output

        do("run", "run", name, "--cluster", "local", *there)
        do("collect", "collect", name, *there)
        own = f"sqlite:///{work}/mlflow.db"
        do("collect to", "collect", name, "--to", own, *there)
        do("collect to server", "collect", name, "--to", GUARDED.format(0), *there)
        do("report", "report", name, "--show", *there)
        do("report from", "report", name, "--from", own, "--workdir", str(place / "again"))
        do("report from server", "report", name, "--from", GUARDED.format(0), *there)
        do("status", "status", name, *there)
        do("status json", "status", name, "--json", *there)
        (cell,) = (work / "runs").iterdir()
        do("logs", "logs", cell.name, *there)
        do("show", "show", cell.name, *there)
        do("verify", "verify", name, *there)
        do("doctor", "doctor", *there)
        do("doctor json", "doctor", "--json", *there)
        do("fetch", "data", "fetch", "mnist")
        do("fetch json", "data", "fetch", "mnist", "--json")
        yield place, said


def test_what_was_done_is_what_the_secrets_were_there_for(
    told: tuple[Path, dict[str, str]],
) -> None:
    place, said = told
    assert "1 of 1 cells are in" in said["collect to"]
    assert "could not be" in said["collect"] + said["collect to server"]
    assert "127.0.0.1:9" in said["fetch"]
    assert list(place.glob("again/reports/curious/curious.html"))
    assert all(said.values())
    logs = [path.read_text() for path in (place / "work").rglob("*.log")]
    assert any("a worker has {}" in text for text in logs)


def test_no_verb_tells_a_secret(told: tuple[Path, dict[str, str]]) -> None:
    for verb, said in told[1].items():
        assert SECRET not in said, verb


def test_no_file_keeps_a_secret(told: tuple[Path, dict[str, str]]) -> None:
    kept = [path for path in told[0].rglob("*") if path.is_file()]
    endings = {path.suffix for path in kept}
    assert {".json", ".db", ".parquet", ".html", ".csv", ".md", ".png", ".log"} <= endings
    for path in kept:
        content = path.read_bytes()
        assert not [each for each in spellings(SECRET) if each in content], path


def test_the_spellings_are_found() -> None:
    for before in ("", "m", "me", "me:"):
        header = base64.b64encode(f"{before}{SECRET}12".encode())
        assert any(each in header for each in spellings(SECRET)), before


def test_who_listens_is_found() -> None:
    with socket.create_server(("0.0.0.0", 0)):
        assert "0.0.0.0" in listening(family(os.getpid()))


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="only Linux says who listens")
def test_the_ui_listens_on_this_machine_alone(told: tuple[Path, dict[str, str]]) -> None:
    work, port = told[0] / "work", free_port()
    command = [sys.executable, "-m", "harness", "ui", "--port", str(port), "--workdir", str(work)]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            while not _answers(direct, port):
                assert process.poll() is None
            found = listening(family(process.pid))
        finally:
            process.terminate()
    assert found
    assert found <= LOOPBACK


def _answers(direct: urllib.request.OpenerDirector, port: int) -> bool:
    try:
        with direct.open(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def collectives_of_objects(source: str) -> list[int]:
    """Lines that give objects to other processes by torch.distributed, which pickles them: a peer on the network could answer."""
    names = (
        (node.lineno, node.attr if isinstance(node, ast.Attribute) else node.id)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute | ast.Name)
    )
    return [line for line, name in names if re.search(r"_object(_list)?$", name)]


def test_ranks_exchange_numbers_and_text_and_no_pickles() -> None:
    assert collectives_of_objects("torch.distributed.broadcast_object_list(x)") == [1]
    assert collectives_of_objects("dist.all_gather_object(a, b)\ngather_object(a)") == [1, 2]
    found = {
        str(path.relative_to(ROOT)): collectives_of_objects(path.read_text(encoding="utf-8"))
        for path in FILES
    }
    assert {path: lines for path, lines in found.items() if lines} == {}
