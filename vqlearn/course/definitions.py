"""Of a submission, only the definitions that one function needs: nothing else of it ever runs.

They are those that the function would find if the whole notebook ran from top to bottom.
"""

import ast
import re
import symtable
import warnings
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from vqlearn.course.submissions import Cell

MOST_STATEMENTS = 1000  # that define something
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
IMPORTS = (ast.Import, ast.ImportFrom)
MAGIC = re.compile(r"%%|%[a-zA-Z]|[!?]|[^=]*=\s?[!%]|.*\?$")  # `%time`, `!ls`, `x = !ls`, `x?`


@dataclass(frozen=True)
class _Statement:
    """A definition: which names it binds, and which it uses.

    `early` are those it needs when it runs; `late` those that functions in it need when they run,
    which a statement that `calls` may cause.
    """

    text: str
    binds: frozenset[str]
    early: frozenset[str]
    late: frozenset[str]
    calls: bool
    always: bool  # names that it binds are not known, or it concerns all that follows


def definitions(cells: Sequence[Cell], name: str) -> str | None:
    """The source of a function and of all that it needs; None if nothing defines the name.

    Imports, functions, classes and assignments at the top level count, no other statement. Of
    locked cells only imports count. Not to be used in two threads at once.
    """
    statements = _parsed(tuple(cells)).statements
    if not any(name in one.binds for one in statements):
        return None
    always = {place for place, one in enumerate(statements) if one.always}
    texts = [statements[place].text for place in sorted(_needed(statements, name) | always)]
    return "\n".join(sorted(texts, key=lambda text: not text.startswith("from __future__")))


def defined(cells: Sequence[Cell]) -> set[str]:
    """All names that are defined."""
    return {name for one in _parsed(tuple(cells)).statements for name in one.binds}


def unread(cells: Sequence[Cell]) -> list[str]:
    """For each cell that had to be left out, which and why."""
    return list(_parsed(tuple(cells)).unread)


def _needed(statements: Sequence[_Statement], name: str) -> set[int]:
    """The places of all definitions that the last one of a name needs, and its own."""
    bound = defaultdict(list)
    for place, one in enumerate(statements):
        for each in one.binds:
            bound[each].append(place)
    kept: set[int] = set()
    late: set[str] = set()
    moments = {len(statements)}  # at any of these a function may run
    waiting = [(name, len(statements))]
    while waiting:
        wanted, moment = waiting.pop()
        before = bisect_left(bound[wanted], moment)
        if before == 0 or bound[wanted][before - 1] in kept:
            continue
        place = bound[wanted][before - 1]
        kept.add(place)
        one = statements[place]
        new_late, new_moments = one.late - late, {place} if one.calls else set()
        waiting += [(each, place) for each in one.early]
        waiting += [(each, at) for each in new_late for at in moments | new_moments]
        waiting += [(each, at) for each in late for at in new_moments]
        late |= new_late
        moments |= new_moments
    return kept


@dataclass(frozen=True)
class _Code:
    statements: tuple[_Statement, ...]
    unread: tuple[str, ...]


@lru_cache(maxsize=4)
def _parsed(cells: tuple[Cell, ...]) -> _Code:
    """All definitions in the order in which they run, those of locked cells first."""
    given, own, left_out = [], [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for cell in cells:
            try:
                found = list(_statements(cell.text, imports_only=cell.locked))
            except Exception as error:  # whatever a student wrote, the others are graded
                if not cell.locked:
                    left_out.append(f"{cell.name} cannot be parsed ({_reason(error)})")
                continue
            (given if cell.locked else own).extend(found)
    if len(given) + len(own) > MOST_STATEMENTS:
        return _Code((), (f"it has {len(own)} definitions; allowed: {MOST_STATEMENTS}",))
    return _Code((*given, *own), tuple(left_out))


def _reason(error: Exception) -> str:
    if isinstance(error, SyntaxError) and error.lineno:
        return f"{error.msg}, line {error.lineno}"
    return "too complex" if isinstance(error, RecursionError | MemoryError) else str(error)


def _statements(text: str, *, imports_only: bool) -> Iterator[_Statement]:
    """The definitions of a cell, in order; every imported name is one of its own."""
    try:
        body = ast.parse(text).body
    except SyntaxError:
        body = ast.parse(_without_magics(text)).body
    for node in body:
        if isinstance(node, ast.Import):
            yield from (_statement(ast.Import([alias])) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = [ast.ImportFrom(node.module, [alias], node.level) for alias in node.names]
            yield from map(_statement, parts)
        elif not imports_only and _bound(node):
            yield _statement(node)


def _without_magics(text: str) -> str:
    """The text with `pass` in place of the lines that IPython alone understands."""
    lines = []
    for line in text.split("\n"):
        if MAGIC.match(line.strip()):
            line = line[: len(line) - len(line.lstrip())] + "pass"
        lines.append(line)
    return "\n".join(lines)


def _statement(node: ast.stmt) -> _Statement:
    text = ast.unparse(node)
    binds = _bound(node)
    table = symtable.symtable(text, "submission", "exec")
    early = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced()}
    late = set(_used_inside(table))
    if not isinstance(node, FUNCTIONS):
        early |= late
    if isinstance(node, ast.AugAssign | ast.Import):  # `import a.b` adds to an earlier `a`
        early |= binds
    calls = not isinstance(node, IMPORTS + FUNCTIONS) or bool(
        getattr(node, "decorator_list", False)
    )
    always = isinstance(node, ast.ImportFrom) and (
        node.module == "__future__"
        or (node.names[0].name == "*" and (node.module or "").split(".")[0] != "vqlearn")
    )
    return _Statement(text, frozenset(binds), frozenset(early), frozenset(late), calls, always)


def _used_inside(table: symtable.SymbolTable) -> Iterator[str]:
    """Names that functions, classes and comprehensions in it take from the top level."""
    for child in table.get_children():
        yield from (symbol.get_name() for symbol in child.get_symbols() if symbol.is_global())
        yield from _used_inside(child)


def _bound(node: ast.stmt) -> set[str]:
    """The names that a definition binds or changes; none if it is no definition."""
    match node:
        case ast.Import(names=[alias]):
            return {alias.asname or alias.name.partition(".")[0]}
        case ast.ImportFrom(names=[alias]):
            return {alias.asname or alias.name}
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return {node.name}
        case ast.Assign():
            return set().union(*map(_roots, node.targets))
        case ast.AugAssign() | ast.AnnAssign():
            return _roots(node.target) if node.value else set()
    return set()


def _roots(target: ast.expr) -> set[str]:
    """`a` and `b` of the targets a, b, *a, a[0] and a.c."""
    match target:
        case ast.Name():
            return {target.id}
        case ast.Tuple() | ast.List():
            return set().union(*map(_roots, target.elts))
        case ast.Starred() | ast.Attribute() | ast.Subscript():
            return _roots(target.value)
    return set()
