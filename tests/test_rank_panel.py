"""What the panel is told of ranks: facts when they change, few bytes with every row, and where a cell shows them."""

from __future__ import annotations

import json
import math
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from resmon.cells import Cell, CellLog
from resmon.monitor import Monitor
from resmon.rankboard import RankBoard
from resmon.ranks import RankRow, RankSample
from resmon.testing import ManualClock, scripted_gpu, scripted_host
from resmon.views import rank_wire
from resmon.views.rank_wire import COLUMNS, STATES, RankFeed, packed
from tests.kernels import WIDGET, Headless, Kernel, kernel
from tests.measurements import HOSTILE
from tests.played_ranks import PLAY, played, told


@contextmanager
def a_cell(clock: ManualClock) -> Iterator[tuple[Monitor, Cell]]:
    """A cell that runs under a monitor of this clock."""
    with Monitor(sensors=[scripted_host()], clock=clock) as monitor:
        window = monitor.measure("cell")
        with window:
            yield monitor, CellLog().start(1, "launch(train)", window)


def unpacked(buffer: bytes) -> list[dict[str, float | str]]:
    n = len(buffer) // 45
    values = struct.unpack(f"<{n * len(COLUMNS)}f{n}B", buffer)
    return [
        {**dict(zip(COLUMNS, values[i * len(COLUMNS) :], strict=False)), "state": STATES[values[n * len(COLUMNS) + i]]}
        for i in range(n)
    ]


def test_numbers_are_float32_and_a_state_and_unknown_is_nan() -> None:
    rows = [
        RankRow(rank=0, state="running", age_s=0.25, steps_per_s=2.5, compute_s=0.5, memory_bytes=2.0**36),
        RankRow(rank=1, state="lost", age_s=7.0),
    ]
    first, second = unpacked(packed(rows))
    assert (first["state"], first["age_s"], first["steps_per_s"], first["compute_s"]) == ("running", 0.25, 2.5, 0.5)
    assert first["memory_bytes"] == 2.0**36
    assert second["state"] == "lost"
    assert all(math.isnan(float(second[name])) for name in COLUMNS if name != "age_s")


def test_the_feed_tells_facts_once_and_numbers_each_time() -> None:
    clock = ManualClock()
    with a_cell(clock) as (monitor, cell):
        feed = RankFeed(monitor)
        assert feed.numbers(cell) is None
        assert feed.news(cell) is None
        board = played([0.04, 0.04, 0.09], clock=clock, host=socket.gethostname())
        monitor.watch_ranks(board)
        news = feed.news(cell)
        assert news is not None
        content, buffer = news
        facts = content["ranks"]
        assert (content["k"], facts["n"], facts["world_size"], facts["cell"]) == ("ranks", 3, 3, cell.id)
        assert facts["ranks"][2]["memory_limit_bytes"] == 8 * 2**30, "the limit of this machine, for ranks on it"
        assert facts["straggler"] == {
            "rank": 2, "factor": pytest.approx(2.25), "others": 2, "wait": pytest.approx(0.5), "cause": "",
        }  # fmt: skip
        json.dumps(content)
        assert unpacked(buffer)[2]["compute_s"] == pytest.approx(0.09)
        assert feed.news(cell) is None, "nothing new"
        board.ended(1, "killed by SIGKILL")
        again = feed.news(cell)
        assert again is not None
        assert again[0]["ranks"]["ranks"][1]["outcome"] == "killed by SIGKILL"
        assert unpacked(again[1])[1]["state"] == "failed"


def test_the_memory_of_a_rank_on_a_gpu_is_told_beside_that_of_its_processes() -> None:
    clock = ManualClock()
    with Monitor(sensors=[scripted_gpu(memory_bytes=80 * 2**30)], clock=clock) as monitor:
        (gpu,) = monitor.gpu_devices()
        cell = CellLog().start(1, "launch(train)", monitor.measure("cell"))
        with cell.window:
            board = RankBoard(2, clock)
            board.take(
                RankSample(
                    rank=0,
                    at_s=clock.now(),
                    device="GPU 0",
                    device_id=gpu.id,
                    memory_bytes=2.0**30,
                    allocator_allocated_bytes=2.0**35,
                    allocator_reserved_bytes=2.0**36,
                )
            )
            board.take(RankSample(rank=1, at_s=clock.now(), device="GPU 0", device_id="gpu:GPU-of-another-machine"))
            monitor.watch_ranks(board)
            message = RankFeed(monitor).message(cell)
    assert message is not None
    content, buffer = message
    assert [rank["gpu_memory_total_bytes"] for rank in content["ranks"]["ranks"]] == [80 * 2**30, None]
    first, second = unpacked(buffer)
    assert first["memory_bytes"] == 2.0**30
    assert (first["allocator_allocated_bytes"], first["allocator_reserved_bytes"]) == (2.0**35, 2.0**36)
    assert math.isnan(float(second["allocator_reserved_bytes"]))


