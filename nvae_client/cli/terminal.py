"""Where output goes: results to standard output, everything else to standard error."""

import json
import os
import sys
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from rich.console import Console, RenderableType

WIDTH_OF_FILES = 250


def console_of_results() -> Console:
    """Return a console that cuts nothing off where the reader is a program or a file."""
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        return Console(highlight=False, width=WIDTH_OF_FILES)
    return console


@dataclass(frozen=True)
class Terminal:
    """The two streams, and whether results are for a program."""

    as_json: bool
    out: Console = field(default_factory=console_of_results)
    err: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))

    def result(self, content: Any, shown: RenderableType) -> None:
        """Print a result: as JSON for programs, else as it is shown to people."""
        if self.as_json:
            self.json(content)
        else:
            self.out.print(shown)

    def json(self, content: Any) -> None:
        """Print one line of JSON."""
        self.write(json.dumps(plain(content), ensure_ascii=False) + "\n")

    def line(self, text: str) -> None:
        """Print a line as it is, however long."""
        self.write(text + "\n")

    def write(self, text: str) -> None:
        """Print text as it is, at once."""
        sys.stdout.write(text)
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """Tell the person at the terminal something; programs are not told."""
        if not self.as_json:
            self.err.print(text, markup=False, soft_wrap=True)


def plain(content: Any) -> Any:
    """Return answers as what JSON has."""
    if isinstance(content, BaseModel):
        return content.model_dump(mode="json")
    if isinstance(content, list | tuple):
        return [plain(item) for item in content]
    if isinstance(content, dict):
        return {key: plain(value) for key, value in content.items()}
    return content
