"""Tables of text."""

from __future__ import annotations

from typing import Any, Sequence


def table(rows: Sequence[dict[str, Any]], hidden: Sequence[str] = ()) -> str:
    """Lines of text, one for each row; the columns are the keys, except those hidden."""
    names = dict.fromkeys(name for row in rows for name in row if name not in hidden)
    lines = [list(names)]
    for row in rows:
        values = [row.get(name, "") for name in names]
        lines.append([f"{v:.4g}" if isinstance(v, float) else str(v) for v in values])
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines
    )
