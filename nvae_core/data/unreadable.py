"""Image files that cannot be read: listed by name, and counted against what is allowed."""

from nvae_core.data.invalid import InvalidDataset, shown

MAX_REPORTED_FILES = 20
MAX_KEPT_FILES = 1000


class UnreadableFiles:
    """The unreadable files of one source, of which so many are allowed."""

    def __init__(self, max_files: int = 0) -> None:
        self._max_files = max_files
        self.count = 0
        self.problems: list[str] = []  # "name: problem" of the first ones

    def add(self, name: str, problem: str) -> None:
        """Note one file."""
        self.count += 1
        if len(self.problems) < MAX_KEPT_FILES:
            self.problems.append(shown(f"{name}: {problem}"))

    def check(self) -> None:
        """Refuse the source if there are more than allowed.

        Raises:
            InvalidDataset: with the names of the first ones and the count.
        """
        if self.count <= self._max_files:
            return
        listed = "; ".join(self.problems[:MAX_REPORTED_FILES])
        rest = self.count - MAX_REPORTED_FILES
        more = f"; and {rest} more files" if rest > 0 else ""
        raise InvalidDataset(
            f"source.path: {listed}{more} ({self.count} unreadable, {self._max_files} allowed)"
        )
