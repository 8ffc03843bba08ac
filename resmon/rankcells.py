"""``%%resmon --ranks N``: the body of a cell made into a function that ranks run, in the syntax tree.

The function declares global what the cell assigns, so that names mean in a rank what they mean in a notebook.
"""

from __future__ import annotations

import ast
import dis
from collections.abc import Iterator, Sequence
from types import CodeType
from typing import Any

BODY_NAME = "__resmon_cell__"

_LOADS = frozenset({"LOAD_NAME", "LOAD_GLOBAL", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_GLOBALS", "DELETE_NAME"})
_STORES = frozenset({"STORE_NAME", "STORE_GLOBAL", "DELETE_NAME", "DELETE_GLOBAL"})


def refusal(module: ast.Module) -> str:
    """Why this cell cannot run on ranks, and in which line that stands; empty where it can."""
    if not module.body:
        return "there is nothing to run in this cell; write what the ranks are to do below the first line"
    for node in ast.walk(module):
        if isinstance(node, ast.Name) and node.id == "get_ipython":
            wrong = "magics (%…, !…) belong to the notebook and do not run on ranks; put them into a cell of their own"
        elif isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            wrong = f"from {node.module} import * does not say what it brings; import the names, or the module"
        elif isinstance(node, ast.ImportFrom) and node.module == "__future__":
            wrong = f"from __future__ import {node.names[0].name} belongs into a cell of its own, before this one"
        else:
            continue
        return f"line {node.lineno}: {wrong}"
    return ""


def needed_names(body: Sequence[ast.stmt]) -> frozenset[str]:
    """The names that the statements may read before they have assigned them."""
    needed: set[str] = set()
    _walk(body, frozenset(), needed)
    return frozenset(needed)


def as_function(module: ast.Module, call: str) -> None:
    """Make the module define a function of its body and pass it to what is named ``call``.

    The value of the last expression becomes what the function returns, and what ``call`` returns the cell's value.
    """
    first, last = module.body[0], module.body[-1]
    assigned = sorted(_stored(_compiled(module)))
    is_async = any(isinstance(node, (ast.Await, ast.AsyncFor, ast.AsyncWith)) for node in _own_nodes(module))
    body = [_WithoutAnnotations().visit(statement) for statement in module.body]
    if isinstance(last, ast.Expr):
        body[-1] = ast.copy_location(ast.Return(value=last.value), last)
    if assigned:
        body.insert(0, ast.copy_location(ast.Global(names=assigned), first))
    kind: Any = ast.AsyncFunctionDef if is_async else ast.FunctionDef
    nothing = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
    function = kind(name=BODY_NAME, args=nothing, body=body, decorator_list=[], type_params=[])
    called = ast.Call(
        func=ast.Name(id=call, ctx=ast.Load()), args=[ast.Name(id=BODY_NAME, ctx=ast.Load())], keywords=[]
    )
    run: list[ast.stmt] = [ast.copy_location(ast.Expr(value=called), first)]
    if not isinstance(last, ast.Expr):
        run.append(ast.copy_location(ast.Pass(), first))  # IPython shows the value of what comes last
    module.body = [ast.copy_location(function, first), *run]
    ast.fix_missing_locations(module)


def valid(module: ast.Module) -> bool:
    """Whether the cell compiles as it is; what does not is left for IPython to refuse."""
    try:
        _compiled(module)
    except SyntaxError:
        return False
    return True


def _compiled(tree: ast.Module | ast.Expression) -> CodeType:
    mode = "eval" if isinstance(tree, ast.Expression) else "exec"
    code: CodeType = compile(tree, "<cell>", mode, flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    return code


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes under one that belong to no function of their own."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from _own_nodes(child)


def _stored(code: CodeType) -> set[str]:
    """What a module's code assigns in its namespace, from within functions too."""
    names = {step.argval for step in dis.get_instructions(code) if step.opname in _STORES}
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            names |= {step.argval for step in dis.get_instructions(inner) if step.opname == "STORE_GLOBAL"}
    return names


def _loaded(code: CodeType) -> set[str]:
    names = {step.argval for step in dis.get_instructions(code) if step.opname in _LOADS}
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            names |= _loaded(inner)
    return names


def _loads_of(*nodes: ast.expr) -> set[str]:
    return {name for node in nodes for name in _loaded(_compiled(ast.Expression(node)))}


def _names_in(target: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(target) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def _walk(body: Sequence[ast.stmt], assigned: frozenset[str], needed: set[str]) -> frozenset[str]:
    """Add what is read before it is assigned; returns what is assigned for certain afterwards."""
    for statement in body:
        if isinstance(statement, (ast.For, ast.AsyncFor)):
            needed |= _loads_of(statement.iter) - assigned
            _walk(statement.body, assigned | _names_in(statement.target), needed)
            _walk(statement.orelse, assigned, needed)
        elif isinstance(statement, (ast.With, ast.AsyncWith)):
            for item in statement.items:
                needed |= _loads_of(item.context_expr) - assigned
                assigned |= _names_in(item.optional_vars) if item.optional_vars is not None else set()
            assigned = _walk(statement.body, assigned, needed)
        elif isinstance(statement, ast.If):
            needed |= _loads_of(statement.test) - assigned
            assigned = _walk(statement.body, assigned, needed) & _walk(statement.orelse, assigned, needed)
        elif isinstance(statement, (ast.Break, ast.Continue)):
            continue
        elif isinstance(statement, (ast.While, ast.Try, ast.TryStar, ast.Match)):
            # In a loop, as it may be here: what leaves or continues it does not compile without one.
            loop = ast.While(test=ast.Constant(value=1), body=[statement], orelse=[])
            module = ast.Module(body=[ast.copy_location(loop, statement)], type_ignores=[])
            needed |= _loaded(_compiled(ast.fix_missing_locations(module))) - assigned
        else:
            code = _compiled(ast.Module(body=[statement], type_ignores=[]))
            own = (
                {statement.name}
                if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
                else set()
            )
            needed |= _loaded(code) - assigned - own
            assigned |= _stored(code)
    return assigned


class _WithoutAnnotations(ast.NodeTransformer):
    """Takes the annotations off assignments: a name that is declared global may have none."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is None:
            return ast.copy_location(ast.Pass(), node)
        return ast.copy_location(ast.Assign(targets=[node.target], value=node.value), node)
