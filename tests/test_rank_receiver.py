"""The socket on which a notebook hears its ranks: who may come in, what becomes of what they say, and what is left."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import zmq

import resmon
from resmon.clock import MonotonicClock
from resmon.distributed import connection, messages
from resmon.distributed.messages import Ack, Bye, DeviceReading, Hello, Refused, Sample
from resmon.errors import ListenError
from resmon.monitor import Monitor
from resmon.testing import scripted_host
from tests.ranks import Client, listening, until

BOOT = MonotonicClock().boot


def test_a_rank_is_taken_in_and_its_samples_arrive() -> None:
    with listening() as receiver, Client(connection.read(receiver.connection_file)) as client:
        answer = client.greet(rank=1, world_size=2, sent_s=3.25, boot=BOOT)
        assert isinstance(answer, Ack)
        assert answer.sent_s == 3.25
        client.say(messages.encode_samples(Sample(at_s=time.monotonic(), steps=4)))
        row = until(lambda: next((r for r in receiver.board.rows() if r.state == "running"), None))
        assert (row.rank, row.steps) == (1, 4)


def test_a_sample_before_the_hello_is_not_believed() -> None:
    with listening() as receiver, Client(connection.read(receiver.connection_file)) as client:
        client.say(messages.encode_samples(Sample(at_s=1.0)))
        assert client.hear() == Refused()
        assert receiver.refused == 1
        assert all(row.state == "expected" for row in receiver.board.rows())


def test_a_stranger_is_turned_away() -> None:
    public, secret = zmq.curve_keypair()
    with listening() as receiver:
        known = connection.read(receiver.connection_file)
        with Client(known, secret, public) as client:
            assert client.greet() is None or pytest.fail("a stranger was answered")
        until(lambda: receiver.notices)
        assert "without a key of this run" in receiver.notices[0]
        assert receiver.received == 0


def test_nobody_without_encryption_comes_in() -> None:
    with listening() as receiver:
        known = connection.read(receiver.connection_file)
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        plain = context.socket(zmq.DEALER)
        plain.linger = 0
        plain.connect(known.endpoints[0])
        plain.send(messages.encode(Hello(rank=1, sent_s=5.0, boot="b", pid=77)))
        assert plain.poll(500) == 0
        context.destroy(linger=0)
        assert receiver.received == 0


def test_hostile_bytes_are_counted_and_the_others_go_on() -> None:
    with listening() as receiver:
        known = connection.read(receiver.connection_file)
        with Client(known) as good, Client(known) as bad:
            assert isinstance(good.greet(rank=0), Ack)
            assert isinstance(bad.greet(rank=1), Ack)
            for frame in (
                b"",
                b"S",
                b"S\x01",
                b"H\x01{",
                b"\xff" * 4000,
                messages.encode(Ack(sent_s=1, at_s=1, boot="")),
            ):
                bad.say(frame)
            bad.socket.send_multipart([b"a", b"b", b"c"])
            until(lambda: receiver.refused >= 6)
            bad.say(b"x" * 1_000_000)  # beyond what the socket takes: the connection is closed
            good.say(messages.encode_samples(Sample(at_s=time.monotonic(), steps=9)))
            until(lambda: receiver.board.rows()[0].steps == 9)
            assert any("sent what is no message" in notice for notice in receiver.notices)
            assert len(receiver.notices) <= 20


def test_a_rank_that_is_not_expected_is_told_so() -> None:
    with listening(2) as receiver, Client(connection.read(receiver.connection_file)) as client:
        answer = client.greet(rank=5)
        assert isinstance(answer, Refused)
        assert "rank 5 is not among the 2" in answer.reason


def test_a_board_without_a_size_grows_with_those_who_come() -> None:
    with listening(None) as receiver, Client(connection.read(receiver.connection_file)) as client:
        assert isinstance(client.greet(rank=2, world_size=6), Ack)
        assert len(receiver.board.rows()) == 6


def test_of_two_that_say_they_are_one_rank_the_newer_is_shown() -> None:
    with listening() as receiver:
        known = connection.read(receiver.connection_file)
        with Client(known) as old, Client(known) as new:
            old.greet(pid=10)
            new.greet(pid=11)
            refused = old.hear()
            assert isinstance(refused, Refused)
            assert "another process is rank 0" in refused.reason
            assert "two processes say that they are rank 0" in receiver.notices[0]


def test_an_instant_that_cannot_be_is_brought_back() -> None:
    with listening() as receiver, Client(connection.read(receiver.connection_file)) as client:
        client.greet()
        client.say(messages.encode_samples(Sample(at_s=1e12)))
        row = until(lambda: next((r for r in receiver.board.rows() if r.age_s is not None), None))
        assert 0 <= row.age_s < 5


def test_a_rank_on_a_gpu_has_what_the_notebook_reads_of_it() -> None:
    device_id = "gpu:GPU-00000000-0000-0000-0000-000000000000"
    with listening() as receiver, Client(connection.read(receiver.connection_file)) as client:
        answer = client.greet(boot=BOOT, device="GPU 0", device_id=device_id)
        assert isinstance(answer, Ack)
        assert answer.reads
        client.say(messages.encode_samples(Sample(at_s=time.monotonic())))
        row = until(lambda: next((r for r in receiver.board.rows() if r.power_w is not None), None))
        assert (row.power_w, row.utilization) == (321.0, pytest.approx(0.9))


def test_a_gpu_of_another_machine_is_what_its_reader_tells() -> None:
    with listening() as receiver, Client(connection.read(receiver.connection_file)) as client:
        answer = client.greet(boot="elsewhere", device="GPU 0", device_id="gpu:far")
        assert isinstance(answer, Ack)
        assert not answer.reads
        client.say(messages.encode(DeviceReading(device_id="gpu:far", power_w=555.0, utilization=0.25)))
        client.say(messages.encode_samples(Sample(at_s=time.monotonic())))
        row = until(lambda: next((r for r in receiver.board.rows() if r.power_w is not None), None))
        assert (row.power_w, row.utilization) == (555.0, 0.25)


def test_goodbye_says_how_it_ended() -> None:
    with listening() as receiver, Client(connection.read(receiver.connection_file)) as client:
        client.greet()
        client.say(messages.encode(Bye(outcome="failed: ValueError: x")))
        until(lambda: receiver.board.rows()[0].state == "failed")


# -- life ------------------------------------------------------------------------------------------------------------


def test_a_port_in_use_is_a_clear_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(ListenError, match=f"127.0.0.1:{port}: Address already in use; another port"),
            listening(port=port),
        ):
            pass


@pytest.mark.parametrize("port", [-1, 65_536, "8000"])
def test_a_port_that_is_none_is_a_clear_error(port: Any) -> None:
    with pytest.raises(ListenError, match=f"whole number from 0 to 65535.*not {port!r}"), listening(port=port):
        pass


@pytest.mark.parametrize("world_size", [0, 65_537, "2", 2.0, True])
def test_a_number_of_ranks_that_is_none_is_a_clear_error(world_size: Any) -> None:
    with pytest.raises(ValueError, match=f"world_size must be a whole number from 1 to 65536, not {world_size!r}"):
        resmon.distributed.listen(world_size)


def test_a_path_that_is_taken_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "connection.json"
    path.touch()
    taken = f"{path} cannot be written: File exists; remove it, or name another path"
    with pytest.raises(ListenError, match=taken), listening(path=path):
        pass
    gone = "gone/x cannot be written: No such file or directory"
    with pytest.raises(ListenError, match=gone), listening(path=tmp_path / "gone" / "x"):
        pass


def test_an_address_of_another_machine_is_a_clear_error() -> None:
    with pytest.raises(ListenError, match=r"cannot listen for ranks on 192\.0\.2\.1"), listening(host="192.0.2.1"):
        pass


def test_it_listens_on_this_machine_alone() -> None:
    import psutil

    with listening() as receiver:
        bound = [c.laddr for c in psutil.Process().net_connections("tcp") if c.status == psutil.CONN_LISTEN]
        assert [address.ip for address in bound if address.port == receiver.port] == ["127.0.0.1"]


def count(what: str) -> int:
    """How many descriptors or threads this process has, libzmq's too."""
    return sum(1 for _ in Path("/proc/self", what).iterdir())


