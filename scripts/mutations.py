"""The mutants of a module: one small fault in one place, each made of its syntax tree."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

ROOT = Path(__file__).parents[1]
COMPARISONS: dict[type, tuple[type, ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
OPERATORS: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
PAIRS = "min max/any all/floor ceil/argmin argmax/mean median/sum mean/minimum maximum/sqrt square/first last/rows cols"
NAMES = {a: b for pair in PAIRS.split("/") for a, b in (pair.split(), pair.split()[::-1])} | {"mean": "median"}
KEPT_KEYWORDS = {"strict", "disable", "desc", "unit", "progress", "stacklevel", "dtype"}


@dataclass(frozen=True)
class Mutant:
    """The child at `slot` of `parent` in its module's tree becomes `new`."""

    file: Path
    line: int
    function: str
    text: str
    id: str
    parent: ast.AST
    slot: tuple[str, int | None]
    new: Any

    def code(self, tree: ast.Module) -> CodeType:
        """The module with this fault; the tree is as before afterwards."""
        name, index = self.slot
        holder, key = (self.parent.__dict__, name) if index is None else (getattr(self.parent, name), index)
        old, holder[key] = holder[key], self.new
        try:
            return compile(ast.fix_missing_locations(tree), self.file, "exec", dont_inherit=True)
        finally:
            holder[key] = old


def alternatives(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand in a node's place."""
    match node:
        case ast.Compare(ops=[op]):
            for other in COMPARISONS[type(op)]:
                yield ast.Compare(node.left, [other()], node.comparators)
        case ast.BinOp() if not any(_is_text(side) for side in (node.left, node.right)):
            if type(node.op) in OPERATORS:
                yield ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right)
        case ast.AugAssign() if type(node.op) in OPERATORS:
            yield ast.AugAssign(node.target, OPERATORS[type(node.op)](), node.value)
        case ast.BoolOp():
            yield ast.BoolOp(OPERATORS[type(node.op)](), node.values)
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert()):
            yield node.operand
        case ast.Constant(value=bool()):
            yield ast.Constant(not node.value)
        case ast.Constant(value=int()):
            yield ast.Constant(node.value + 1)
        case ast.Constant(value=float()):
            yield ast.Constant(node.value * 2 if node.value else 1.0)
        case ast.IfExp():
            yield ast.IfExp(node.test, node.orelse, node.body)
        case ast.If() | ast.While():
            changed = type(node)(**dict(ast.iter_fields(node)))
            changed.test = ast.UnaryOp(ast.Not(), node.test)
            yield changed
        case ast.Call():
            yield from _calls(node)
        case ast.Return(value=ast.AST()) if not isinstance(node.value, ast.Constant):
            yield ast.Return(ast.Constant(None))
        case ast.Expr(value=ast.Call()):
            yield ast.Pass()
        case ast.Continue():
            yield ast.Break()


def _calls(node: ast.Call) -> Iterator[ast.AST]:
    """Another function, a keyword left out, two arguments exchanged."""
    match node.func:
        case ast.Name(id=name) if name in NAMES:
            yield ast.Call(ast.Name(NAMES[name], ast.Load()), node.args, node.keywords)
        case ast.Attribute(attr=name) if name in NAMES:
            yield ast.Call(ast.Attribute(node.func.value, NAMES[name], ast.Load()), node.args, node.keywords)
    for index, keyword in enumerate(node.keywords):
        if keyword.arg not in (None, *KEPT_KEYWORDS):
            yield ast.Call(node.func, node.args, node.keywords[:index] + node.keywords[index + 1 :])
    if len(node.args) == 2 and all(_is_plain(arg) for arg in node.args):
        yield ast.Call(node.func, node.args[::-1], node.keywords)


def _is_plain(node: ast.AST) -> bool:
    """Whether an argument may well be taken for its neighbour: no literal, no dtype."""
    match node:
        case ast.Attribute(value=ast.Name(id="np" | "torch")) | ast.Name(id="bool" | "float" | "int" | "str"):
            return False
    return isinstance(node, ast.Name | ast.Attribute | ast.Subscript | ast.Call | ast.BinOp)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def mutants(file: Path) -> Iterator[Mutant]:
    """All mutants of a module; ids do not depend on line numbers."""
    seen: dict[str, int] = {}
    tree = tree_of(file)
    path = file.relative_to(ROOT).as_posix()

    def visit(node: ast.AST, function: str, statement: str) -> Iterator[Mutant]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            function = f"{function}.{node.name}".lstrip(".")
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "type_params"):
                continue
            children = enumerate(value) if isinstance(value, list) else [(None, value)]
            for index, child in children:
                if not isinstance(child, ast.AST) or _left_alone(child):
                    continue
                within = ast.unparse(child) if isinstance(child, ast.stmt) else statement
                for new in alternatives(child):
                    if ast.dump(new) == ast.dump(child):
                        continue
                    ast.copy_location(new, child)
                    line = getattr(child, "lineno", 0)
                    text = f"{_short(child)} -> {_short(new)}"
                    key = f"{path}:{function}:{within if isinstance(child, ast.expr) else ''}:{text}"
                    seen[key] = seen.get(key, 0) + 1
                    digest = hashlib.sha256(f"{key}:{seen[key]}".encode()).hexdigest()[:12]
                    yield Mutant(file, line, function or "(module)", text, digest, node, (name, index), new)
                yield from visit(child, function, within)

    yield from visit(tree, "", "")


def _left_alone(node: ast.AST) -> bool:
    match node:
        case ast.Raise() | ast.Assert() | ast.Import() | ast.ImportFrom() | ast.JoinedStr():
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.keyword():
            return node.arg in KEPT_KEYWORDS
        case ast.Call(func=ast.Name(id="tqdm") | ast.Attribute(value=ast.Name(id="bar"))):
            return True
    return False


def _short(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    if isinstance(node, ast.If | ast.While):
        text = f"{type(node).__name__.lower()} {' '.join(ast.unparse(node.test).split())}"
    return text if len(text) <= 90 else f"{text[:60]} ... {text[-25:]}"


@cache
def tree_of(file: Path) -> ast.Module:
    """The tree that the mutants of a module are made of."""
    return ast.parse(file.read_text())


def drawn(files: Sequence[Path], sample: int | None, seed: int) -> list[Mutant]:
    """All mutants of a room's modules, or `sample` of them."""
    every = [mutant for file in files for mutant in mutants(file)]
    if sample is None or sample >= len(every):
        return every
    chosen = sorted(every, key=lambda mutant: hashlib.sha256(f"{seed}:{mutant.id}".encode()).digest())[:sample]
    return sorted(chosen, key=lambda mutant: (mutant.file, mutant.line))
