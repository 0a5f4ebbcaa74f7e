"""A tracking server on this machine that answers what a test wants it to: whole evidence of two cells, or anything else."""

import copy
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

from harness import carried, files

NAME = "fig12"
KEYS = ("a1" * 32, "b2" * 32)
ATTEMPT = "attempt-20260101T000000.000000-7"
SCORES = {"video_accuracy": 50.0, "num_test_videos": 8.0}
API = "/api/2.0/mlflow"


def evidence() -> dict[str, Any]:
    """What `harness collect` writes of a fig12 of two cells."""
    places = [
        {
            "dataset": "Toys",
            "split": 1,
            "method": method,
            "shots": "1",
            "labels_per_class": 1,
            "resample": 0,
        }
        for method in ("single frame", "LSTM")
    ]
    scores = [
        {"metric": "video_accuracy", "unit": "%", "higher_is_better": True, "whole": False},
        {"metric": "num_test_videos", "unit": "", "higher_is_better": True, "whole": True},
    ]
    return {
        "format": carried.FORMAT,
        "experiment": NAME,
        "title": "Two toys",
        "drawn_by": "configs.fig12:_draw",
        "expected": [
            {**place, "cell": key, "seed": 0} for place, key in zip(places, KEYS, strict=True)
        ],
        "failed": {},
        "classes": {"Toys": ["left", "right"]},
        "provenance": {
            "commit": "0" * 40,
            "dirty": False,
            "drawn_by_commit": None,
            "knobs": [],
            "packages": [{"python": "3.11"}],
            "hosts": ["here"],
            "processors": ["one"],
            "devices": ["cpu"],
            "data": [],
            "cells": 2,
            "done": 2,
            "missing": [],
            "needed_runs": {},
            "chance": {"Toys": 50.0},
            "notes": ["Toys are not videos."],
            "runs": "../../runs",
        },
        "runs": {
            key: {"run": ATTEMPT, "digest": carried.digest(key, ATTEMPT, SCORES), "scores": scores}
            for key in KEYS
        },
        "names": {key: key[:16] for key in KEYS},
    }


def of_parts(*parts: str) -> dict[str, Any]:
    """Evidence of a whole of these parts."""
    told = evidence()
    left = ("drawn_by", "expected", "failed", "classes")
    kept = {key: value for key, value in told.items() if key not in left}
    return {**kept, "parts": list(parts), "shared": 0, "told": {"knobs": "none set"}}


def sealed(key: str, listed: object, **more: object) -> bytes:
    """A result as `harness.result.seal` writes it, whoever makes it."""
    body = {"format": 1, "cell": key, "attempt": ATTEMPT, "files": listed, **more}
    body["sha256"] = files.sha256(files.to_json(body))
    return files.to_json(body)


@dataclass
class HostileStore:
    """A context manager; what it tells can be changed while it runs."""

    evidence: Any = field(default_factory=evidence)
    """Of the parent run, as JSON or as text."""
    parts: dict[str, Any] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    """Of the parent run, in place of what they are."""
    metrics: dict[str, dict[str, float]] = field(
        default_factory=lambda: {key: dict(SCORES) for key in KEYS}
    )
    files: dict[str, bytes] = field(default_factory=dict)
    """Of runs, by CELL/NAME."""
    listing: list[dict[str, Any]] = field(default_factory=list)
    """What every folder of artifacts is said to have."""
    says: Callable[[str], bytes | None] = lambda path: None
    """Answers a path by other bytes."""
    status: int = 200
    """Of those."""
    asked: list[str] = field(default_factory=list)

    def __enter__(self) -> "HostileStore":
        store = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                store._answer(self)

            do_POST = do_GET

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def altered(self, *path: str | int, to: object) -> None:
        """Tell the usual evidence with one value changed."""
        self.evidence = alter(evidence(), path, to)

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"] or 0))
        self.asked.append(request.path)
        answer, status = self.says(request.path), self.status
        if answer is None:
            answer, status = self._usual(request.path, body), 200
        request.send_response(404 if answer is None else status)
        content = b"{}" if answer is None else answer
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    def _usual(self, path: str, body: bytes) -> bytes | None:
        place, asked = urlsplit(path).path, parse_qs(urlsplit(path).query)
        if place == f"{API}/experiments/get-by-name":
            return _json(
                {"experiment": {"experiment_id": "1", "name": NAME, "lifecycle_stage": "active"}}
            )
        if place == f"{API}/runs/search":
            runs = (
                ["parent"]
                if "role = 'parent'" in json.loads(body)["filter"]
                else list(self.metrics)
            )
            return _json({"runs": [self._run(each) for each in runs]})
        if place == f"{API}/runs/get":
            return _json({"run": self._run(asked["run_id"][0])})
        artifacts = "/api/2.0/mlflow-artifacts/artifacts"
        if place == artifacts:
            return _json({"files": self.listing})
        if place.startswith(f"{artifacts}/"):
            return self._file(place.removeprefix(f"{artifacts}/"))
        return None

    def _file(self, place: str) -> bytes | None:
        run, _, name = place.partition("/")
        if run == "parent" and name.endswith("evidence.json"):
            part = name.rpartition("/")[0]
            told = self.parts.get(part) if part else self.evidence
            return told.encode() if isinstance(told, str) else _json(told)
        return self.files.get(f"{self._cell(run)}/{name}")

    def _cell(self, run: str) -> str:
        """Ids of runs are safe names, whatever cells are called."""
        return list(self.metrics)[int(run.removeprefix("run"))]

    def _run(self, name: str) -> dict[str, Any]:
        if name == "parent":
            run, tags = "parent", {
                "role": "parent",
                "content": "c",
                "work_folder": "f" * 32,
                "work_folder_name": "there:work",
                **self.tags,
            }  # fmt: skip
            metrics: dict[str, float] = {}
        else:
            cell = self._cell(name) if name.startswith("run") else name
            run = f"run{list(self.metrics).index(cell)}"
            tags = {"role": "cell", "cell": cell, "attempt": ATTEMPT, "complete": "2"}
            metrics = self.metrics[cell]
        return {
            "info": {
                "run_id": run,
                "run_uuid": run,
                "experiment_id": "1",
                "artifact_uri": f"mlflow-artifacts:/{run}",
                "lifecycle_stage": "active",
                "status": "FINISHED",
            },
            "data": {
                "tags": [{"key": key, "value": value} for key, value in tags.items()],
                "metrics": [{"key": key, "value": value, "timestamp": 1, "step": 0} for key, value in metrics.items()],
            },
        }  # fmt: skip


def alter(content: Any, path: tuple[str | int, ...], to: object) -> Any:
    """A copy with one value in it replaced."""
    made = copy.deepcopy(content)
    *way, last = path
    inside = made
    for step in way:
        inside = inside[step]
    inside[last] = to
    return made


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
