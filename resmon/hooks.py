"""Every executed cell is measured; a cell that begins with ``%%resmon`` is also shown."""

from __future__ import annotations

import ast
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FunctionType
from typing import TYPE_CHECKING, Any

from IPython.core.error import InputRejected
from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult, InteractiveShell
from IPython.display import DisplayHandle, display

from resmon import rankcells
from resmon.cells import Cell, CellLog
from resmon.counting import Counting
from resmon.monitor import Monitor
from resmon.options import CellOptions, cell_usage, split_cell
from resmon.results import Measurement
from resmon.views import escape, text
from resmon.views.line import LiveLine, on_terminal
from resmon.views.live import Live
from resmon.views.say import say, show
from resmon.windows import Window, describe_error

if TYPE_CHECKING:
    from resmon.distributed.launched import Run
    from resmon.rankboard import RankBoard
    from resmon.views.panel import Panel

log = logging.getLogger("resmon")

AUTO_AFTER_S = 2.0
RUNS_NAME = "__resmon_runs__"


@dataclass
class _Running:
    """A cell between its two hooks."""

    cell: Cell
    options: CellOptions | None
    panel: Panel | None = None
    line: LiveLine | None = None
    handle: DisplayHandle | None = None
    runs: list[Window] = field(default_factory=list)
    counting: list[Counting] = field(default_factory=list)
    wraps: bool = False
    run: Run | None = None


