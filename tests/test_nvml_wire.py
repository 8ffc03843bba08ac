"""What a monitor and the process that reads the GPUs say to each other, at both ends of one socket."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress

import pytest

from resmon.energy.edges import CounterRead
from resmon.facts import Channel, Device, EnergySource, SensorStatus
from resmon.sensors import nvml_helper
from resmon.sensors.nvml import NvmlSensor
from resmon.sensors.nvml_view import OwnView, ToldView, facts_of
from resmon.sensors.nvml_wire import (
    ANSWER,
    BEGUN,
    FAILED,
    PACKET_BYTES,
    PIECE,
    READS,
    SAID,
    Said,
    pack_ask,
    pack_facts,
    pack_reads,
    pack_said,
    pack_watch,
    unpack_answer,
    unpack_facts,
    unpack_reads,
    unpack_said,
    unpack_watch,
)

pytestmark = pytest.mark.skipif(not hasattr(socket, "SOCK_SEQPACKET"), reason="packets need such sockets")

SOURCES = tuple(
    EnergySource(
        id=f"nvml:GPU-{n}", device_id=f"gpu:{n}", label=f"GPU {n}", kind="gpu", method="counter", basis="measured",
        scope="board", channel=f"gpu:{n}.energy_j", times=("nvml.before_s", "nvml.after_s"),
    )
    for n in range(2)
)  # fmt: skip


def test_all_that_a_sensor_says_comes_through_in_packets_of_bounded_length() -> None:
    said = Said(
        shape=3,
        devices=tuple(
            Device(id=f"gpu:{n}", kind="gpu", label=f"GPU {n}", name="显卡 \x1b[31m" * 9) for n in range(900)
        ),
        channels=(Channel(device_id="gpu:0", quantity="energy_j", unit="J", kind="counter", code="d"),),
        sources=SOURCES,
        status=(SensorStatus(name="nvml", state="degraded", cause='"quoted"'),),
        not_covered=("GPU 1 power",),
        driver_version="575",
        own_memory_known={"gpu:0": False},
        unsure_of=("GPU-1", "GPU-0"),
    )
    packets = list(pack_said(said))
    assert [packet[:1] for packet in packets] == [PIECE] * (len(packets) - 1) + [SAID]
    assert len(packets) > 3
    assert max(map(len, packets)) <= PACKET_BYTES
    assert unpack_said(b"".join(packet[1:] for packet in packets)) == said


def test_reads_come_through_with_their_sources_in_packets_of_bounded_length() -> None:
    reads = [(SOURCES[n % 2].id, CounterRead(n, n + 0.5, 1e9 + n / 1000, float(n))) for n in range(3000)]
    packets = list(pack_reads(reads, {source.id: place for place, source in enumerate(SOURCES)}))
    assert max(map(len, packets)) <= PACKET_BYTES
    assert [read for packet in packets for read in unpack_reads(packet, SOURCES)] == reads


@pytest.mark.parametrize("wanted", [(), ("nvml:GPU-1",), ("nvml:GPU-1", "nvml:MIG-GPU-2/1/0")])
def test_a_wish_to_poll_comes_through(wanted: Collection[str]) -> None:
    assert unpack_watch(pack_watch(wanted, 0.36, 0.001)) == (frozenset(wanted), 0.36, 0.001)


def test_the_view_of_a_process_is_the_same_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    own, told = OwnView("0,1", own_pids=lambda: {3, 4}), ToldView()
    told.tell(unpack_facts(pack_facts(facts_of(own, ("GPU-1",)))))
    assert told.environment() == own.environment() == ("0,1", "PCI_BUS_ID")
    assert set(told.pids()) == {3, 4}
    assert told.uses_cuda() is False
    assert told.cuda_order(("GPU-1",)) is None


class Scripted(NvmlSensor):
    """A sensor without a driver."""

    def discover(self) -> None:
        self.sources = SOURCES
        self.channels = tuple(
            Channel(device_id=f"gpu:{n}", quantity="energy_j", unit="J", kind="counter", code="d") for n in range(2)
        )
        self.generation = 1

    def read(self, at_s: float) -> list[float]:
        if at_s < 0:
            raise ValueError("no such time")
        return [at_s, float("nan")]

    def poll_counters(self, wanted: Collection[str]) -> list[tuple[str, CounterRead]]:
        now_s = time.monotonic()
        return [(source.id, CounterRead(now_s, now_s, now_s, 1.0)) for source in SOURCES if source.id in wanted]


@contextmanager
def serving() -> Iterator[tuple[socket.socket, nvml_helper.Helper]]:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    view = ToldView()
    helper = nvml_helper.Helper(far, Scripted(view=view), view)
    thread = threading.Thread(target=helper.run)
    thread.start()
    near.settimeout(10)
    try:
        assert near.recv(PACKET_BYTES) == BEGUN + str(os.getpid()).encode()
        near.send(pack_facts(facts_of(OwnView(None), ())))
        assert near.recv(PACKET_BYTES)[:1] == SAID
        yield near, helper
    finally:
        near.close()
        thread.join(10)
        far.close()
        assert not thread.is_alive(), "it ends with the other end"


def _until(connection: socket.socket, kind: bytes) -> bytes:
    while (packet := connection.recv(PACKET_BYTES))[:1] != kind:
        pass
    return packet


def test_a_question_has_its_answer_and_a_failure_its_words() -> None:
    with serving() as (near, _):
        near.send(pack_ask(7, 12.5))
        number, shape, took_s, cpu_s, values = unpack_answer(_until(near, ANSWER))
        assert (number, shape, values[0]) == (7, 1, 12.5)
        assert values[1] != values[1]
        assert 0 <= took_s < cpu_s
        near.send(pack_ask(8, -1.0))
        assert _until(near, FAILED)[1:] == b"ValueError: no such time"
        near.send(pack_ask(9, 1.0))
        assert unpack_answer(_until(near, ANSWER)).number == 9


def test_polls_stop_by_themselves_and_come_before_a_later_answer() -> None:
    with serving() as (near, _):
        near.send(pack_watch([SOURCES[1].id], 0.1, 0.001))
        time.sleep(0.05)
        asked_s = time.monotonic()
        near.send(pack_ask(1, 0.0))
        reads = []
        while (packet := near.recv(PACKET_BYTES))[:1] == READS:
            reads += unpack_reads(packet, SOURCES)
        assert packet[:1] == ANSWER
        assert len(reads) > 3
        assert {source_id for source_id, _ in reads} == {SOURCES[1].id}
        near.settimeout(0.5)
        later = []
        with suppress(TimeoutError):
            while True:
                later += unpack_reads(near.recv(PACKET_BYTES), SOURCES)
        times = [read.after_s for _, read in (*reads, *later)]
        assert times == sorted(times)
        assert times[0] < asked_s < times[-1] < asked_s + 0.3


def test_what_nobody_fetches_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml_helper, "BACKLOG", 50)
    with serving() as (near, helper):
        near.send(pack_watch([source.id for source in SOURCES], 60.0, 0.001))
        until_s = time.monotonic() + 60
        while not (helper._unsent and len(helper._reads) >= 50) and time.monotonic() < until_s:
            time.sleep(0.01)  # the socket's room fills, then the helper's
        time.sleep(0.1)
        assert 50 <= len(helper._reads) < 50 + len(SOURCES)
        assert len(helper._unsent) == 1
        near.send(pack_ask(1, 0.0))
        reads = []
        while (packet := near.recv(PACKET_BYTES))[:1] == READS:
            reads += unpack_reads(packet, SOURCES)
        assert unpack_answer(packet).number == 1, "it still listens, and answers in order"
        times = [read.after_s for _, read in reads]
        assert times == sorted(times)


def test_a_helper_that_waits_for_room_in_the_socket_does_not_spin() -> None:
    cpu: Callable[[], float] = time.process_time
    with serving() as (near, _):
        near.send(pack_watch([source.id for source in SOURCES], 0.2, 0.001))
        time.sleep(0.3)
        before_s = cpu()
        time.sleep(0.5)
        assert cpu() - before_s < 0.25
