"""A cell as a function for ranks: which names travel, what the cell means, what is refused."""

from __future__ import annotations

import ast
import textwrap
from types import FunctionType
from typing import Any

import cloudpickle
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

import resmon
from resmon import rankcells
from resmon.distributed.cell import CellCall


def parsed(code: str) -> ast.Module:
    return ast.parse(textwrap.dedent(code))


@pytest.mark.parametrize(
    ("code", "needed"),
    [
        ("x = 1\nprint(x)", {"print"}),
        ("x = x + 1", {"x"}),
        ("x += 1", {"x"}),
        ("import torch\ntorch.ones(n)", {"n"}),
        ("def f(a):\n    return a + b + f(a)\nf(1)", {"b"}),
        ("if c:\n    x = 1\nprint(x)", {"c", "print", "x"}),
        ("if c:\n    x = 1\nelse:\n    x = 2\nx", {"c"}),
        ("for i in items:\n    total = i\ntotal", {"items", "total"}),
        ("with a as b:\n    c = b\nc", {"a"}),
        ("try:\n    import x\nexcept ImportError:\n    x = None\nx", {"x", "ImportError"}),
        ("while go:\n    go = False", {"go"}),
        ("for i in items:\n    if done:\n        break\n    x = 1\n    continue", {"items", "done"}),
        ("for i in items:\n    try:\n        go(i)\n    except stop:\n        break", {"items", "go", "stop"}),
        ("for i in items:\n    while more:\n        pass\n    else:\n        continue", {"items", "more"}),
        ("for i in items:\n    match i:\n        case 1:\n            break", {"items"}),
        ("[i * k for i in things]", {"k", "things"}),
        ("class A(B):\n    c = d\nA", {"B", "d"}),
        ("del x", {"x"}),
        ("lambda: late", {"late"}),
        ("(y := 3)\ny", set()),
    ],
)
def test_names_that_a_cell_reads_before_it_assigns_them_travel(code: str, needed: set[str]) -> None:
    found = rankcells.needed_names(parsed(code).body) - {"__name__", "__module__", "__qualname__"}
    assert needed <= found
    assert found <= needed | {"i"}


