"""Samples, what they say, and the table. Knows nothing of how they were measured."""

import statistics
from dataclasses import dataclass

# Above this spread of a ratio between the passes, its median deserves a warning.
NOISE_MAX = 0.25
HEADER = ("", "unit", "ours", "reference", "ratio", "target", "")


@dataclass
class Row:
    """One comparison. The samples of a pass stand at the same place in both columns."""

    label: str
    unit: str
    ours: list
    reference: list
    target: float = None

    def ratios(self):
        return [ours / other for ours, other in zip(self.ours, self.reference) if other > 0]

    def ratio(self):
        return statistics.median(self.ratios()) if self.ratios() else float("nan")

    def spread(self):
        """How far the ratio of a typical pass is from the median: half the distance of the quartiles, as a part."""
        ratios = self.ratios()
        if len(ratios) < 3:
            return float("inf")
        low, _, high = statistics.quantiles(ratios, n=4)
        return (high - low) / 2 / abs(self.ratio())

    def verdict(self):
        if self.target is None:
            words = []
        elif not self.ratios():
            words = ["too short to tell, use more commands"]
        elif max(self.ratios()) <= self.target:
            words = ["met"]
        elif self.ratio() <= self.target:
            words = ["met by the median"]
        else:
            words = ["MISSED"]
        if self.target is not None and self.ratios() and self.spread() > NOISE_MAX:
            words.append("noisy, repeat")
        return ", ".join(words)

    def cells(self):
        target = "" if self.target is None else f"<= {self.target:g}"
        return (
            self.label,
            self.unit,
            column(self.ours),
            column(self.reference),
            column(self.ratios()) if self.ratios() else "-",
            target,
            self.verdict(),
        )

    def as_json(self):
        return dict(vars(self), ratio=self.ratio(), spread=self.spread(), verdict=self.verdict())


def column(values):
    """Median, and the range of the passes."""
    digits = 1 if statistics.median(values) >= 100 else 2
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def table(rows):
    lines = [HEADER, *[row.cells() for row in rows]]
    widths = [max(len(line[at]) for line in lines) for at in range(len(HEADER))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at in (0, 1, 6) else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths))
        ).rstrip()
        for line in lines
    )
