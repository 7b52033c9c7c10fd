"""What stands in the source beside a field: the comment at the end of its line."""

from __future__ import annotations

import inspect
import io
import tokenize
from typing import Any


def comments(model: type[Any]) -> dict[str, str]:
    """Field name -> the comment on the line that declares it, its parents' fields included."""
    found: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        if kind.__module__.startswith(("schemas.", "infra.")):
            found |= _of(kind)
    return found


def _of(kind: type[Any]) -> dict[str, str]:
    names = set(inspect.get_annotations(kind))
    lines: dict[int, str] = {}
    found = {}
    source = inspect.cleandoc("\n" + inspect.getsource(kind))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME and token.string in names:
            lines.setdefault(token.start[0], token.string)
        elif token.type == tokenize.COMMENT and token.start[0] in lines and "noqa" not in token.string:
            found[lines[token.start[0]]] = token.string.lstrip("# ").strip()
    return found