class CellHooks(ast.NodeTransformer):
    """The hooks of one shell. Everything here runs on the main thread, around the cell and never in it."""

    def __init__(self, shell: InteractiveShell, monitor: Monitor) -> None:
        self.shell = shell
        self.monitor = monitor
        self.cells = CellLog()
        self.auto = False
        self.subshells = _has_subshells(shell)
        self.live = Live(monitor, self.cells, subshells=self.subshells)
        self._stack: list[_Running] = []
        self._session_panel: Panel | None = None

    # -- life ------------------------------------------------------------------------------------------------------

    def register(self) -> None:
        self.shell.events.register("pre_run_cell", self.before)
        self.shell.events.register("post_run_cell", self.after)
        self.shell.ast_transformers.append(self)
        self.monitor.on_ranks.append(self.ranks_began)
        self.monitor.on_close.append(self.window_closed)

    def unregister(self) -> None:
        self.shell.events.unregister("pre_run_cell", self.before)
        self.shell.events.unregister("post_run_cell", self.after)
        self.shell.ast_transformers.remove(self)
        self.monitor.on_ranks.remove(self.ranks_began)
        self.monitor.on_close.remove(self.window_closed)
        self.shell.user_ns.pop(RUNS_NAME, None)
        self.live.close()
        while self._stack:  # cells in which resmon is unloaded
            running = self._stack.pop()
            running.cell.window.notes.append("closed because resmon was unloaded")
            self._close(running, None)
            if running.options is not None:
                self._finish(running, running.options)
        self.monitor.set_idle(idle=False)

    def cell_windows(self) -> list[Window]:
        """The windows that belong to cells."""
        return [window for running in self._stack for window in (running.cell.window, *running.runs)]

    @property
    def panel_answered(self) -> bool:
        """True once a panel in a browser has sent something."""
        return self.live.answered

    # -- around a cell ---------------------------------------------------------------------------------------------

    def before(self, info: ExecutionInfo) -> None:
        """``pre_run_cell``: show the live panel if it was asked for, then open the window, last."""
        options, first_line = split_cell(info.raw_cell or "")
        number = self._number() if info.store_history else None
        title = (options.name if options else "") or first_line
        # A cell that nobody asked about is left as it is: its GPU work may go on while the next one runs.
        if self.monitor.running:
            window = self.monitor.measure(title, synchronize=options is not None)
        else:
            window = Window(self.monitor, title)
            window.notes.append("measuring was stopped; %resmon start begins again")
        cell = self.cells.start(number, title, window)
        running = _Running(cell, options, wraps=options is not None and (options.repeat > 1 or options.ranks > 0))
        self._stack.append(running)
        self.monitor.set_idle(idle=False)
        if options is not None and not options.quiet and self._somebody_watches():
            self._show_live(running)
        self.monitor.note({"cell": "start", "id": cell.id, "number": number})
        window.open()
        running.counting.append(Counting(window))
        self.live.cell_changed(cell)

    def after(self, result: ExecutionResult) -> None:
        """``post_run_cell``: close the window, first, then show what it cost."""
        if not self._stack:
            return  # the cell that loaded the extension, or an empty one: it has no beginning here
        running = self._stack.pop()
        cell, options = running.cell, running.options
        if cell.number is not None and result.execution_count is not None:  # one within another has none of its own
            cell.number = result.execution_count
        failure = result.error_in_exec or result.error_before_exec
        error = None if failure is None else describe_error(failure)
        # Before the tick that closing asks for: a kernel that dies now has a whole cell in its record.
        self.monitor.note({"cell": "end", "id": cell.id, "error": None if failure is None else type(failure).__name__})
        self._close(running, error)
        self.live.cell_changed(cell)
        if not self._stack:
            self.monitor.set_idle(idle=True)
        if running.line is not None:
            self.live.close_view(running.line)  # first: nothing may be written over the summary
        try:
            if options is not None:
                try:
                    self._finish(running, options)
                except KeyboardInterrupt:  # too late for the work: what it cost is shown all the same
                    self._finish(running, options)
            elif self.auto and (cell.window.closed_s or 0.0) - (cell.window.opened_s or 0.0) >= AUTO_AFTER_S:
                measurement = cell.measurement
                if measurement is not None:
                    say(text.measurement_line(measurement))
        finally:
            if running.panel is not None:
                self.live.close_view(running.panel)

    def _close(self, running: _Running, error: str | None) -> None:
        for counting in running.counting:
            counting.give()
        running.cell.window.close(error)
        self.cells.end(running.cell, error)
        for window in running.runs:
            window.close(error)

    def window_closed(self, window: Window) -> None:
        """What a window in a cell counted, the cell counts too. Any thread."""
        if window.items:
            for running in tuple(self._stack):
                for counting in running.counting:
                    counting.take(window)

    def ranks_began(self, _board: RankBoard) -> None:
        """A run of ranks begins in a cell: from here on it is shown as if the cell began with ``%%resmon``.

        A run that another thread begins waits for a view: displays belong to the main thread.
        """
        if not self._stack or threading.current_thread() is not threading.main_thread():
            return
        running = self._stack[-1]
        if running.options is not None:
            return  # it is shown, or was asked to be quiet
        running.options = CellOptions()
        try:
            if self._somebody_watches():
                self._show_live(running)
        except Exception:  # whatever a front end does, the run begins
            log.exception("resmon: the live panel could not be shown")

    def _number(self) -> int:
        """The number of the cell that begins. IPython 9.18 counts on before this hook, earlier ones after it."""
        inputs = self.shell.history_manager
        stored = self.shell.execution_count if inputs is None else len(inputs.input_hist_parsed)
        return min(self.shell.execution_count, stored)

    def _finish(self, running: _Running, options: CellOptions) -> None:
        measurement = running.cell.measurement
        runs = [m for m in (window.measurement for window in running.runs) if m is not None]
        if options.variable is not None:
            result = running.run if options.ranks else runs if options.repeat > 1 else measurement
            self.shell.user_ns[options.variable] = result
        if measurement is None or options.quiet:
            return
        bundle = self._summary(measurement, running, runs)
        if running.handle is not None:
            running.handle.update(bundle, raw=True)
        else:
            show(bundle)

    def _summary(self, measurement: Measurement, running: _Running, runs: list[Measurement]) -> dict[str, str]:
        from resmon.views import summary

        bundle = summary.mimebundle(measurement, title=running.cell.title or None, number=running.cell.number)
        if len(runs) > 1:
            from resmon.comparison import compare

            table = compare(runs, names=[f"run {i}" for i in range(1, len(runs) + 1)])._repr_mimebundle_()
            bundle = {mime: f"{part}\n\n{table[mime]}" if mime in table else part for mime, part in bundle.items()}
        return bundle

    # -- --repeat and --ranks --------------------------------------------------------------------------------------

    def visit(self, node: ast.AST) -> ast.AST:
        """IPython's AST transformer: the body of the cell becomes that of a loop, or of a function that ranks run.

        In the syntax tree, lines stay what they are, ``await`` and nested magics too, and there is one traceback.
        """
        running = self._stack[-1] if self._stack else None
        if running is None or not running.wraps or not isinstance(node, ast.Module):
            return node
        running.wraps = False
        options = running.options
        assert options is not None
        if options.ranks:
            try:
                self._put_on_ranks(node, running, options)
            except Exception as error:
                # IPython would take this transformer off, and run the cell here.
                raise InputRejected(
                    f"this cell cannot be made one for ranks, and does not run: {describe_error(error)}"
                ) from error
            return node
        if not node.body:
            return node
        self.shell.user_ns[RUNS_NAME] = self._runs(running, options.repeat)
        loop = ast.For(
            target=ast.Name(id=RUNS_NAME, ctx=ast.Store()),
            iter=ast.Name(id=RUNS_NAME, ctx=ast.Load()),
            body=node.body,
            orelse=[],
        )
        ast.copy_location(loop, node.body[0])
        node.body = [ast.fix_missing_locations(loop)]
        return node

    def _put_on_ranks(self, module: ast.Module, running: _Running, options: CellOptions) -> None:
        if not rankcells.valid(module):
            return  # IPython refuses it, as any other cell
        wrong = rankcells.refusal(module)
        needed = frozenset[str]() if wrong else rankcells.needed_names(module.body)
        if wrong:
            # Not run: only where the error stands.
            place = module.body[0] if module.body else ast.Pass(lineno=1, col_offset=0, end_lineno=1, end_col_offset=0)
            module.body = [ast.copy_location(ast.Pass(), place)]

        def launch(body: FunctionType) -> list[Any]:
            __tracebackhide__ = True
            self.shell.user_ns.pop(rankcells.BODY_NAME, None)
            if wrong:
                raise cell_usage(f"--ranks: {wrong}")
            from resmon.distributed.cell import CellCall
            from resmon.distributed.launch import launch

            name = options.name or running.cell.label
            try:
                running.run = launch(CellCall(body, needed, name), ranks=options.ranks, output=options.output)
            except BaseException as error:
                running.run = getattr(error, "run", None)
                raise
            return running.run.results

        self.shell.user_ns[RUNS_NAME] = launch
        rankcells.as_function(module, RUNS_NAME)

    def _runs(self, running: _Running, count: int) -> Iterator[int]:
        for i in range(1, count + 1):
            window = self.monitor.measure(f"run {i}")
            running.runs.append(window)
            window.open()
            running.counting[1:] = [Counting(window)]
            yield i
            # Left open when the body raises: the hook after the cell closes it, with the error.
            running.counting[-1].give()
            window.close()

    # -- views -----------------------------------------------------------------------------------------------------

    def _somebody_watches(self) -> bool:
        """Whether a live view makes sense: see ``RESMON_LIVE`` in the docs.

        Front ends that show a notebook send the id of the cell with the request; programs that run notebooks
        do not, and a live view that is then replaced would only disturb them.
        """
        chosen = os.environ.get("RESMON_LIVE", "auto").lower()
        if chosen in ("always", "never"):
            return chosen == "always"
        kernel = getattr(self.shell, "kernel", None)
        if kernel is None:
            return sys.stderr.isatty()
        return bool(kernel.get_parent("shell").get("metadata", {}).get("cellId"))

    def _show_live(self, running: _Running) -> None:
        if getattr(self.shell, "kernel", None) is None:
            if sys.stderr.isatty():
                running.line = self.live.open_line(running.cell, on_terminal(sys.stderr), last="")
            return
        try:
            running.panel = self.live.open_panel("cell")
        except ImportError:
            running.handle = display({"text/plain": f"resmon: measuring… {_NO_WIDGETS}"}, raw=True, display_id=True)
            running.line = self.live.open_line(running.cell, _in_place(running.handle))
            return
        running.handle = display(running.panel, display_id=True)

    def show_session_panel(self, place: Any = None) -> bool:
        """The session's panel, made on first use, shown here or in ``place`` (a sidecar). False where there is none."""
        if getattr(self.shell, "kernel", None) is None:
            say("resmon: the live panel needs a Jupyter front end. " + escape.plain(self.monitor.session_energy()))
            return False
        if self._session_panel is None or self._session_panel.comm is None:
            try:
                self._session_panel = self.live.open_panel("session")
            except ImportError as error:
                say(f"resmon: no live panel: {escape.plain(error)}. {_NO_WIDGETS}")
                return False
        if place is None:
            display(self._session_panel)
            return True
        with place:
            display(self._session_panel)
        return True


_NO_WIDGETS = "(for the live panel: pip install anywidget, restart the kernel, reload the page)"


def _in_place(handle: DisplayHandle) -> Callable[[str], None]:
    return lambda line: handle.update({"text/plain": line}, raw=True)


def _has_subshells(shell: InteractiveShell) -> bool:
    kernel = getattr(shell, "kernel", None)
    return bool(getattr(kernel, "_supports_kernel_subshells", False))
