"""The figures of a run, to be asked for by name, and how they are written."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from .figures import ABSENT, Figure


class Record:
    """Figures by benchmark, name and metric. Of two with the same three, the later one counts."""

    def __init__(self, figures: Iterable[Figure]) -> None:
        self.figures = list(figures)
        self._by_name = {(f.bench, f.name, f.metric): f for f in self.figures}

    def figure(self, bench: str, name: str, metric: str) -> Figure | None:
        return self._by_name.get((bench, name, metric))

    def value(self, bench: str, name: str, metric: str) -> float | None:
        """The value, None where it was not measured."""
        found = self.figure(bench, name, metric)
        return None if found is None else found.value

    def ratio(self, over: tuple[str, str, str], under: tuple[str, str, str]) -> float | None:
        """The ratio of two values, None where one is missing."""
        a, b = self.value(*over), self.value(*under)
        return a / b if a is not None and b else None

    def paired(self, bench: str, over: str, under: str, metric: str = "ms") -> float | None:
        """The median over the rounds of the ratio of two that took turns in each of them, None
        where one is missing. What a round met, both met; so it says more than `ratio`."""
        a, b = self.figure(bench, over, metric), self.figure(bench, under, metric)
        if a is None or b is None or not a.rounds:
            return None
        if len(a.rounds) != len(b.rounds) or not all(b.rounds):
            return None
        return statistics.median(x / y for x, y in zip(a.rounds, b.rounds, strict=True))

    def names(self, bench: str, metric: str) -> list[str]:
        """The names that have a metric, in the order in which they were measured."""
        return [f.name for f in self._by_name.values() if (f.bench, f.metric) == (bench, metric)]

    def metrics(self, bench: str, name: str) -> list[str]:
        return [f.metric for f in self._by_name.values() if (f.bench, f.name) == (bench, name)]

    def benches(self, prefix: str) -> list[str]:
        """Benchmarks whose name starts so, each once, in order."""
        found = dict.fromkeys(f.bench for f in self.figures)
        return [bench for bench in found if bench.startswith(prefix)]

    def absent(self) -> list[Figure]:
        return [f for f in self._by_name.values() if f.metric == ABSENT]


def number(value: float | None, digits: int = 3) -> str:
    """A value with so many digits at most, thousands separated; "" where there is none."""
    if value is None:
        return ""
    if value == 0 or abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    places = digits
    while places > 1 and abs(value) >= 10 ** (digits - places):
        places -= 1
    return f"{value:.{places}f}"


def count(value: float | None) -> str:
    """A whole number, thousands separated."""
    return "" if value is None else f"{value:,.0f}"


def times(value: float | None) -> str:
    """A ratio: 1.23x."""
    return "" if value is None else f"{value:.2f}x"


def percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def spread(figure: Figure | None) -> str:
    """From the least to the largest of the rounds; "" for a single one."""
    if figure is None or len(figure.rounds) < 2:
        return ""
    return f"{number(min(figure.rounds))} to {number(max(figure.rounds))}"


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table: the first column to the left, the others to the right. A column
    that is empty in all rows is left out."""
    used = [n for n in range(len(headers)) if n == 0 or any(row[n] for row in rows)]
    lines = ["| " + " | ".join(headers[n] for n in used) + " |"]
    lines.append("|" + "|".join("---" if n == 0 else "---:" for n in used) + "|")
    lines += ["| " + " | ".join(row[n] for n in used) + " |" for row in rows]
    return [*lines, ""]
