"""``%resmon`` and ``%%resmon``, and the hooks that measure every cell."""

from __future__ import annotations

import weakref
from typing import Any

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, line_cell_magic, magics_class

from resmon import __version__, units
from resmon.errors import MonitorError
from resmon.facts import SensorStatus
from resmon.hooks import CellHooks
from resmon.monitor import Monitor
from resmon.options import WORDS, completions, file_name, parse_cell_options, strip_magic, usage
from resmon.process import get_monitor
from resmon.views import escape, reports
from resmon.views.live import Live
from resmon.views.say import say

_loaded: weakref.WeakKeyDictionary[InteractiveShell, Extension] = weakref.WeakKeyDictionary()


@magics_class
class ResmonMagics(Magics):
    """The magics; everything they do is done by the extension."""

    def __init__(self, shell: InteractiveShell, extension: Extension) -> None:
        super().__init__(shell)
        self._shell = shell
        self._extension = extension

    @line_cell_magic("resmon")  # type: ignore[arg-type]  # IPython's decorators are typed too narrowly
    def resmon(self, line: str, cell: str | None = None) -> Any:
        """See what cells cost: time, GPU, CPU, memory, energy.

        %resmon              the live panel, here
        %resmon side         the live panel, docked at the side (needs sidecar)
        %resmon cells        what every cell so far cost
        %resmon doctor       each sensor and the front end: available or why not, and what would mend it
        %resmon auto on|off  a one-line summary under every cell longer than 2 s
        %resmon record FILE  write every raw reading to FILE (.ndjson or .ndjson.gz); %resmon record off ends it
        %resmon stop         stop measuring
        %resmon start        measure again
        %resmon status       one line: what is running

        %%resmon [NAME] [-o VAR] [--quiet] [--repeat N] [--ranks N [--output first|all]]
            This cell: a live panel while it runs, then a summary that stays in the saved notebook.
            -o VAR      put the Measurement into this variable (with --repeat: the list of them; with --ranks: the run)
            --quiet     show nothing; measure all the same
            --repeat N  run the cell N times and show each run beside the others
            --ranks N   run the cell on N ranks: processes of their own, as torchrun starts them. Imports, and the
                        globals that the cell names, travel with it; what it assigns stays in the ranks. The value of
                        its last expression, one for each rank, is the value of the cell. -o VAR receives the run:
                        VAR.results, VAR.measurement, VAR.ranks, VAR.logs
            --output first|all  with --ranks: show what rank 0 prints (first), or what every rank prints
        """
        if cell is None:
            return self._extension.line(line)
        # The input transformer takes valid lines off before they come here: this one was wrong, or was called by name.
        parse_cell_options(line)
        return self._shell.run_cell(f"%%resmon {line}\n{cell}", store_history=False).raise_error()


