"""How long recoveries took, beside what is promised."""

from dataclasses import dataclass, field

from fault_options import IS_FULL


@dataclass
class Recoveries:
    """Times in seconds, by fault."""

    rows: list[tuple[str, float, float]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def note(self, fault: str, seconds: float, *, promised_seconds: float) -> None:
        """Note one recovery; at length, AssertionError if it took longer than is promised."""
        self.rows.append((fault, seconds, promised_seconds))
        assert seconds <= promised_seconds or not IS_FULL, f"{fault}: {seconds:.1f} s"

    def remark(self, text: str) -> None:
        """Note what a run was."""
        self.remarks.append(text)

    def table(self) -> list[str]:
        """Return the remarks, and the lines of the table."""
        if not self.rows:
            return self.remarks
        width = max(len(fault) for fault, _, _ in self.rows)
        lines = ["", f"{'fault':<{width}}  recovered  promised"]
        lines += [
            f"{fault:<{width}}  {seconds:7.1f} s  {promised:6.0f} s"
            for fault, seconds, promised in self.rows
        ]
        return [*self.remarks, *lines]
