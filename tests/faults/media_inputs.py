"""Files of every kind that people bring, small and sound, real clips among them; and the same altered.

How an input is altered follows from a seed and a number, and from which real clips and encoders there are.
"""

import gzip
import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np

from tasks.data.index import Index, IndexedVideo
from tasks.data.sheet import VIDEO_ENDINGS, Split
from tests.real_data import BESIDE
from tests.tasks.clips import write_clip

KINDS = (
    "video",
    "ucf101",
    "video",
    "idx",
    "csv",
    "video",
    "index",
    "hmdb51",
    "npy",
    "toml",
    "video",
    "made_of",
)
"""Input n is of kind n modulo their number."""
EXTREMES = (
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x80",
    b"\1\0\0\0",
    b"\0\0\0\1",
)
TOKENS = (
    b"nan", b"-1", b"1e999", b"9" * 5000, b"\xe9", b"\0", b"\x1b[2J", b"../../../etc/passwd", b"/etc/passwd", b'"', b"'", b",", b"\r", b"\n",
    b"[" * 20_000, b"{" * 3000, b" ", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"split99999999999", b"video,label", b"=", b"true", b"0x10",
)  # fmt: skip
VALUES: tuple[object, ...] = (
    None, True, -1, 0, 2**31, 2**63, 10**400, 1.5, 1e308, float("nan"), float("inf"), "", "x", "..", "../x.avi", "/etc/passwd", "a\0b", "\ud800",
    [], [[]], {}, {"x": 1}, [None], "é" * 1000,
)  # fmt: skip


# ---- real ones


def make_seeds(folder: Path) -> None:
    """Small files of every kind, and real clips where there are any."""
    videos = folder / "video"
    codecs = {
        "a.avi": "mpeg4", "b.avi": "msmpeg4", "a.mp4": "mpeg4", "a.mkv": "mpeg4", "b.mkv": "ffv1", "a.mov": "mpeg4", "a.mpg": "mpeg1video",
        "a.ts": "mpeg2video", "a.flv": "flv", "a.wmv": "wmv2", "a.webm": "libvpx", "h.mp4": "libx264",
    }  # fmt: skip
    import av

    for name, codec in codecs.items():
        if codec not in av.codecs_available or not _encodes(codec):
            continue
        write_clip(videos / name, 8, height=32, width=48, codec=codec)
    real = Path(os.environ.get("HARNESS_TEST_DATA") or BESIDE)
    clips = sorted(
        path for path in (real / "clips").rglob("*") if path.name.endswith(VIDEO_ENDINGS)
    )
    for number, path in enumerate(each for each in clips if each.stat().st_size < 500_000):
        shutil.copy(path, videos / f"real{number}{path.suffix}")
    _write(folder / "ucf101/classInd.txt", "1 Archery\r\n2 Bowling\r\n")
    for side, split in (("train", 1), ("test", 1), ("train", 2), ("test", 2)):
        groups = (1, 2) if (side == "train") == (split == 1) else (3, 4)
        lines = [
            f"{name}/v_{name}_g{group:02}_c{clip:02}.avi{f' {label}' if side == 'train' else ''}"
            for label, name in enumerate(("Archery", "Bowling"), 1) for group in groups for clip in (1, 2)
        ]  # fmt: skip
        _write(folder / f"ucf101/{side}list{split:02}.txt", "\r\n".join([*lines, ""]))
    for name in ("run", "walk"):
        lines = [f"Film{film}_{name}_f_cm_np1_fr_med_{film}.avi {film % 3}" for film in range(9)]
        _write(folder / f"hmdb51/{name}_test_split1.txt", "\n".join([*lines, ""]))
    rows = [
        f"{label}/clip é {n}.avi,{label},g{n},{('train', 'test')[n % 2]}"
        for label in ("run", "walk")
        for n in range(4)
    ]
    _write(folder / "csv/mine.csv", "\n".join(["video,label,group,split1", *rows, ""]))
    content = np.arange(5 * 6 * 6, dtype=np.uint8).tobytes()
    (folder / "idx").mkdir()
    (folder / "idx/train-images-idx3-ubyte").write_bytes(
        bytes([0, 0, 8, 3, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0, 6]) + content
    )
    (folder / "npy").mkdir()
    np.save(
        folder / "npy/mnist_test_seq.npy",
        np.arange(20 * 4 * 4, dtype=np.uint8).reshape(20, 1, 4, 4),
    )
    told = [
        IndexedVideo(
            id=f"{label}/{n}", path=f"{label}/{n}.avi", label=label, group=f"g{n}", num_frames=20, fps=25.0, height=32, width=48, bytes=9,
            sha256="0" * 64,
        )
        for label in (0, 1) for n in range(3)
    ]  # fmt: skip
    made = Index(
        name="mine", videos_dir="/videos", classes=("run", "walk"), videos=tuple(told),
        splits={1: Split(train=("0/0", "0/1", "1/0"), test=("0/2", "1/2"))}, splits_from="csv",
    )  # fmt: skip
    made.write(folder / "index")
    _write(
        folder / "toml/mine.toml",
        'partition = "gpu"\ngpus_per_node = 4\nmemory_gb = 2.5\nsetup = ["module load cuda"]\nrequeue = true\n',
    )
    seen = {"set_name": "mine", "index": "i", "videos": "v", "split": 1}
    text = {
        "format": 1,
        "set_name": "mine",
        "percepts": "p",
        "made_of": {"videos": "v", "convnet": {"trained_on": seen}},
    }
    _write(folder / "made_of/made_of.json", json.dumps(text))


