"""Wrong files, lists and stores as users have them: one sentence, an exit code, and nothing computed on them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result
from safetensors.torch import save_file

from models.convnets import SqueezeNet
from tasks.data.feature_plan import read_plan
from tests.harness.faked import invoke
from tests.harness.running import sets
from tests.tasks.clips import write_clip

EXTRACTION = {"dataset": "mine", "convnet": "raw_pixels", "side": 3, "rows": 24, "columns": 32, "shard_frames": 45}  # fmt: skip
INDEX = ("--labels", "by-folder", "--groups", r"(g\d+)", "--splits", "2", "--test-share", "0.5", "--jobs", "1")  # fmt: skip


def extract(folder: Path, **changes: object) -> Result:
    words = sets({**EXTRACTION, **changes})
    return invoke("run", "percepts", *words, "--cluster", "inline", "--workdir", str(folder / "w"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight clips of two classes, indexed as `mine`, with two stores of percepts. Tests take copies."""
    folder = tmp_path_factory.mktemp("made")
    for number, frames in enumerate((20, 17, 9, 31, 24, 18, 40, 16)):
        name = f"{'ab'[number % 2]}/{'ab'[number % 2]}_g{number // 2:02d}.avi"
        write_clip(folder / "videos" / name, frames, seed=number)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_DATA", str(folder / "data"))
        words = ("data", "index", "mine", "--videos", str(folder / "videos"), *INDEX)
        assert invoke(*words).exit_code == 0
        for side in (3, 4):
            done = extract(folder, side=side)
            assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def mine(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy whose set has the store of 3 x 3 pixels; the other one lies beside the set, as `other`."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True, symlinks=True)
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")
    for store in list((tmp_path / "data/mine/percepts").iterdir()):
        if read_plan(store).frame_size == 4 * 4:
            store.rename(tmp_path / "other")
    return tmp_path


def store_of(folder: Path) -> Path:
    (store,) = (folder / "data/mine/percepts").iterdir()
    return store


def fig12(folder: Path, *more: str) -> Result:
    chosen = {"dataset": "mine", "shots": 1, "resamples": 1, "methods": "single_frame", "single_frame_steps": 2}  # fmt: skip
    return invoke("run", "fig12", *sets(chosen), "--cluster", "inline", "--workdir", str(folder / "f"), *more)  # fmt: skip


def sentence(done: Result, code: int = 2) -> str:
    """The one sentence of a refusal."""
    assert done.exit_code == code, done.output
    said = [line for line in done.stderr.splitlines() if line.startswith("harness: ")]
    assert len(said) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return said[0]


def cells_told(capfd: pytest.CaptureFixture[str]) -> list[str]:
    """What was said of single cells, which goes past this process's own stderr."""
    return [line for line in capfd.readouterr().err.splitlines() if line.startswith("cell ")]


# ---- stores


def test_a_store_cut_short_is_refused_before_anything_runs(mine: Path) -> None:
    shard = store_of(mine) / "shard-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    assert (
        f"{store_of(mine).name} of mine lacks 1 of 6 shards: run `harness run percepts` again, it makes what is missing"
        in sentence(fig12(mine))
    )
    verified = invoke("data", "verify", "mine")
    assert verified.exit_code == 1
    assert "extract shard 2 again" in verified.stderr
    assert "mine: 8 of 8 files are there" in verified.stdout
    assert "mine: 0 of 1 stores of percepts" in verified.stdout


def test_a_store_whose_description_was_cut_short_is_named(mine: Path) -> None:
    path = store_of(mine) / "store.json"
    path.write_bytes(path.read_bytes()[:-20])
    assert f"{path} was cut short or altered: it states no plan" in sentence(fig12(mine))
    assert "delete this file and make the store again" in invoke("data", "verify", "mine").stderr


def test_a_store_of_another_convnet_under_this_name_is_refused(mine: Path) -> None:
    store = store_of(mine)
    shutil.rmtree(store)
    (mine / "other").rename(store)
    assert "its name should end in that: it was renamed, or is another convnet's" in sentence(
        fig12(mine)
    )
    assert "is another convnet's" in invoke("data", "verify", "mine").stderr