def test_a_view_that_missed_the_facts_gets_them_again(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock()
    with a_cell(clock) as (monitor, cell):
        monitor.watch_ranks(played([0.04, 0.04], clock=clock))
        feed = RankFeed(monitor)
        assert feed.news(cell) is not None
        assert feed.news(cell) is None
        monkeypatch.setattr(rank_wire, "AGAIN_S", 0.0)
        assert feed.news(cell) is not None


def test_between_rows_only_what_was_heard_since_is_told() -> None:
    clock = ManualClock()
    with a_cell(clock) as (monitor, cell):
        feed = RankFeed(monitor)
        assert feed.spacing_s(cell) is None
        board = RankBoard(2, clock)
        monitor.watch_ranks(board)
        assert feed.spacing_s(cell) == pytest.approx(rank_wire.SPACING_S)
        feed.numbers(cell)
        clock.advance(0.2)
        assert feed.fresh(cell) is None
        board.take(RankSample(rank=1, at_s=clock.now(), steps=1))
        clock.advance(0.1)
        told = feed.fresh(cell)
        assert told is not None
        assert told[0]["k"] == "now"
        assert unpacked(told[1])[1]["age_s"] == pytest.approx(0.1)
        clock.advance(0.2)
        assert feed.fresh(cell) is None, "it was told of"
        board.close()
        assert feed.spacing_s(cell) is None


def test_a_board_that_grows_shows_nothing_before_its_first_rank() -> None:
    clock = ManualClock()
    with a_cell(clock) as (monitor, cell):
        monitor.watch_ranks(RankBoard(0, clock))
        assert RankFeed(monitor).numbers(cell) is None


def test_ranks_that_are_done_keep_their_last_numbers() -> None:
    clock = ManualClock()
    with a_cell(clock) as (monitor, cell):
        board = played([0.04, 0.09], clock=clock)
        monitor.watch_ranks(board)
        feed = RankFeed(monitor)
        feed.numbers(cell)
        for rank, outcome in enumerate(("done", "failed: ValueError: no")):
            board.ended(rank, outcome)
        board.close()
        found = feed.numbers(cell)
        assert found is not None
        done, failed = unpacked(found[1])
        assert (done["state"], failed["state"]) == ("done", "failed")
        assert done["compute_s"] == pytest.approx(0.04)
        assert math.isnan(float(failed["compute_s"]))
        assert found[0]["straggler"] is None


def test_the_newest_run_of_a_cell_is_shown_and_one_that_was_over_before_is_not() -> None:
    clock = ManualClock()
    before = played([0.04], clock=clock)
    before.close()
    clock.advance(1.0)
    with a_cell(clock) as (monitor, cell):
        monitor.watch_ranks(before)
        feed = RankFeed(monitor)
        assert feed.numbers(cell) is None
        first, second = RankBoard(2, clock), RankBoard(3, clock)
        for board in (first, second):
            monitor.watch_ranks(board)
        found = feed.numbers(cell)
        assert found is not None
        assert found[0]["n"] == 3


def test_many_ranks_stay_small_and_more_than_are_sent_are_counted() -> None:
    clock = ManualClock()
    with a_cell(clock) as (monitor, cell):
        board = RankBoard(256, clock)
        told(board, clock.now(), 0.0, [0.01] * 256)
        monitor.watch_ranks(board)
        feed = RankFeed(monitor)
        found = feed.numbers(cell)
        assert found is not None
        assert len(found[1]) + len(json.dumps(found[0])) < 12_000
        monitor.watch_ranks(RankBoard(5000, clock))
        message = feed.message(cell)
        assert message is not None
        assert (message[0]["ranks"]["world_size"], message[0]["ranks"]["n"]) == (5000, rank_wire.MOST)
        assert len(message[1]) == 45 * rank_wire.MOST


def test_names_travel_as_they_are_in_json() -> None:
    clock = ManualClock()
    with a_cell(clock) as (monitor, cell):
        board = RankBoard(1, clock)
        board.take(RankSample(rank=0, at_s=clock.now(), host=HOSTILE, device=HOSTILE))
        monitor.watch_ranks(board)
        message = RankFeed(monitor).message(cell)
        assert message is not None
        assert json.loads(json.dumps(message[0]))["ranks"]["ranks"][0]["host"] == HOSTILE


# -- in a kernel -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def loaded() -> Iterator[Kernel]:
    with kernel() as running:
        running.run("%load_ext resmon")
        running.run(PLAY)
        yield running


def test_a_cell_that_launches_ranks_is_shown_live_and_summed_up(loaded: Kernel, tmp_path: Path) -> None:
    enough = tmp_path / "enough"

    def once_shown(messages: list[dict[str, Any]]) -> None:
        sent = [m["content"]["data"].get("content", {}) for m in messages if m["msg_type"] == "comm_msg"]
        rows = [content for content in sent if content.get("k") == "row" and "ranks" in content]
        if len(rows) >= 8 and rows[-1]["ranks"]["straggler"] and any(content.get("k") == "now" for content in sent):
            enough.touch()

    ran = loaded.run(f"play([0.02, 0.05], 60.0, enough={str(enough)!r})", watched=True, each=once_shown)
    opened = [content for content in ran.of("comm_open") if "_ranks" in content["data"]["state"]]
    (panel,) = opened
    assert panel["data"]["state"]["_ranks"]["world_size"] == 2
    sent = [c["data"]["content"] for c in ran.of("comm_msg") if c["data"].get("method") == "custom"]
    rows = [content for content in sent if content["k"] == "row" and "ranks" in content]
    assert len(rows) >= 8
    assert any(content["ranks"]["straggler"] for content in rows), "after 5 s"
    assert [content for content in sent if content["k"] == "now"], "between rows"
    facts = [content["ranks"] for content in sent if content["k"] == "ranks"]
    assert [rank["device"] for rank in facts[-1]["ranks"]] == ["CPU", "CPU"]
    assert [rank["outcome"] for rank in facts[-1]["ranks"]] == ["done", "done"]
    (live,) = [data for data in ran.shown if WIDGET in data]
    (summary,) = [data for data in ran.shown if "text/html" in data and data is not live]
    assert "2 ranks, all done. ⚠ Rank 1 computed" in summary["text/plain"]
    assert 'aria-label="Ranks"' in summary["text/html"]


def test_where_nobody_watches_ranks_give_the_summary_alone() -> None:
    client = Headless(["%load_ext resmon", PLAY, "play([0.02, 0.05], 1.0)", "%%resmon --quiet\nplay([0.02], 0.5)"])
    notebook = client.execute()
    (summary,) = notebook.cells[2].outputs
    assert "2 ranks, all done" in summary.data["text/plain"]
    assert notebook.cells[3].outputs == []
    everything = {kind for kinds in client.kinds.values() for kind in kinds}
    assert not everything & {"comm_open", "comm_msg", "update_display_data"}


def test_a_cell_that_is_shown_already_gets_no_second_panel(loaded: Kernel) -> None:
    ran = loaded.run("%%resmon train\nplay([0.02], 1.0)\nplay([0.02, 0.02], 1.0)", watched=True)
    assert len([content for content in ran.of("comm_open") if "_ranks" in content["data"]["state"]]) == 1
    (summary,) = [data for data in ran.shown if "text/html" in data and WIDGET not in data]
    assert "1 rank, done" in summary["text/plain"]
    assert "2 ranks, all done" in summary["text/plain"]


def test_a_page_that_is_opened_again_gets_the_ranks_of_the_last_cell(loaded: Kernel) -> None:
    opened = loaded.run("%resmon", watched=True).of("comm_open")
    panel = next(content["comm_id"] for content in opened if "_ranks" in content["data"]["state"])
    loaded.run("play([0.02, 0.02], 1.0)", watched=True)
    content = {"comm_id": panel, "data": {"method": "custom", "content": {"k": "hello"}}}
    loaded.client.shell_channel.send(loaded.client.session.msg("comm_msg", content))
    answer = loaded.wait_for("comm_msg", lambda c: c["data"].get("content", {}).get("k") == "ranks")
    facts = answer["data"]["content"]["ranks"]
    assert (facts["ended"], facts["n"], [rank["outcome"] for rank in facts["ranks"]]) == (True, 2, ["done", "done"])


def test_quiet_is_quiet_in_a_watched_cell_too(loaded: Kernel) -> None:
    ran = loaded.run("%%resmon --quiet\nplay([0.02], 0.5)", watched=True)
    assert ran.shown == []


def test_a_run_that_a_thread_begins_shows_nothing(loaded: Kernel) -> None:
    code = "thread = threading.Thread(target=play, args=([0.02], 0.5))\nthread.start()\nthread.join()"
    assert loaded.run(code, watched=True).shown == []


def test_unloading_takes_the_hook_away(loaded: Kernel) -> None:
    assert loaded.json("len(resmon.get_monitor().on_ranks)") == 1
    loaded.run("monitor = resmon.get_monitor()\n%unload_ext resmon")
    assert loaded.json("len(monitor.on_ranks)") == 0
    loaded.run("%load_ext resmon")
