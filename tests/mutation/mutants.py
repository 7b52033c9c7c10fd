"""The mutants of a file: mutmut's mutators, put to every node of it.

mutmut itself leaves out classes with a decorator, and nearly all of the core is in frozen dataclasses; so only its
mutators are used. Left out here: types (mypy holds them), docstrings, sentences meant for people, and what changes a
string's case only, where the string has been changed already.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass

import libcst as cst
from libcst.metadata import ByteSpanPositionProvider, MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators


@dataclass(frozen=True)
class Mutant:
    line: int  # of the first line that changed
    lines: range  # what a test has to have run to see it
    was: str
    now: str
    source: str


def mutants_of(source: str, only: Set[int] | None = None) -> Iterator[Mutant]:
    """Of every line, or of these alone."""
    wrapper = MetadataWrapper(cst.parse_module(source))
    places, spans = wrapper.resolve(PositionProvider), wrapper.resolve(ByteSpanPositionProvider)
    module, text = wrapper.module, source.encode()
    seen = {source}
    for node, statement in _nodes(module, module):
        place = places.get(node, places[statement])
        first = places[statement].start.line if isinstance(statement, cst.SimpleStatementLine) else place.start.line
        if only is not None and only.isdisjoint(range(place.start.line, place.end.line + 1)):
            continue
        for changed in _changed(node):
            span = spans.get(node)
            if span and text[span.start : span.start + span.length] == module.code_for_node(node).encode():
                new = module.code_for_node(changed).encode()
                mutated = (text[: span.start] + new + text[span.start + span.length :]).decode()
            else:  # slow
                mutated = cst.ensure_type(module.deep_replace(node, changed), cst.Module).code
            if mutated in seen or not _compiles(mutated):
                continue
            seen.add(mutated)
            line, was, now = _difference(source, mutated)
            if only is not None and line not in only:
                continue
            yield Mutant(line, range(first, place.end.line + 1), was, now, mutated)


def _nodes(node: cst.CSTNode, statement: cst.CSTNode) -> Iterator[tuple[cst.CSTNode, cst.CSTNode]]:
    """Each node with the statement that it is in."""
    if isinstance(node, cst.Annotation | cst.ImportFrom | cst.Import):
        return
    if isinstance(node, cst.SimpleStatementLine):
        statement = node
    yield node, statement
    for child in node.children:
        yield from _nodes(child, statement)


def _changed(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    for kind, mutate in mutation_operators:
        if not isinstance(node, kind):
            continue
        for number, changed in enumerate(mutate(node)):
            if isinstance(node, cst.SimpleString) and (number > 0 or " " in node.value):
                continue
            yield changed


def _compiles(source: str) -> bool:
    try:
        compile(source, "mutant", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True


def _difference(source: str, mutated: str) -> tuple[int, str, str]:
    """The first line that changed, and what is there then: whole lines, without what is the same after them."""
    old, new = source.splitlines(), mutated.splitlines()
    head = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    return head + 1, _joined(old[head : len(old) - tail]), _joined(new[head : len(new) - tail])


def _joined(lines: list[str]) -> str:
    return " ".join(line.strip() for line in lines)
