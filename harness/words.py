"""The words of the command line: types that say what was probably meant, options that verbs share, completion."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from configs.knobs import did_you_mean
from harness.source import UsageError


class Verbs(click.Group):
    """A group that says which command was probably meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of the first word."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            known = self.list_commands(ctx)
            ctx.fail(
                f"there is no command '{args[0]}'{did_you_mean(args[0], known)} (commands: {', '.join(known)})"
            )
        return super().resolve_command(ctx, args)


class OneOf(click.ParamType[str]):
    """A choice that says which value was probably meant."""

    name = "choice"

    def __init__(self, known: tuple[str, ...]) -> None:
        """Choose from these."""
        self.known = known

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Take a known value."""
        if value not in self.known:
            what = param.human_readable_name.upper() if param else "value"
            self.fail(
                f"'{value}' is no {what.lower()}{did_you_mean(str(value), self.known)} (known: {', '.join(self.known)})",
                param,
                ctx,
            )
        return str(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[Any]:
        """Offer the known values."""
        from click.shell_completion import CompletionItem

        return [CompletionItem(each) for each in self.known if each.startswith(incomplete)]


class Place(OneOf):
    """A cluster known by name, or a TOML file."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Take a known name or a file."""
        if str(value).endswith(".toml"):
            return str(value)
        if value not in self.known:
            near = did_you_mean(str(value), self.known)
            known = ", ".join(self.known)
            self.fail(
                f"'{value}' is no cluster{near} (known: {known}; yours: FILE.toml)", param, ctx
            )
        return str(value)


def complete_experiment(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Offer the experiments known by name."""
    from harness.source import names

    return [name for name in names() if name.startswith(incomplete)]


def complete_setting(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Offer the knobs of the experiment that is being typed, and those of its parts."""
    from configs.knobs import knobs, parts
    from harness.source import find

    try:
        function = find(ctx.params["name"]).function
        known = list(knobs(function))
        known += [
            f"{part}.{name}" for part, inside in parts(function).items() for name in knobs(inside)
        ]
        return [f"{name}=" for name in known if name.startswith(incomplete)]
    except (UsageError, KeyError):
        return []


def options(*wanted: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Options that several verbs share."""
    shared = {
        "name": click.argument("name", metavar="NAME", shell_complete=complete_experiment),
        "set": click.option(
            "--set", "settings", multiple=True, metavar="KNOB=VALUE", shell_complete=complete_setting,
            help="Set a knob of the experiment (see `harness describe`); may be given several times.",
        ),
        "workdir": click.option(
            "--workdir", type=click.Path(path_type=Path), default=Path("work"), envvar="HARNESS_WORKDIR", show_default=True,
            show_envvar=True, help="Folder of runs, reports and the MLflow store.",
        ),
        "json": click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout."),
    }  # fmt: skip

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for each in reversed(wanted):
            function = shared[each](function)
        return function

    return decorate