def _encodes(codec: str) -> bool:
    import av

    try:
        av.CodecContext.create(codec, "w")
    except (av.FFmpegError, ValueError):
        return False
    return True


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())


# ---- altered ones


def write_input(seeds: Path, folder: Path, seed: int, number: int) -> Path:
    """Make input `number`: a folder with the seeds of its kind, one of them altered; returns that file."""
    kind = KINDS[number % len(KINDS)]
    random = np.random.default_rng([seed, number])
    shutil.rmtree(folder, ignore_errors=True)
    known = sorted((seeds / kind).iterdir())
    chosen = known[random.integers(len(known))]
    if kind == "video":  # whole folders of clips need not be copied
        folder.mkdir(parents=True)
    else:
        shutil.copytree(seeds / kind, folder)
    content = chosen.read_bytes()
    other = known[random.integers(len(known))].read_bytes()
    if kind == "index" and random.random() < 0.7:
        content = sealed(_altered_json(json.loads(content)["content"], random))
    elif kind == "idx" and random.random() < 0.6:
        packed = (
            random.random() < 0.5
        )  # else the file is altered before it is packed, and its checksum is right
        content = (
            _altered(gzip.compress(content, mtime=0), other, random)
            if packed
            else gzip.compress(_altered(content, other, random), mtime=0)
        )
    elif kind == "made_of" and random.random() < 0.5:
        content = json.dumps(_altered_json(json.loads(content), random)).encode()
    else:
        text = kind not in ("video", "idx", "npy")
        for _ in range(random.integers(1, 4)):
            content = (
                _altered_text(content, random)
                if text and random.random() < 0.6
                else _altered(content, other, random)
            )
    path = folder / chosen.name
    path.write_bytes(content)
    return path


def _altered(content: bytes, other: bytes, random: np.random.Generator) -> bytes:
    """One of nine kinds of damage."""
    array = bytearray(content or b"\0")
    size = len(array)
    place = int(random.integers(size))
    length = int(random.integers(1, max(2, min(size, 4096))))
    match int(random.integers(9)):
        case 0:  # bits
            for _ in range(int(2 ** random.integers(6))):
                array[random.integers(size)] ^= 1 << random.integers(8)
        case 1:  # cut short
            del array[place:]
        case 2:  # without its beginning
            del array[:length]
        case 3:  # a piece of another
            start = int(random.integers(max(1, len(other))))
            array[place : place + length] = other[start : start + length]
        case 4:  # fields of the header
            for _ in range(int(random.integers(1, 6))):
                start = int(random.integers(min(size, 600)))
                array[start : start + 4] = EXTREMES[random.integers(len(EXTREMES))]
        case 5:  # halves the other way round
            array = array[size // 2 :] + array[: size // 2]
        case 6:  # the right beginning, and nothing more
            keep = int(random.integers(4, 65))
            array[keep:] = random.bytes(size)
        case 7:  # a gap
            array[place : place + length] = bytes(len(array[place : place + length]))
        case _:  # more than there was
            array[place:place] = random.bytes(length)
    return bytes(array)


def _altered_text(content: bytes, random: np.random.Generator) -> bytes:
    lines = content.split(b"\n")
    line = int(random.integers(len(lines)))
    place = int(random.integers(len(lines[line]) + 1))
    token = TOKENS[random.integers(len(TOKENS))]
    match int(random.integers(5)):
        case 0:
            del lines[line]
        case 1:
            lines.insert(line, lines[random.integers(len(lines))])
        case 2:
            lines[line] = lines[line][:place] + token + lines[line][place:]
        case 3:
            lines[line] = lines[line][:place] + token + lines[line][place + len(token) :]
        case _:
            words = lines[line].replace(b",", b" ").split(b" ")
            lines[line] = lines[line].replace(words[random.integers(len(words))] or b" ", token, 1)
    return b"\n".join(lines)


def _altered_json(value: object, random: np.random.Generator) -> object:
    """The same but for one value, somewhere, that is another, or gone."""
    if not isinstance(value, dict | list) or not value or random.random() < 0.15:
        return VALUES[random.integers(len(VALUES))]
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = keys[random.integers(len(keys))]
    copy = dict(value) if isinstance(value, dict) else list(value)
    if random.random() < 0.1:
        del copy[key]
    else:
        copy[key] = _altered_json(value[key], random)
    return copy


def sealed(content: object) -> bytes:
    """An index.json that matches its own checksum."""
    body = json.dumps(content).encode()
    head = f'{{"format": 1, "sha256": "{hashlib.sha256(body).hexdigest()}", "content": '
    return head.encode() + body + b"}\n"
