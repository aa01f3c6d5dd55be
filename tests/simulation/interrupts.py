"""Lets threads be interrupted between the statements of the code that is tested.

Python changes from one thread to another at almost any place, not only at locks. `install` makes
the importer put a call before each statement in the functions of `zeotwisted`. It has to be called
before the package is imported. The files do not change, and line numbers stay.
"""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any

from .scheduler import Scheduler

__all__ = ["install", "simulate"]

_PACKAGE = "zeotwisted"

#: What is called before each statement.
_NAME = "__statement__"

#: How many statements are between two interruptions, on average: few in some worlds, many in
#: others. None: there are no interruptions.
_DISTANCES = (None, 10, 100, 1000)

_scheduler: Scheduler | None = None
_distance = 0
# How many statements are left. A negative number never comes to 0.
_left = -1


def _statement() -> None:
    global _left
    _left -= 1
    if _left:
        return
    assert _scheduler is not None
    _choose_next()
    _scheduler.interrupt()


def _choose_next() -> None:
    global _left
    assert _scheduler is not None
    _left = 1 + int(_scheduler.random.expovariate(1 / _distance))


class _Visitor(ast.NodeTransformer):
    """Puts the calls into functions."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def _function(self, node: Any) -> ast.AST:
        self.generic_visit(node)
        docstring = 1 if ast.get_docstring(node, clean=False) is not None else 0
        node.body = node.body[:docstring] + _with_calls(node.body[docstring:])
        return _Blocks().blocks_of(node)


class _Blocks(ast.NodeTransformer):
    """Puts the calls into the blocks within a function, such as the branches of an ``if``."""

    def blocks_of(self, function: Any) -> ast.AST:
        function.body = [self.visit(statement) for statement in function.body]
        return ast.fix_missing_locations(function)

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.expr)):
            # Inner functions were visited before; a class body runs once.
            return node
        super().generic_visit(node)
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if block:
                setattr(node, name, _with_calls(block))
        return node


def _with_calls(block: list[ast.stmt]) -> list[ast.stmt]:
    changed: list[ast.stmt] = []
    for statement in block:
        if not isinstance(statement, (ast.Global, ast.Nonlocal, ast.Pass)):
            call = ast.Call(ast.Name(_NAME, ast.Load()), [], [])
            changed.append(ast.copy_location(ast.Expr(call), statement))
        changed.append(statement)
    return changed


class _Loader(SourceFileLoader):
    """Compiles what is not in the file."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        tree = _Visitor().visit(ast.parse(self.get_data(path), path))
        return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)


class _Finder(MetaPathFinder):
    """Finds the package's modules."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != _PACKAGE:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def install() -> None:
    """Change what is imported from now on.

    :raises RuntimeError: it is too late.
    """
    if _PACKAGE in sys.modules:
        raise RuntimeError(f"{_PACKAGE} is imported before the simulation of threads")
    setattr(builtins, _NAME, _statement)
    sys.meta_path.insert(0, _Finder())


def simulate(scheduler: Scheduler | None) -> None:
    """Let a scheduler interrupt threads from now on; None for nobody."""
    global _scheduler, _distance, _left
    _scheduler = scheduler
    _left = -1
    _distance = 0 if scheduler is None else scheduler.random.choice(_DISTANCES) or 0
    if _distance:
        _choose_next()
