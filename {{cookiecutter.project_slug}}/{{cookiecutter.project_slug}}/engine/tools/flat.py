"""Nests of dicts and lists as one dict."""

from __future__ import annotations

from typing import Any, Mapping, Sequence


def flat(nest: Any, name: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}, "c": [2, 3]} -> {"a.b": 1, "c.0": 2, "c.1": 3}.

    Args:
        nest: dicts, lists and tuples of anything, or settings.
        name: what the keys begin with; the key of what is in no dict, list or tuple.
    """
    if isinstance(nest, (str, bytes)) or not isinstance(nest, (Mapping, Sequence)):
        return {name: nest}
    items = nest.items() if isinstance(nest, Mapping) else enumerate(nest)
    parts = [flat(part, f"{name}.{key}" if name else str(key)) for key, part in items]
    return {key: leaf for part in parts for key, leaf in part.items()}