class Extension:
    """What ``%load_ext resmon`` adds to one shell, and takes away again."""

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell
        self.monitor = get_monitor()
        self.hooks = CellHooks(shell, self.monitor)

    @property
    def live(self) -> Live:
        return self.hooks.live

    def load(self) -> None:
        self.hooks.register()
        self.shell.register_magics(ResmonMagics(self.shell, self))
        self.shell.input_transformers_cleanup.append(strip_magic)
        self.shell.Completer.custom_matchers.append(_complete)
        # Autoloaded extensions are loaded while no cell runs: nobody asked, so nothing is said.
        if self.shell.display_trap.is_active:
            say(greeting(self.monitor))

    def unload(self) -> list[str]:
        """Undo; returns the names of windows that were still open."""
        still_open = [window.name for window in self.monitor.open_windows() if window not in self.hooks.cell_windows()]
        self.hooks.unregister()
        if strip_magic in self.shell.input_transformers_cleanup:
            self.shell.input_transformers_cleanup.remove(strip_magic)
        for kind in ("line", "cell"):
            self.shell.magics_manager.magics[kind].pop("resmon", None)
        self.shell.magics_manager.registry.pop(ResmonMagics.__name__, None)
        if _complete in self.shell.Completer.custom_matchers:
            self.shell.Completer.custom_matchers.remove(_complete)
        self.monitor.stop()
        return still_open

    def line(self, line: str) -> object:
        """``%resmon …``."""
        words = line.split()
        word, rest = (words[0], words[1:]) if words else ("", [])
        if word not in WORDS:
            raise usage(f"unknown word {word!r}")
        if word == "auto":
            if rest not in (["on"], ["off"]):
                given = f", not {' '.join(rest)!r}" if rest else ""
                raise usage(f"auto takes on or off{given}")
            self.hooks.auto = rest == ["on"]
            say(f"resmon: a line under every cell longer than 2 s: {rest[0]}")
            return None
        if word == "record":
            self._record(file_name(line.split(maxsplit=1)[1].strip()) if rest else "")
            return None
        if rest:
            raise usage(f"{word or '%resmon'} takes no {' '.join(rest)!r}")
        return getattr(self, f"_{word or 'panel'}")()

    def _record(self, path: str) -> None:
        if not path:
            raise usage("record takes a file name, or off")
        if path == "off":
            trace = self.monitor.end_trace()
            if trace is None:
                say("resmon: no trace was being written")
            else:
                say(f"resmon: {trace.notice or f'{trace.rows} rows in {trace.path}'}")
            return
        try:
            self.monitor.record_trace(path)
        except FileExistsError:
            raise UsageError(f"%resmon record: {path} exists already; name another file") from None
        except (OSError, MonitorError) as error:
            raise UsageError(f"%resmon record: {path}: {getattr(error, 'strerror', None) or error}") from None
        say(f"resmon: every raw reading goes to {path}; %resmon record off ends it")

    def _panel(self) -> None:
        self.hooks.show_session_panel()

    def _side(self) -> None:
        try:
            from sidecar import Sidecar
        except ImportError:
            say("resmon: docking needs sidecar: pip install sidecar, then reload the page. Here is the panel:")
            self.hooks.show_session_panel()
            return
        if self.hooks.show_session_panel(Sidecar(title="resmon", anchor="split-right")):
            # Nothing tells from here whether the front end has a side: in Notebook 7 the panel would be nowhere.
            say("resmon: the panel is docked at the right; where nothing shows there (Notebook 7), use %resmon")

    def _cells(self) -> reports.Report:
        return reports.cells_report([cell for cell in self.hooks.cells if cell.state != "running"])

    def _doctor(self) -> reports.Report:
        kernel = getattr(self.shell, "kernel", None)
        front_end = reports.front_end_statuses(
            in_kernel=kernel is not None, subshells=self.hooks.subshells, panel_answered=self.hooks.panel_answered
        )
        stopped = SensorStatus(
            name="monitor", state="unavailable", cause="stopped: no sensor is read", remedy="%resmon start"
        )
        return reports.doctor_report([*(self.monitor.sensors if self.monitor.running else [stopped]), *front_end])

    def _stop(self) -> None:
        self.monitor.stop()
        self.live.state_changed()
        say("resmon: stopped; %resmon start measures again")

    def _start(self) -> None:
        self.monitor.start()
        self.live.state_changed()
        say(greeting(self.monitor))

    def _status(self) -> None:
        sampler = self.monitor.sampler
        if not self.monitor.running:
            say("resmon: stopped; %resmon start measures again")
            return
        started_s = self.monitor.started_s or 0.0
        span_s = self.monitor.clock.now() - started_s
        share = units.format_percent(sampler.overhead_s / span_s if span_s > 0 else None)
        say(
            f"resmon: running for {units.format_duration_words(span_s)}, {1 / self.monitor.interval_s:g} Hz, "
            f"{sampler.ticks} samples, {sampler.missed} missed, {share} of a core; {self.hooks.cells.total} cells, "
            f"energy so far: {escape.plain(self.monitor.session_energy())}"
        )


def greeting(monitor: Monitor) -> str:
    """One line that says what is seen."""
    host, limits = monitor.host_device(), monitor.limits
    parts = []
    if host is not None and limits is not None:
        parts.append(
            f"CPU {limits.cpu_cores:g} of {host.cores} cores"
            if limits.cpu_cores != host.cores
            else f"CPU {host.cores} cores"
        )
        parts.append(f"memory {units.format_gib(limits.memory_bytes)}")
    gpus = [f"{gpu.label} {gpu.name}" for gpu in monitor.gpu_devices()]
    looking = any(status.name == "nvml" and status.state == "looking" for status in monitor.sensors)
    parts.append(", ".join(gpus) if gpus else ("GPU: looking…" if looking else "no GPU"))
    measured = any(source.basis == "measured" for source in monitor.sampler.sources)
    parts.append("energy measured" if measured else "energy estimated so far" if looking else "energy estimated")
    return escape.plain(f"resmon {__version__}: {' · '.join(parts)} — %resmon: panel, %resmon?: help")


@context_matcher(identifier="resmon")  # type: ignore[untyped-decorator]  # IPython's has no types
def _complete(context: CompletionContext) -> SimpleMatcherResult:
    """A matcher and not a hook for commands: beside that, IPython offers what Python could have there."""
    words = [word for word in completions(context.text_until_cursor) if word.startswith(context.token)]
    return {
        "completions": [SimpleCompletion(text=word, type="magic") for word in words],
        "suppress": True,
        "do_not_suppress": {"IPCompleter.file_matcher"} if words == ["off"] else set(),
        "ordered": True,
    }


def load(shell: InteractiveShell) -> None:
    """Add resmon to a shell. Idempotent."""
    if shell not in _loaded:
        _loaded[shell] = extension = Extension(shell)
        extension.load()


def unload(shell: InteractiveShell) -> None:
    """Take resmon from a shell: hooks, magics, thread, files."""
    extension = _loaded.pop(shell, None)
    if extension is None:
        return
    still_open = extension.unload()
    if still_open:
        names = ", ".join(repr(name) for name in still_open)
        say(f"resmon: closed {len(still_open)} window(s) that measure() had left open: {names}")
