"""Signs of work that goes on for long between two steps, such as making a shard of features: whoever watches may ask to be told."""

from collections.abc import Callable


def _nobody() -> None:
    """Tell nobody."""


_watcher: list[Callable[[], None]] = [_nobody]


def tell(watcher: Callable[[], None]) -> None:
    """Have a function called, from now on and in place of the one before, at every sign of this process."""
    _watcher[0] = watcher


def going_on() -> None:
    """Say that this process is not stuck: to be called at least every few minutes by what takes longer than that."""
    _watcher[0]()
