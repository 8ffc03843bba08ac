"""A real Jupyter kernel, and the messages that it sends while a cell runs."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty
from typing import Any

import nbformat
import psutil
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

TIMEOUT_S = 120.0
ANSI = re.compile(r"\x1b\[[0-9;]*m")
WIDGET = "application/vnd.jupyter.widget-view+json"


@dataclass
class Ran:
    """What one execution gave: its reply, and all messages on the public channel between busy and idle."""

    reply: dict[str, Any]
    messages: list[dict[str, Any]] = field(default_factory=list)

    @property
    def status(self) -> str:
        """``ok``, ``error`` or ``aborted``."""
        return str(self.reply["status"])

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The contents of the messages of one kind, in order."""
        return [message["content"] for message in self.messages if message["msg_type"] == kind]

    @property
    def kinds(self) -> list[str]:
        return [message["msg_type"] for message in self.messages]

    @property
    def shown(self) -> list[dict[str, Any]]:
        """The bundles that were displayed, results and updates among them."""
        kinds = ("display_data", "update_display_data", "execute_result")
        return [message["content"]["data"] for message in self.messages if message["msg_type"] in kinds]

    @property
    def text(self) -> str:
        """Everything a reader without widgets and HTML would see, without colours."""
        parts = [stream["text"] for stream in self.of("stream")]
        parts += [data.get("text/plain", "") for data in self.shown]
        parts += ["\n".join(error["traceback"]) for error in self.of("error")]
        return ANSI.sub("", "\n".join(parts))


class Kernel:
    """A running kernel and a client. Everything waits with a timeout."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager = manager
        self.client = client
        self._cells = 0

    @property
    def pid(self) -> int:
        return int(self.manager.provisioner.pid)  # type: ignore[union-attr]  # the local provisioner has one

    def send(self, code: str, *, watched: bool = False, silent: bool = False) -> str:
        """Ask for an execution and return the id of the request; ``watched``: as a notebook in a browser asks."""
        self._cells += 1
        content = {
            "code": code,
            "silent": silent,
            "store_history": not silent,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": True,
        }
        metadata = {"cellId": f"cell-{self._cells}"} if watched else {}
        message = self.client.session.msg("execute_request", content, metadata=metadata)
        self.client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def result(
        self, request: str, timeout_s: float = TIMEOUT_S, each: Callable[[list[dict[str, Any]]], object] | None = None
    ) -> Ran:
        """Wait for the end of a request; ``each`` is shown all its messages so far whenever one more has come."""
        until = time.monotonic() + timeout_s
        messages: list[dict[str, Any]] = []
        aborted = False
        while not aborted:
            message = self._next(until)
            if message["parent_header"].get("msg_id") != request:
                continue
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                break
            messages.append(message)
            if each is not None:
                each(messages)
        while True:
            reply = self.client.get_shell_msg(timeout=max(0.1, until - time.monotonic()))
            if reply["parent_header"].get("msg_id") == request:
                return Ran(reply["content"], messages)

    def _next(self, until: float) -> dict[str, Any]:
        try:
            message: dict[str, Any] = self.client.get_iopub_msg(timeout=max(0.1, until - time.monotonic()))
        except Empty:
            raise TimeoutError("the kernel did not answer in time") from None
        return message

    def run(
        self,
        code: str,
        *,
        watched: bool = False,
        fails: bool = False,
        timeout_s: float = TIMEOUT_S,
        each: Callable[[list[dict[str, Any]]], object] | None = None,
    ) -> Ran:
        """Execute a cell and wait for its end, as :meth:`result` does; it must end as ``fails`` says."""
        ran = self.result(self.send(code, watched=watched), timeout_s, each)
        assert ran.status == ("error" if fails else "ok"), ran.text
        return ran

    def json(self, expression: str) -> Any:
        """The value of an expression in the kernel, without a cell that resmon would see."""
        ran = self.result(self.send(f"import json as _json; print(_json.dumps({expression}))", silent=True))
        assert ran.status == "ok", ran.reply
        return json.loads("".join(stream["text"] for stream in ran.of("stream")))

    def wait_for(self, kind: str, found: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any]:
        """Wait for a message of that kind on the public channel and return its content."""
        until = time.monotonic() + TIMEOUT_S
        while True:
            message = self._next(until)
            if message["msg_type"] == kind and found(message["content"]):
                content: dict[str, Any] = message["content"]
                return content

    def heard(self, seconds: float) -> list[dict[str, Any]]:
        """All messages on the public channel from now on for so long."""
        until = time.monotonic() + seconds
        messages = []
        while (left := until - time.monotonic()) > 0:
            try:
                messages.append(self.client.get_iopub_msg(timeout=left))
            except Empty:
                break
        return messages

    def falls_silent(self, seconds: float, within_s: float = TIMEOUT_S) -> bool:
        """Whether nothing comes on the public channel for so long, some time soon."""
        until = time.monotonic() + within_s
        while self.heard(seconds):
            if time.monotonic() > until:
                return False
        return True

    def restart(self) -> None:
        """Restart the kernel as the front end's button does."""
        self.manager.restart_kernel(now=False)
        self.client.wait_for_ready(timeout=TIMEOUT_S)


def ends_by_itself(running: Kernel) -> bool:
    """Ask a kernel to shut down; whether it did so before it would have been killed."""
    running.manager.shutdown_wait_time = 60.0
    began = time.monotonic()
    running.manager.shutdown_kernel(now=False)
    return time.monotonic() < began + 60.0


@contextmanager
def kernel(env: Mapping[str, str] | None = None, *arguments: str) -> Iterator[Kernel]:
    """Start a kernel with this environment and end it, and what it started, at the end."""
    manager = KernelManager(kernel_name="python3")
    more: dict[str, Any] = {} if env is None else {"env": dict(env)}
    manager.start_kernel(extra_arguments=list(arguments), **more)
    client = manager.client()
    client.start_channels()
    started = [psutil.Process(int(manager.provisioner.pid))]  # type: ignore[union-attr]  # the local one has a pid
    try:
        client.wait_for_ready(timeout=TIMEOUT_S)
        yield Kernel(manager, client)
        started += [child for process in started if process.is_running() for child in process.children(recursive=True)]
    finally:
        client.stop_channels()
        if manager.has_kernel:
            manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
        for process in psutil.wait_procs(started, timeout=5)[1]:
            process.kill()


class Headless(NotebookClient):
    """Nbclient, which also keeps what kinds of messages each cell sent."""

    def __init__(self, cells: Sequence[str], **options: Any) -> None:
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        super().__init__(notebook, timeout=TIMEOUT_S, kernel_name="python3", store_widget_state=False, **options)
        self.kinds: dict[int, list[str]] = {}

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        self.kinds.setdefault(cell_index, []).append(msg["msg_type"])
        return super().process_message(msg, cell, cell_index)

    def output_text(self, index: int) -> str:
        """What the outputs of a cell say as text, without colours."""
        parts = []
        for output in self.nb.cells[index].outputs:
            parts.append(output.get("text", ""))
            parts.append(output.get("data", {}).get("text/plain", ""))
            parts.append("\n".join(output.get("traceback", ())))
        return ANSI.sub("", "\n".join(parts))
