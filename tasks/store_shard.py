"""What the tasks that make one shard of a store have in common: nothing is trained, and what is made lies in the store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tasks.cell import Cell
from tasks.data.feature_plan import NAME, StorePlan
from tasks.data.feature_shards import is_whole, layout_of
from tasks.data.features import plan_problem
from tasks.schedule import Schedule
from tasks.task import Shard

if TYPE_CHECKING:
    import torch


class StoreRecipe(Protocol):
    """How a store is made, and where it lies."""

    @property
    def plan(self) -> StorePlan:
        """The store that it makes."""

    @property
    def folder(self) -> Path:
        """Where the store lies."""


class StoreShard:
    """Making one shard of a store, but for what is in it; to be inherited by a task, whose fields are the two below."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def recipe(self) -> StoreRecipe:
            """How the store is made."""

        @property
        def shard(self) -> int:
            """Number of the shard."""

    @property
    def schedule(self) -> Schedule:
        """Nothing is trained."""
        return Schedule(steps=0, batch_size=1, learning_rate=1.0)

    def check(self, needs: tuple[Cell, ...]) -> None:
        """A shard is made of videos alone.

        Raises:
            ValueError: when there are other cells.
        """
        if needs:
            raise ValueError("a cell that makes a shard of a store needs no other cell")

    def files(self) -> Mapping[str, bytes]:
        """Nothing beyond the cell itself: the shard lies in the store."""
        return {}

    def ready(self) -> None:
        """See that nothing else lies where the store is to be.

        Raises:
            ValueError: when something does.
        """
        problem = plan_problem(self.recipe.folder, self.recipe.plan)
        if problem and (self.recipe.folder / NAME).exists():
            raise ValueError(problem)

    def lost(self) -> str:
        """Why an accepted result does not count any more: its store or its shard may have been removed or damaged."""
        problem = plan_problem(self.recipe.folder, self.recipe.plan)
        if problem:
            return problem
        layout = layout_of(self.recipe.folder, self.recipe.plan, self.shard)
        return "" if is_whole(layout) else f"{layout.path} is not there any more, or not whole"

    def batch(self, seed: int, step: int, shard: Shard) -> None:
        """Nothing is trained."""
        raise NotImplementedError

    def loss(self, model: torch.nn.Module, batch: None) -> torch.Tensor:
        """Nothing is trained."""
        raise NotImplementedError

    def num_chunks(self) -> int:
        """A shard is written in one go."""
        return 1

    def products(self, model: torch.nn.Module) -> Mapping[str, Mapping[str, torch.Tensor]]:
        """Nothing: what it makes is in the store."""
        del model
        return {}
