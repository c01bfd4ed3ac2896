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
    # What the ratio may be at most, or what ours may be at most, in the row's unit.
    target: float = None
    most: float = None

    def ratios(self):
        return [ours / other for ours, other in zip(self.ours, self.reference) if other > 0]

    def ratio(self):
        return statistics.median(self.ratios()) if self.ratios() else float("nan")

    def judged(self):
        """The values that are compared with the target, and the target."""
        return (self.ratios(), self.target) if self.most is None else (self.ours, self.most)

    def missed(self):
        values, target = self.judged()
        return target is not None and bool(values) and statistics.median(values) > target

    def spread(self):
        """How far the value of a typical pass is from the median: half the distance of the quartiles, as a part."""
        values, _ = self.judged()
        if len(values) < 3:
            return float("inf")
        low, middle, high = statistics.quantiles(values, n=4)
        return (high - low) / 2 / abs(middle)

    def verdict(self):
        values, target = self.judged()
        if target is None:
            words = []
        elif not values:
            words = ["too short to tell, use more commands"]
        elif max(values) <= target:
            words = ["met"]
        elif not self.missed():
            words = ["met by the median"]
        else:
            words = ["MISSED"]
        if target is not None and values and self.spread() > NOISE_MAX:
            words.append("noisy, repeat")
        return ", ".join(words)

    def cells(self):
        target = "" if self.target is None else f"<= {self.target:g}"
        if self.most is not None:
            target = f"<= {self.most:g} {self.unit.partition('/')[0]}"
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