def test_a_flipped_bit_fails_what_reads_it_by_the_videos_name(
    mine: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for shard in sorted(
        store_of(mine).glob("shard-*")
    ):  # the last number of each shard's last video
        content = bytearray(shard.read_bytes())
        content[-1] ^= 1
        shard.write_bytes(content)
    assert invoke("data", "verify", "mine").exit_code == 0
    verified = invoke("data", "verify", "mine", "--full")
    assert verified.exit_code == 1
    assert "6 parts of" in verified.stderr
    failed = fig12(mine)
    assert failed.exit_code == 1
    (told,) = cells_told(capfd)
    assert "is not what was written (its checksum differs): delete the file and extract" in told


def test_a_store_of_videos_that_were_indexed_again_is_refused(mine: Path) -> None:
    write_clip(mine / "videos/a/a_g00.avi", 21, seed=99)
    words = ("data", "index", "mine", "--videos", str(mine / "videos"), *INDEX)
    assert invoke(*words).exit_code == 0
    said = sentence(fig12(mine))
    assert "was made of other videos than those that mine holds now: run `harness run percepts` again" in said  # fmt: skip
    assert "was made of other videos" in invoke("data", "verify", "mine").stderr


# ---- convnets and their weights


def test_a_convnet_that_gives_nan_or_infinity_leaves_no_shard(
    mine: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (mine / "sick.py").write_text(
        "import torch\n"
        "from configs.percepts import percepts\n"
        "from tasks.convnets import own_convnet\n"
        "class Sick(torch.nn.Module):\n"
        "    def __init__(self, value):\n"
        "        super().__init__()\n"
        "        self.value = float(value)\n"
        "    def forward(self, images_BCYX):\n"
        "        return images_BCYX.mean((2, 3)) * self.value\n"
        "def sick(*, value: str = 'nan'):\n"
        "    net = own_convnet(Sick, value=value, feature_size=3, preprocessing='torchvision')\n"
        "    return percepts(dataset='mine', net=net)\n"
    )
    for value, told in (("nan", "nan, not a finite number"), ("inf", "inf, not a finite number")):
        words = ("run", f"{mine / 'sick.py'}:sick", "--set", f"value={value}")
        failed = invoke(*words, "--cluster", "inline", "--workdir", str(mine / f"w-{value}"))
        assert failed.exit_code == 1, failed.output
        (line,) = cells_told(capfd)
        assert "video a/a_g00, frame 0, number 0 is" in line
        assert told in line
    assert not list((mine / "data/mine/percepts").glob("rgb-Sick*/*shard*"))


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-5000])
    return path


def saved(folder: Path, name: str, tensors: dict[str, torch.Tensor]) -> Path:
    path = folder / name
    if name.endswith(".safetensors"):
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    return path


def renamed(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.replace("features.0.", "conv_one."): each for name, each in tensors.items()}


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (lambda to, own: saved(to, "x.pth", torch.nn.Linear(3, 3).state_dict()), "has the weights of another network, so name the right file"),
        (lambda to, own: saved(to, "x.safetensors", renamed(own)), "2 of its keys are missing (features.0.weight, features.0.bias) and 2 of its keys are unexpected"),
        (lambda to, own: cut(saved(to, "x.pth", own)), "is damaged, or no .pth file of plain tensors"),
        (lambda to, own: cut(saved(to, "x.safetensors", own)), "is damaged, or no .safetensors file of plain tensors"),
    ],
    ids=["another net's", "other names", "cut .pth", "cut .safetensors"],
)  # fmt: skip
def test_weights_that_do_not_fit_are_one_sentence_before_any_cell_is_started(
    mine: Path,
    write: Callable[[Path, dict[str, torch.Tensor]], Path],
    told: str,
) -> None:
    path = write(mine, SqueezeNet().state_dict())
    before = set((mine / "w/runs").iterdir())
    refused = extract(mine, convnet="squeezenet", weights=path, rows=240, columns=320)
    assert told in sentence(refused)
    assert set((mine / "w/runs").iterdir()) == before


# ---- lists and folders


def index(folder: Path, *words: object) -> Result:
    return invoke("data", "index", "new", *map(str, words), "--jobs", "1")


def test_a_list_that_names_an_absent_video_says_so_before_the_others_are_decoded(
    mine: Path,
) -> None:
    table = mine / "t.csv"
    lines = [f"{c}/{c}_g0{g}.avi,{c},{'train' if g else 'test'}" for c in "ab" for g in range(4)]
    table.write_text("\n".join(["video,label,split", *lines, "a/zzz.avi,a,train"]))
    done = index(mine, "--videos", mine / "videos", "--labels", table)
    assert "leave them out by --skip-bad" in sentence(done, code=1)
    told = done.stderr.splitlines()
    assert told[0].startswith("1 of 9 videos are not in the folder, such as a/zzz.avi: no index")
    assert told[1] == "new: 8 of 8 videos decoded"
    assert not (mine / "data/new/index.json").exists()


def test_two_files_of_one_name_are_named(mine: Path) -> None:
    shutil.copy(mine / "videos/a/a_g00.avi", mine / "videos/a/a_g00.mp4")
    done = index(mine, "--videos", mine / "videos", "--labels", "by-folder")
    assert "no video was decoded yet" in sentence(done, code=1)
    both = "a/a_g00.avi and a/a_g00.mp4 would both be the video a/a_g00: rename all but one"
    assert done.stderr.splitlines()[0] == f"- {both}"
    # Even where no split could be drawn either.
    shutil.rmtree(mine / "videos/b")
    for path in (mine / "videos/a").glob("a_g0[123]*"):
        path.unlink()
    done = index(mine, "--videos", mine / "videos", "--labels", "by-folder")
    assert both in done.stderr


def test_a_class_that_is_in_the_lists_alone_is_named(mine: Path) -> None:
    lists = mine / "lists"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 a\n2 b\n3 c\n")
    for name, group in (("train", "g00"), ("test", "g01")):
        lines = [f"{c}/{c}_{group}.avi {number}" for number, c in enumerate("abc", 1)]
        text = "\n".join(lines if name == "train" else [line.split()[0] for line in lines])
        (lists / f"{name}list01.txt").write_text(text)
    done = index(mine, "--videos", mine / "videos", "--lists", lists)
    assert "no video was decoded yet" in sentence(done, code=1)
    assert "- class c is in the lists and not in the folder: none of its 2 videos is there" in done.stderr  # fmt: skip


def test_an_empty_folder_is_refused(mine: Path) -> None:
    (mine / "empty/a").mkdir(parents=True)
    assert "holds no videos" in sentence(index(mine, "--videos", mine / "empty", "--unlabelled"))
