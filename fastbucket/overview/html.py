"""Words and numbers as the page writes them. All that comes from data goes through `text`."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

from .contact import NAME_LIMIT, shortened

NONE = "–"


def text(value: Any, limit: int = NAME_LIMIT) -> str:
    """Any value as text that is nothing but text, within an element or a quoted attribute."""
    return html.escape(shortened(str(value), limit), quote=True)


def number(value: float) -> str:
    """1234567 -> 1,234,567."""
    return f"{value:,.0f}"


def size(n: float) -> str:
    """Bytes as people say them: 4.6 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(n) < 1000:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.2f} TB"


def share(part: float, whole: float) -> str:
    """A percentage, with as many digits as it takes to be told from 0 and from 100."""
    if not whole:
        return NONE
    percent = 100 * part / whole
    if 0 < percent < 0.05:
        return "<0.1 %"
    if 99.95 < percent < 100:
        return ">99.9 %"
    return f"{percent:.0f} %" if percent in (0, 100) else f"{percent:.1f} %"


def seconds(value: float) -> str:
    """3.4 s, 3:07 min, 1:02:03 h."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 60:
        return f"{value:.1f} s"
    whole = round(value)
    hours, rest = divmod(whole, 3600)
    if hours:
        return f"{hours}:{rest // 60:02d}:{rest % 60:02d} h"
    return f"{rest // 60}:{rest % 60:02d} min"


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1, kind: str = ""
) -> str:
    """A table of HTML; the first `words` columns are text, the others numbers and stand right."""

    def cells(row: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{'' if i < words else ' class=n'}>{cell}</{tag}>" for i, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table class="{kind}"><thead><tr>{cells(head, "th")}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def tile(value: str, label: str, note: str = "") -> str:
    """One of the figures at the top."""
    more = f"<small>{note}</small>" if note else ""
    return f'<div class="tile"><b>{value}</b><span>{label}</span>{more}</div>'


def section(name: str, title: str, lead: str, *parts: str) -> str:
    """A section of the page. lead: one sentence under the title."""
    lead = f'<p class="lead">{lead}</p>' if lead else ""
    return f'<section id="{name}"><h2>{title}</h2>{lead}{"".join(parts)}</section>'


def panel(title: str, *parts: str, note: str = "") -> str:
    """A chart or a table with a title of its own."""
    note = f'<p class="note">{note}</p>' if note else ""
    return f'<div class="panel"><h3>{title}</h3>{"".join(parts)}{note}</div>'


def absent(what: str) -> str:
    """What cannot be shown, and why."""
    return f'<p class="absent">{what}</p>'
