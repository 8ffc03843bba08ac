"""Samples of a rank that nobody looks at come several together, and none is lost by it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from resmon.distributed import connection, messages
from resmon.distributed.holding import HOLD_S, Holding
from resmon.distributed.messages import MOST_SAMPLES, Ack, Pace, Sample
from resmon.rankboard import WATCHED_S
from tests.ranks import Client, listening, start, until
from tests.test_rank_wire import HELLO

TICK_S = 0.25


def sent(holding: Holding, samples: list[Sample], offset_s: float = 0.0) -> list[list[float]]:
    """The times of the samples in each message that is sent."""
    return [
        [told.at_s for told in messages.decode_samples(holding.take(offset_s), HELLO)]
        for sample in samples
        if holding.add(sample, TICK_S)
    ]


def samples(*memory_bytes: float) -> list[Sample]:
    return [Sample(at_s=TICK_S * n, memory_bytes=held) for n, held in enumerate(memory_bytes)]


def test_none_waits_while_somebody_looks() -> None:
    assert sent(Holding(), samples(1e9, 1e9, 1e9)) == [[0.0], [0.25], [0.5]]


def test_they_wait_a_second_at_most_while_nobody_does() -> None:
    holding = Holding()
    holding.live = False
    assert sent(holding, samples(*[1e9] * 9)) == [[0.0], [0.25, 0.5, 0.75, 1.0], [1.25, 1.5, 1.75, 2.0]]
    holding.live = True
    assert sent(holding, [Sample(at_s=2.25)]) == [[2.25]]


def test_what_is_held_is_told_in_the_notebooks_time() -> None:
    holding = Holding()
    holding.live = False
    assert sent(holding, samples(*[1e9] * 5), offset_s=100.0) == [[100.0], [100.25, 100.5, 100.75, 101.0]]
    assert holding.take(100.0) == b""


def test_memory_that_grows_is_told_at_once() -> None:
    holding = Holding()
    holding.live = False
    assert sent(holding, samples(1e9, 1.04e9, 1.2e9, 1.2e9)) == [[0.0], [0.25, 0.5]]


def test_no_message_is_too_long() -> None:
    holding = Holding()
    holding.live = False
    often = [Sample(at_s=HOLD_S * n / 1000) for n in range(2 * MOST_SAMPLES)]
    assert max(map(len, sent(holding, often))) == MOST_SAMPLES


def test_ranks_are_told_when_somebody_begins_to_look_and_when_nobody_does_any_more() -> None:
    with listening() as receiver, Client(connection.read(receiver.connection_file)) as client:
        answer = client.greet()
        assert isinstance(answer, Ack)
        assert not answer.live, "nobody has asked for the ranks"
        receiver.board.rows()
        client.say(messages.encode_samples(Sample(at_s=time.monotonic())))
        assert client.hear() == Pace(live=True)
        again = client.greet()
        assert isinstance(again, Ack)
        assert again.live
        time.sleep(WATCHED_S)
        client.say(messages.encode_samples(Sample(at_s=time.monotonic())))
        assert client.hear() == Pace(live=False)


REPORT = """
import os, time
from resmon.distributed import step
from resmon.distributed.sender import start_reporting, stop_reporting
start_reporting()
while not os.path.exists(os.environ["END"]):
    time.sleep(0.05)
for _ in range(3):
    step()
stop_reporting("done")
"""


def test_a_rank_sends_less_often_while_nobody_looks_and_tells_all_the_same(tmp_path: Path) -> None:
    end = tmp_path / "end"
    with listening(1) as receiver:
        board = receiver.board
        rank = start(REPORT, RESMON_CONNECTION=str(receiver.connection_file), RANK="0", WORLD_SIZE="1", END=str(end))

        def told() -> int:
            uses = board.uses(0.0, time.monotonic())
            return uses[0].samples if uses else 0

        def messages_of(samples: int, look: Callable[[], object]) -> int:
            before, enough = receiver.received, told() + samples
            until(lambda: (look(), told() >= enough)[1])
            return receiver.received - before

        try:
            until(lambda: told() > 4)
            assert messages_of(12, look=lambda: None) <= 6
            until(lambda: messages_of(4, look=board.rows) >= 4)
            time.sleep(WATCHED_S)
            until(lambda: messages_of(4, look=lambda: None) == 1)
            end.touch()
            until(lambda: board.rows()[0].state == "done")
            assert board.uses(0.0, time.monotonic())[0].steps == 3
        finally:
            rank.kill()
            rank.communicate()
