"""Where one line of the package can be changed: comparisons, indices, signs, axes, constants.

A site is left alone if no behaviour can hang on it, or only words: annotations, what is raised,
text, the tables of public names.
"""

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
ROOMS = (
    *("probability", "tokens", "text", "diffusion", "transformer", "autoregressive"),
    *("continuous", "storage", "data", "checkpoints", "pipeline", "training", "evaluation"),
)
COMPARISONS = {
    **{ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">")},
    **{ast.Eq: ("==", "!="), ast.NotEq: ("!=", "==")},
}
SIGNS = {ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*")}
KINDS = ("comparison", "index", "sign", "axis", "constant")


class Site(NamedTuple):
    """One change of one file: the bytes start..end become `after`."""

    file: str
    kind: str
    line: int
    start: int
    end: int
    before: str
    after: str

    def apply(self, source: bytes) -> bytes:
        """The source of the file with this change."""
        return source[: self.start] + self.after.encode() + source[self.end :]


def draw(per_kind_and_room: int, seed: int, root: Path = ROOT) -> list[Site]:
    """So many sites of each kind in each room, or all where there are fewer.

    Which ones depends on the seed and on the text of their own lines only, so that a change
    elsewhere draws the same again.
    """
    drawn = []
    for room in ROOMS:
        files = sorted((root / "vqlearn" / room).rglob("*.py"))
        found = [site for file in files for site in sites(file, root)]
        for kind in KINDS:
            here = [site for site in found if site.kind == kind]
            drawn += sorted(here, key=lambda site: _rank(site, seed, root))[:per_kind_and_room]
    return drawn


def sites(file: Path, root: Path = ROOT) -> Iterator[Site]:
    """All changes of a file."""
    source = file.read_bytes()
    finder = _Finder(source, str(file.relative_to(root)))
    if file.name != "__init__.py":
        finder.visit(ast.parse(source))
    yield from finder.found


def _rank(site: Site, seed: int, root: Path) -> str:
    source = (root / site.file).read_bytes()
    line_start = source.rfind(b"\n", 0, site.start) + 1
    line = source[line_start : source.find(b"\n", site.start)].decode()
    text = f"{seed}/{site.file}/{line}/{site.start - line_start}/{site.after}"
    return hashlib.sha256(text.encode()).hexdigest()


class _Finder(ast.NodeVisitor):
    def __init__(self, source: bytes, file: str) -> None:
        self.source, self.file, self.found = source, file, []
        lines = source.splitlines(keepends=True)
        self.starts = [sum(map(len, lines[:i])) for i in range(len(lines))]

    def visit_Raise(self, node: ast.Raise) -> None:
        pass

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        pass

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for part in (*node.decorator_list, *node.args.defaults, *node.args.kw_defaults, *node.body):
            if part is not None:
                self.visit(part)

    def visit_Compare(self, node: ast.Compare) -> None:
        if len(node.ops) == 1 and type(node.ops[0]) in COMPARISONS:
            self._operator(
                "comparison", node.left, node.comparators[0], COMPARISONS[type(node.ops[0])]
            )
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if type(node.op) in SIGNS and not isinstance(
            node.left, ast.Constant | ast.List | ast.Tuple
        ):
            self._operator("sign", node.left, node.right, SIGNS[type(node.op)])
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.visit(node.value)
        for part in ast.walk(node.slice):
            if _is_integer(part):
                self._replace("index", part, str(part.value + 1))

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg not in ("dim", "axis"):
            self.visit(node.value)
        elif (axis := _literal(node.value)) is not None:
            self._replace("axis", node.value, str(axis - 1 if axis > 0 else -1 - axis))

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self._replace("constant", node, str(not node.value))
        elif _is_integer(node):
            self._replace("constant", node, str(node.value + 1))
        elif isinstance(node.value, float):
            self._replace("constant", node, repr(2 * node.value or 1.0))

    def _operator(self, kind: str, left: ast.AST, right: ast.AST, signs: tuple[str, str]) -> None:
        before, after = signs
        begin, end = self._offset(left.end_lineno, left.end_col_offset), self._start(right)
        place = self.source.find(before.encode(), begin, end)
        if place >= 0:
            self._add(kind, left.end_lineno, place, place + len(before), after)

    def _replace(self, kind: str, node: ast.AST, after: str) -> None:
        end = self._offset(node.end_lineno, node.end_col_offset)
        self._add(kind, node.lineno, self._start(node), end, after)

    def _add(self, kind: str, line: int, start: int, end: int, after: str) -> None:
        before = self.source[start:end].decode()
        self.found.append(Site(self.file, kind, line, start, end, before, after))

    def _start(self, node: ast.AST) -> int:
        return self._offset(node.lineno, node.col_offset)

    def _offset(self, line: int, column: int) -> int:
        return self.starts[line - 1] + column


def _is_text_or_list(node: ast.AST) -> bool:
    """Paths, texts and lists are joined by the same signs."""
    text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return text or isinstance(node, ast.JoinedStr | ast.List | ast.Tuple | ast.ListComp)


def _is_integer(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is int


def _literal(node: ast.AST) -> int | None:
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return None
    return value if type(value) is int else None
