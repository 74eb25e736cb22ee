"""Progress: a bar with rate and time left on a terminal, plain lines when piped, TensorBoard if asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bitspike.extras import missing


class Progress:
    """Shows the updates of a run, or other `unit`s; `quiet` shows nothing (other processes, Python use)."""

    def __init__(self, title: str, total: int, done: int, quiet: bool = False, unit: str = "updates") -> None:
        self.unit = unit
        self.quiet, self.total, self.done, self.started = quiet, total, done, time.monotonic()
        self.first = done
        self.bar: Any = None
        if quiet:
            return
        from rich.console import Console

        self.console = Console(stderr=True, highlight=False)
        if self.console.is_terminal:
            from rich import progress as rich_progress

            self.bar = rich_progress.Progress(
                rich_progress.TextColumn("{task.description}"),
                rich_progress.BarColumn(),
                rich_progress.MofNCompleteColumn(),
                rich_progress.TextColumn("{task.fields[rate]}"),
                rich_progress.TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self.task = self.bar.add_task(title, total=total, completed=done, rate="")
            self.bar.start()

    def advance(self, count: int = 1) -> None:
        """One update done, or `count`."""
        self.done += count
        if self.bar is not None:
            rate = (self.done - self.first) / max(1e-9, time.monotonic() - self.started)
            self.bar.update(self.task, completed=self.done, rate=f"{rate:.1f} {self.unit}/s")

    def line(self, text: str) -> None:
        """A line of its own, above the bar if there is one."""
        if not self.quiet:
            self.console.print(text, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.stop()


@contextmanager
def shown_images(title: str, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A function that is told of images done and of all there are, and shows a bar of them while it is used."""
    bar: Progress | None = None

    def note(done: int, total: int) -> None:
        nonlocal bar
        bar = bar or Progress(title, total, 0, quiet, "images")
        bar.advance(done - bar.done)

    try:
        yield note
    finally:
        if bar is not None:
            bar.close()


class Board:
    """Epoch metrics to TensorBoard event files in RUN/tensorboard."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            missing("tensorboard", "--tensorboard")
        self.writer: Any = SummaryWriter(str(folder / "tensorboard"))

    def write(self, record: dict[str, Any]) -> None:
        """One epoch's record."""
        for part in ("train", "validation"):
            for key, value in record[part].items():
                self.writer.add_scalar(f"{part}/{key}", value, record["epoch"])
        self.writer.flush()