def on_a_rank(code: str, namespace: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The value of a cell run as ranks run it, and the namespace there."""
    module = parsed(code)
    needed = rankcells.needed_names(module.body)
    rankcells.as_function(module, "take")
    taken: list[FunctionType] = []
    scope = {"__name__": "__main__", **namespace, "take": taken.append}
    exec(compile(module, "<cell>", "exec"), scope)
    del scope["take"]
    call = cloudpickle.loads(cloudpickle.dumps(CellCall(taken[0], needed, "cell")))
    value = call()
    return value, call.__globals__


def test_names_mean_in_a_rank_what_they_mean_in_a_notebook() -> None:
    value, there = on_a_rank(
        """
        model = model + 1
        x: int = 5
        y: str
        for i in range(3):
            x += i
        def bump():
            global x
            x += 100
        bump()
        squares = [x * i for i in range(2)]
        (model, x, squares)
        """,
        {"model": 1, "unused": (n for n in range(3)), "squares": (n for n in range(3))},
    )
    assert value == (2, 108, [0, 108])
    assert there["x"] == 108
    assert "unused" not in there


def test_a_helper_of_the_notebook_sees_what_the_cell_assigned() -> None:
    scope: dict[str, Any] = {"__name__": "__main__", "model": "old"}
    exec("def helper():\n    return model", scope)
    module = parsed("model = 'new'\nhelper()")
    needed = rankcells.needed_names(module.body)
    taken: list[FunctionType] = []
    rankcells.as_function(module, "take")
    scope["take"] = taken.append
    exec(compile(module, "<cell>", "exec"), scope)
    del scope["take"]
    assert cloudpickle.loads(cloudpickle.dumps(CellCall(taken[0], needed, "cell")))() == "new"
    assert scope["model"] == "old"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("get_ipython().run_line_magic('time', '')", "line 1: magics"),
        ("def f():\n    get_ipython().system('ls')", "line 2: magics"),
        ("x = 1\nfrom math import *", r"line 2: from math import \* does not say what it brings"),
        ("", "there is nothing to run in this cell"),
        ("from __future__ import annotations", "a cell of its own"),
    ],
)
def test_what_cannot_run_on_ranks_is_refused(code: str, words: str) -> None:
    assert words.replace("\\", "") in rankcells.refusal(parsed(code))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--ranks 0", "--ranks takes a whole number from 1 to 256, not '0'"),
        ("--ranks 2.5", "not '2.5'"),
        ("--ranks", "--ranks needs a value"),
        ("--ranks 2 --repeat 3", "--repeat and --ranks do not go together"),
        ("--output all", "--output goes with --ranks"),
        ("--ranks 2 --output some", "--output takes first or all, not 'some'"),
    ],
)
def test_options_that_do_not_go_are_refused(shell: InteractiveShell, line: str, words: str) -> None:
    with capture_output():
        shell.run_line_magic("load_ext", "resmon")
    with capture_output() as said:
        result = shell.run_cell(f"%%resmon {line}\nx = 1")
    assert not result.success
    assert words in said.stdout + said.stderr
    assert "x" not in shell.user_ns


def test_a_cell_that_cannot_run_on_ranks_runs_nowhere(shell: InteractiveShell) -> None:
    with capture_output():
        shell.run_line_magic("load_ext", "resmon")
    with capture_output() as said:
        result = shell.run_cell("%%resmon --ranks 2 -o run\nran = True\n!true")
    assert not result.success
    assert "do not run on ranks" in said.stdout + said.stderr
    assert "ran" not in shell.user_ns
    assert shell.user_ns["run"] is None
    with capture_output() as said:
        result = shell.run_cell("%%resmon --ranks 2\nreturn 1")
    assert "SyntaxError" in said.stdout + said.stderr
    assert shell.run_cell("1 + 1").success
    assert not [name for name in shell.user_ns if name.startswith("__resmon_cell")]


@pytest.mark.parametrize("body", ["", "\n\n", "\n# to be written\n"])
def test_a_cell_without_code_says_that_nothing_runs(shell: InteractiveShell, body: str) -> None:
    with capture_output():
        shell.run_line_magic("load_ext", "resmon")
    with capture_output() as said:
        result = shell.run_cell(f"%%resmon --ranks 2 -o run{body}")
    assert not result.success
    assert "--ranks: there is nothing to run in this cell" in said.stdout + said.stderr
    assert not [name for name in shell.user_ns if name.startswith("__resmon_cell")]


def test_a_cell_that_cannot_be_made_one_for_ranks_does_not_run_in_the_kernel(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_body: object) -> frozenset[str]:
        raise RuntimeError("not foreseen")

    with capture_output():
        shell.run_line_magic("load_ext", "resmon")
    monkeypatch.setattr(rankcells, "needed_names", broken)
    with capture_output() as said:
        result = shell.run_cell("%%resmon --ranks 2\nran = True")
    assert not result.success
    assert "this cell cannot be made one for ranks, and does not run: RuntimeError: not foreseen" in said.stdout
    assert "ran" not in shell.user_ns
    monkeypatch.undo()
    with capture_output() as said:
        assert not shell.run_cell("%%resmon --ranks 2\n").success
    assert "there is nothing to run" in said.stdout + said.stderr, "the next cell is seen again"


def test_the_help_tells_what_travels_and_what_comes_back(shell: InteractiveShell) -> None:
    with capture_output():
        shell.run_line_magic("load_ext", "resmon")
    text = " ".join(str(shell.magics_manager.magics["line"]["resmon"].__doc__).split())
    assert "Imports, and the globals that the cell names, travel with it" in text
    assert "-o VAR receives the run" in text
    resmon.get_monitor().stop()
