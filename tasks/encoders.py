"""Which encoder a task trains: the paper's LSTM stack, or a user's own module.

An encoder is described by plain values here and built where torch is. A user's own class is identified by
its name, its arguments and the source it is made of: editing the code makes a new cell, so that an old
number is never shown for a new encoder.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tasks.cell import UNKEYED

if TYPE_CHECKING:
    from torch import nn

    from models.encoder import Encoder


class EncoderSpec(Protocol):
    """Describes an encoder."""

    @property
    def units(self) -> int:
        """Units of a layer of the decoders (and of the encoder, where it is the paper's)."""

    @property
    def layers(self) -> int:
        """Layers of the decoders (and of the encoder, where it is the paper's)."""

    @property
    def title(self) -> str:
        """What reports call it."""

    def build(self, frame_size: int) -> Encoder:
        """Build it for frames of `frame_size` numbers."""

    def gflop(self, frame_size: int) -> float:
        """10^9 operations of one frame of one sequence, forward."""


def _check_size(units: int, layers: int) -> None:
    if units < 1:
        raise ValueError(f"units={units}: an LSTM layer has at least 1 unit")
    if layers < 1:
        raise ValueError(f"layers={layers}: a stack has at least 1 layer")


def lstm_gflop(input_size: int, units: int, layers: int) -> float:
    """10^9 operations of one step of a stacked LSTM for one sequence, forward: 2 per weight."""
    first = 4 * units * (input_size + units)
    return 2e-9 * (first + (layers - 1) * 8 * units * units)


@dataclass(frozen=True, kw_only=True, slots=True)
class LSTM:
    """The paper's encoder: a stack of peephole LSTM layers (sec. 2.1)."""

    units: int
    layers: int

    def __post_init__(self) -> None:
        _check_size(self.units, self.layers)

    @property
    def title(self) -> str:
        """What reports call it."""
        return "LSTM"

    def build(self, frame_size: int) -> Encoder:
        """Build it for frames of `frame_size` numbers."""
        from models.encoder import LSTMEncoder

        return LSTMEncoder(frame_size, self.units, self.layers)

    def gflop(self, frame_size: int) -> float:
        """10^9 operations of one frame of one sequence, forward."""
        return lstm_gflop(frame_size, self.units, self.layers)


@dataclass(frozen=True, kw_only=True, slots=True)
class Own:
    """A user's encoder; made by `own`."""

    name: str
    code: str
    """sha256 of the source that the class is made of."""
    arguments: tuple[tuple[str, Any], ...]
    units: int = 64
    """Units of the decoders that start from it in pretraining."""
    layers: int = 1
    """Layers of these decoders."""
    factory: Callable[..., nn.Module] = field(metadata=UNKEYED, repr=False)

    def __post_init__(self) -> None:
        _check_size(self.units, self.layers)

    @property
    def title(self) -> str:
        """What reports call it."""
        return self.name

    def build(self, frame_size: int) -> Encoder:
        """Build it; the user's class is called with `frame_size` and its own arguments."""
        from models.encoder import WrappedEncoder

        module = self.factory(frame_size, **dict(self.arguments))
        return WrappedEncoder(
            module, frame_size, decoder_size=self.units, decoder_layers=self.layers
        )

    def gflop(self, frame_size: int) -> float:
        """A guess, as if it were an LSTM of the decoders' size: only plans use it."""
        return lstm_gflop(frame_size, self.units, self.layers)


def own(factory: Callable[..., nn.Module], **arguments: Any) -> Own:
    """Describe an encoder of your own.

    Args:
        factory: a class (or function) that is called as factory(frame_size, **arguments) and gives a module
            from frames (T, B, frame_size) to states (T, B, H).
        arguments: passed on; part of the cell's key, so plain values only.

    Raises:
        ValueError: when the source of `factory` cannot be read.
    """
    return Own(
        name=factory.__name__,
        code=code_identity(factory, "encoder"),
        arguments=tuple(sorted(arguments.items())),
        factory=factory,
    )


def code_identity(factory: Callable[..., Any], role: str) -> str:
    """The sha256 of everything in the user's folder that a module of theirs is made of.

    That is: the factory and every top-level name of its file that it uses, directly or through others, as
    syntax trees (comments and layout do not count), and the whole of every module beside it that these
    import, and that those import. Packages from elsewhere are recorded with the run, not here.

    Args:
        factory: a class or function at the top level of a Python file.
        role: what messages call it, such as "encoder".

    Raises:
        ValueError: when its source cannot be read, or it is not defined at the top level.
    """
    name = getattr(factory, "__name__", repr(factory))
    try:
        path = Path(inspect.getsourcefile(factory) or "")
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (TypeError, OSError) as error:
        raise ValueError(
            f"the source of the {role} {name} cannot be read ({error}): define it in a Python file, so that a change "
            "of its code makes a new cell"
        ) from error
    defined: defaultdict[str, list[ast.stmt]] = defaultdict(list)
    for statement in tree.body:
        for bound in _names_bound(statement):
            defined[bound].append(statement)
    if name not in defined or factory.__qualname__ != name:
        raise ValueError(
            f"the {role} {factory.__qualname__} is not defined at the top level of {path.name}: define it there as a "
            "class or function, so that a change of its code makes a new cell"
        )
    wanted, taken = [name, "*"], set[str]()
    trees: list[ast.AST] = []
    while wanted:
        each = wanted.pop()
        if each in taken:
            continue
        taken.add(each)
        for statement in defined.get(each, ()):
            trees.append(statement)
            wanted += [node.id for node in ast.walk(statement) if isinstance(node, ast.Name)]
    digest = {ast.dump(each) for each in trees}
    modules = [beside for each in trees for beside in _modules_beside(path.parent, each)]
    seen = set[Path]()
    while modules:
        module = modules.pop()
        if module not in seen:
            seen.add(module)
            whole = ast.parse(module.read_text(encoding="utf-8"))
            digest.add(ast.dump(whole))
            modules += _modules_beside(path.parent, whole)
    return hashlib.sha256("\n".join(sorted(digest)).encode()).hexdigest()


def _names_bound(statement: ast.stmt) -> set[str]:
    """Names that a top-level statement binds, also inside `if`, `try` and `with`; "*" for a star import."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
        return {statement.name}
    bound = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            bound.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add(node.id)
    return bound


def _modules_beside(folder: Path, tree: ast.AST) -> list[Path]:
    """Files of a folder that the imports anywhere in a syntax tree lead to; of a package, all its files."""
    found: list[Path] = []
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        for name in names:
            first = name.split(".")[0]
            if (folder / f"{first}.py").is_file():
                found.append(folder / f"{first}.py")
            elif (folder / first).is_dir():
                found += sorted((folder / first).rglob("*.py"))
    return found
