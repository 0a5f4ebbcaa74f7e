"""Words that say groups and splits, for the verbs that make an index."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from harness.source import UsageError

if TYPE_CHECKING:
    from tasks.data.build import Rule
    from tasks.data.sheet import Sheet

LEAVE_ONE_OUT = "leave-one-group-out"


def split_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options --groups, --splits, --test-share and --seed."""
    for option in reversed(
        (
            click.option(
                "--groups",
                metavar="REGEX",
                help=r"Videos of one source, by file name: --groups 'g(\d+)'. They never cross a split.",
            ),
            click.option(
                "--splits",
                metavar=f"N|{LEAVE_ONE_OUT}",
                help="Draw N splits by group, or test on each group once.  [default: 3, where no list says them]",
            ),
            click.option(
                "--test-share",
                type=click.FloatRange(0, 1, min_open=True, max_open=True),
                help="Part of each class to test on, in drawn splits.  [default: 0.3]",
            ),
            click.option("--seed", type=int, help="Of drawn splits.  [default: 0]"),
        )
    ):
        function = option(function)
    return function


def rule_of(
    sheet: "Sheet", splits: str | None, test_share: float | None, seed: int | None
) -> "Rule | None":
    """The rule that makes the splits; None where lists say them, or nothing is labelled.

    Raises:
        UsageError: when a word has no effect, or is no number of splits.
    """
    from tasks.data.build import Rule

    given = [
        word
        for word, value in (("--splits", splits), ("--test-share", test_share), ("--seed", seed))
        if value is not None
    ]
    if sheet.splits or not sheet.classes:
        if given:
            why = "the lists say the splits" if sheet.splits else "no video is labelled"
            raise UsageError(f"{given[0]} has no effect, as {why}: leave it out")
        return None
    if splits == LEAVE_ONE_OUT:
        if len(given) > 1:
            raise UsageError(f"{given[1]} has no effect beside --splits {LEAVE_ONE_OUT}")
        return Rule(leave_one_group_out=True)
    if splits is not None and not (splits.isascii() and splits.isdigit() and int(splits)):
        raise UsageError(f"--splits {splits}: use a number from 1, or {LEAVE_ONE_OUT}")
    return Rule(
        num_splits=int(splits or 3),
        test_share=0.3 if test_share is None else test_share,
        seed=seed or 0,
    )