def test_start_and_stop_leave_nothing() -> None:
    fds, tasks = count("fd"), count("task")
    for _ in range(3):
        with listening() as receiver:
            receiver.start()
        receiver.stop()
        with pytest.raises(ListenError, match="nothing listens"):
            _ = receiver.connection_file
    until(lambda: count("fd") <= fds and count("task") <= tasks)


def test_nobody_there_means_no_work() -> None:
    with listening():
        thread = next(t for t in threading.enumerate() if t.name == "resmon-ranks")
        clock = time.pthread_getcpuclockid(thread.ident or 0)
        time.sleep(1.0)  # what begins has begun
        before = time.clock_gettime(clock)
        time.sleep(0.5)
        assert time.clock_gettime(clock) == before


def test_a_forked_child_leaves_the_parents_sockets_alone() -> None:
    with listening() as receiver, Client(connection.read(receiver.connection_file)) as client:
        client.greet()
        path = receiver.connection_file
        pid = os.fork()
        if pid == 0:
            try:
                receiver.stop()
                os._exit(0 if path.exists() else 1)
            finally:
                os._exit(2)
        assert os.waitpid(pid, 0)[1] == 0
        client.say(messages.encode_samples(Sample(at_s=time.monotonic(), steps=1)))
        until(lambda: receiver.board.rows()[0].steps == 1)


@pytest.mark.parametrize(
    ("hosts", "said"),
    [
        (["node1", "node1", "node2"], ("node1 (2 ranks)", "node2 (1 rank)")),
        ([f"node{i}" for i in range(6)], ("6 other machines (6 ranks)",)),
    ],
)
def test_a_measurement_names_the_machines_whose_joules_it_has_not(hosts: list[str], said: tuple[str, ...]) -> None:
    with Monitor(0.1, sensors=[scripted_host()]) as monitor, listening(None, monitor=monitor) as receiver:
        monitor.watch_ranks(receiver.board)
        known = connection.read(receiver.connection_file)
        with monitor.measure() as window:
            here = monitor.clock.boot
            for rank, (host, boot) in enumerate([*((host, f"boot of {host}") for host in hosts), ("here", here)]):
                with Client(known) as client:
                    client.greet(rank=rank, host=host, boot=boot)
                    client.say(messages.encode_samples(Sample(at_s=time.monotonic(), steps=4)))
                    until(lambda: len([row for row in receiver.board.rows() if row.steps == 4]) > rank)  # noqa: B023
        assert window.measurement is not None
        not_covered = window.measurement.energy.not_covered
        assert tuple(name for name in not_covered if "rank" in name) == said
        assert [use.elsewhere for use in window.measurement.ranks] == [True] * len(hosts) + [False]
