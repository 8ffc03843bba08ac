"""Windows: nested, overlapping, in threads, through errors; energy labelled and never counted twice."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resmon.monitor import Monitor
from resmon.results import Measurement
from resmon.testing import ManualClock, ScriptedSensor, scripted_gpu, scripted_host


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start_s=100.0)


@pytest.fixture
def monitor(clock: ManualClock) -> Iterator[Monitor]:
    gpus = [scripted_gpu(0, energy_j=lambda t: 300.0 * t), scripted_gpu(1, power_w=lambda t: 200.0)]
    with Monitor(0.5, sensors=[scripted_host(), *gpus], clock=clock) as monitor:
        yield monitor


def measured(monitor: Monitor, clock: ManualClock, seconds: float, items: float | None = None) -> Measurement:
    with monitor.measure("work", items=items) as window:
        clock.advance(seconds)
    assert window.measurement is not None
    return window.measurement


def test_each_joule_names_its_source(monitor: Monitor, clock: ManualClock) -> None:
    energy = measured(monitor, clock, 10.0).energy
    found: dict[str, object] = {c.device: (c.energy_j, c.method, c.basis, c.scope) for c in energy.components}
    assert found == {
        "CPU": (pytest.approx(200.0), "model", "estimated", "machine"),
        "GPU 0": (pytest.approx(3000.0), "counter", "measured", "board"),
        "GPU 1": (pytest.approx(2000.0), "integrated", "measured", "board"),
    }
    assert energy.measured_j == pytest.approx(5000.0)
    assert energy.estimated_j == pytest.approx(200.0)
    assert energy.total_j == pytest.approx(5200.0)
    assert energy.not_covered == ("DRAM", "PSU", "fans")
    for part in energy.components:
        assert part.low_j < part.energy_j < part.high_j


def test_a_measurement_says_what_was_used(monitor: Monitor, clock: ManualClock) -> None:
    m = measured(monitor, clock, 10.0, items=500)
    assert m.duration_s == pytest.approx(10.0)
    assert m.cpu_time_s == pytest.approx(10.0)
    assert m.cpu_utilization == pytest.approx(0.5)
    assert m.peak_memory_bytes == 2 * 2**30
    assert m.items_per_s == pytest.approx(50.0)
    assert m.measured_j_per_item == pytest.approx(10.0)
    assert [g.power_mean_w for g in m.gpus] == [pytest.approx(300.0), pytest.approx(200.0)]
    assert m.missed == 0
    assert m.samples >= 20
    assert m.error is None
    assert m.started_at.isoformat() == "2026-01-01T00:00:00+00:00"


def test_what_watching_took_is_not_told_of_less_than_an_interval(monitor: Monitor, clock: ManualClock) -> None:
    """A span that holds one tick or none would have many times a core, or nothing."""
    assert measured(monitor, clock, 0.4).resmon_cpu_fraction is None
    assert measured(monitor, clock, 0.5).resmon_cpu_fraction is not None


def test_a_measurement_survives_json(monitor: Monitor, clock: ManualClock) -> None:
    m = measured(monitor, clock, 3.3, items=7)
    assert Measurement.from_dict(json.loads(json.dumps(m.to_dict()))) == m
    with pytest.raises(ValueError, match="version 1, not 2"):
        Measurement.from_dict({**m.to_dict(), "version": 2})
    with pytest.raises(ValueError, match=r"required keyword-only argument: 'duration_s'"):
        Measurement.from_dict({k: v for k, v in m.to_dict().items() if k != "duration_s"})


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("duration_s", "x"), ("duration_s", None), ("duration_s", float("nan")), ("name", 5), ("samples", 1.5),
        ("missed", True), ("started_at", "yesterday"), ("started_at", 5), ("energy", "x"), ("gpus", 5), ("host", []),
        ("series", {}), ("factors", None), ("factors", 5), ("ranks", [1]), ("items", "many"),
    ],
)  # fmt: skip
def test_a_measurement_with_wrong_values_is_refused(
    monitor: Monitor, clock: ManualClock, name: str, wrong: object
) -> None:
    good = measured(monitor, clock, 3.3, items=7).to_dict()
    with pytest.raises(ValueError, match=r"^the measurement (lacks the field|has a field that is wrong)"):
        Measurement.from_dict({**good, name: wrong})


def test_a_wrong_number_deep_in_a_measurement_is_named(monitor: Monitor, clock: ManualClock) -> None:
    good = measured(monitor, clock, 3.3).to_dict()
    good["energy"]["components"][0]["energy_j"] = float("nan")
    with pytest.raises(ValueError, match="energy_j of EnergyComponent is nan"):
        Measurement.from_dict(good)
    with pytest.raises(TypeError, match="to_dict gave, not from 5"):
        Measurement.from_dict(5)  # type: ignore[arg-type]  # what a user may well pass


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.01, 7.0), min_size=1, max_size=12))
def test_the_parts_of_any_partition_sum_to_the_whole(pieces: list[float]) -> None:
    clock = ManualClock()
    gpu = scripted_gpu(0, energy_j=lambda t: 100.0 * t + 30.0 * (int(t / 0.7) % 3), power_w=lambda t: 100.0 + t % 5)
    with Monitor(0.5, sensors=[scripted_host(power_w=lambda t: 10.0 + t % 3), gpu], clock=clock) as monitor:
        with monitor.measure("whole") as whole:
            parts = []
            for piece in pieces:
                with monitor.measure("part") as part:
                    clock.advance(piece)
                parts.append(part)
        assert whole.measurement is not None
        total = sum(p.measurement.energy.total_j or 0.0 for p in parts if p.measurement)
        assert total == pytest.approx(whole.measurement.energy.total_j, rel=1e-9)


def test_the_parts_of_a_window_of_hours_sum_to_it_to_its_first_second() -> None:
    clock = ManualClock()
    sensors = [scripted_host(power_w=lambda t: 20 + t % 7), scripted_gpu(power_w=lambda t: 200 + t % 5)]
    with Monitor(0.5, sensors=sensors, clock=clock) as monitor:
        clock.advance(40.2)
        with monitor.measure("whole") as whole:
            parts = [measured(monitor, clock, seconds) for seconds in (1800.1, 3000.2, 9000.3)]
        clock.advance(1.0)
        assert whole.measurement is not None
        for i, found in enumerate(whole.measurement.energy.components):
            pieces = [part.energy.components[i].energy_j for part in parts]
            assert found.energy_j == pytest.approx(sum(pieces), rel=1e-9)
            assert found.coverage == 1.0
        session = monitor.session_energy()
        assert [part.coverage for part in session.components] == [1.0, 1.0]


def test_windows_nest_and_overlap(monitor: Monitor, clock: ManualClock) -> None:
    first, second = monitor.measure("first").open(), monitor.measure("second")
    clock.advance(2.0)
    second.open()
    clock.advance(2.0)
    first.close()
    clock.advance(2.0)
    second.close()
    for window in (first, second):
        assert window.measurement is not None
        assert window.measurement.duration_s == pytest.approx(4.0)
        assert window.measurement.energy.measured_j == pytest.approx(2000.0)


def test_an_error_ends_the_measurement_and_is_named(monitor: Monitor, clock: ManualClock) -> None:
    window = monitor.measure("interrupted")
    with pytest.raises(KeyboardInterrupt), window:
        _interrupted(clock)
    assert window.measurement is not None
    assert window.measurement.error == "KeyboardInterrupt"
    assert window.measurement.duration_s == pytest.approx(3.0)
    with pytest.raises(ZeroDivisionError), monitor.measure("failed") as window:
        _ = 1 / 0
    assert window.measurement is not None
    assert window.measurement.error == "ZeroDivisionError: division by zero"


def _interrupted(clock: ManualClock) -> None:
    clock.advance(3.0)
    raise KeyboardInterrupt


def test_an_open_window_has_no_measurement_and_closing_twice_is_harmless(monitor: Monitor, clock: ManualClock) -> None:
    window = monitor.measure("once").open()
    assert window.measurement is None
    clock.advance(1.0)
    closed_s = clock.now()
    window.close()
    window.close("too late")
    first = window.measurement
    assert getattr(first, "error", "it has none") is None
    clock.advance(5.0)
    window.close("too late again")
    assert window.closed_s == closed_s
    assert window.measurement is first
    with pytest.raises(RuntimeError, match="opened before"):
        window.open()


def test_a_window_may_be_closed_in_another_thread(monitor: Monitor, clock: ManualClock) -> None:
    window = monitor.measure("handed over").open()
    clock.advance(2.0)
    closer = threading.Thread(target=window.close)
    closer.start()
    closer.join(5.0)
    assert window.measurement is not None
    assert window.measurement.duration_s == pytest.approx(2.0)


def test_a_window_left_open_is_closed_by_stop_and_says_so(monitor: Monitor, clock: ManualClock) -> None:
    window = monitor.measure("forgotten").open()
    clock.advance(2.0)
    monitor.stop()
    assert window.measurement is not None
    assert window.measurement.notes == ("closed because the monitor was stopped",)
    assert window.measurement.energy.measured_j == pytest.approx(1000.0)


@pytest.mark.parametrize("items", [-1, float("nan"), float("inf")])
def test_items_must_be_a_number_of_things(monitor: Monitor, items: float) -> None:
    with pytest.raises(ValueError, match="items must be a finite number"):
        monitor.measure("x", items=items)


@pytest.mark.parametrize("items", [-1, float("nan"), float("inf")])
def test_items_that_are_set_later_are_checked_there(monitor: Monitor, clock: ManualClock, items: float) -> None:
    with monitor.measure("x") as window:
        window.items = 3
        with pytest.raises(ValueError, match="items must be a finite number >= 0"):
            window.items = items
        with pytest.raises(TypeError, match="items must be a number, not 'many'"):
            window.items = "many"  # type: ignore[assignment]  # what a user may well write
        clock.advance(1.0)
    assert window.measurement is not None
    assert window.measurement.items == 3


@pytest.mark.parametrize(("items", "name"), [("5", "x"), (True, "x"), ([1], "x"), (1, None), (1, b"x"), (1, 7)])
def test_what_is_no_number_or_no_name_is_refused_by_name(monitor: Monitor, items: object, name: object) -> None:
    with pytest.raises(TypeError, match=r"(items must be a number|name must be a str), not "):
        monitor.measure(name, items=items)  # type: ignore[arg-type]  # what a user may well write
    assert monitor.open_windows() == ()


def test_a_number_of_numpy_becomes_one_that_json_can_hold(monitor: Monitor, clock: ManualClock) -> None:
    m = measured(monitor, clock, 2.0, items=np.int64(50))  # type: ignore[arg-type]  # NumPy's integers are no int
    assert json.loads(json.dumps(m.to_dict()))["items"] == 50


def only_gpu(power_w: object = None, energy_j: object = None) -> tuple[Monitor, ManualClock, ScriptedSensor]:
    clock = ManualClock()
    gpu = scripted_gpu(0, power_w=power_w, energy_j=energy_j)  # type: ignore[arg-type]
    return Monitor(0.5, sensors=[gpu], clock=clock), clock, gpu


def test_a_counter_that_goes_back_is_a_gap_and_never_negative() -> None:
    monitor, clock, _ = only_gpu(power_w=100.0, energy_j=lambda t: 100.0 * t if t < 5.2 else 100.0 * (t - 5.2))
    with monitor:
        (part,) = measured(monitor, clock, 10.0).energy.components
        # Power stands in for the half second in which the counter began again; it could be nothing, say the bounds.
        assert part.energy_j == pytest.approx(1000.0, rel=1e-3)
        assert part.coverage == pytest.approx(0.95, rel=1e-3)
        assert part.low_j <= 950.0
        assert part.high_j >= 1000.0
        assert "went back" in part.note
        (later,) = measured(monitor, clock, 10.0).energy.components
        assert "went back" not in later.note


def test_a_single_0_between_good_readings_is_no_energy_on_the_way_back() -> None:
    monitor, clock, _ = only_gpu(power_w=100.0, energy_j=lambda t: 0.0 if 4.8 < t < 5.2 else 27_000.0 + 100.0 * t)
    with monitor:
        (part,) = measured(monitor, clock, 10.0).energy.components
        assert part.energy_j == pytest.approx(1000.0, rel=1e-3)
        assert part.coverage == pytest.approx(0.9, rel=1e-3)
        assert "leapt" in part.note
        meter = monitor.sampler.meter(next(iter(monitor.sampler.sources)).id)
        assert meter is not None
        assert meter.total_j == pytest.approx(900.0, rel=0.01), "nor in the totals of the history, which have no bridge"
        assert meter.gap_s == pytest.approx(1.0, rel=0.01)


def test_failed_reads_of_a_counter_lose_nothing_when_it_comes_back() -> None:
    monitor, clock, _ = only_gpu(power_w=100.0, energy_j=lambda t: None if 3 < t < 6 else 100.0 * t)
    with monitor:
        (part,) = measured(monitor, clock, 10.0).energy.components
        assert part.energy_j == pytest.approx(1000.0)
        assert part.coverage == pytest.approx(1.0)


def test_a_sensor_that_is_lost_leaves_a_gap_that_shows() -> None:
    monitor, clock, _ = only_gpu(power_w=100.0, energy_j=lambda t: None if t > 4 else 100.0 * t)
    with monitor:
        (part,) = measured(monitor, clock, 10.0).energy.components
        assert part.energy_j == pytest.approx(400.0, rel=1e-3)
        assert part.coverage == pytest.approx(0.4)
        assert "seen 40%" in part.note
        assert part.high_j >= 400.0 + 6.0 * 700.0


def test_a_device_without_energy_is_named_and_not_zero() -> None:
    clock = ManualClock()
    gpu = scripted_gpu(0, power_w=None)
    gpu.sources, gpu.not_covered = (), ("GPU 0 power",)
    with Monitor(0.5, sensors=[gpu], clock=clock) as monitor:
        energy = measured(monitor, clock, 2.0).energy
    assert energy.total_j is None
    assert energy.measured_j is None
    assert "GPU 0 power" in energy.not_covered
    assert str(energy).startswith("measured –")


def test_the_cpu_in_a_module_whose_counter_has_it_is_not_counted_again(clock: ManualClock) -> None:
    gpu = scripted_gpu(energy_j=lambda t: 450.0 * t)
    gpu.sources = (replace(gpu.sources[0], kind="module", scope="module: GPU and CPU together"),)
    with Monitor(0.5, sensors=[scripted_host(power_w=150.0), gpu], clock=clock) as monitor:
        found = measured(monitor, clock, 10.0)
        assert [(c.device, c.kind) for c in found.energy.components] == [("GPU 0", "module")]
        assert found.energy.total_j == pytest.approx(4500.0)
        assert monitor.why_not_measured() == ""


def test_a_model_gives_way_to_a_counter_that_wakes_up(clock: ManualClock) -> None:
    counter = scripted_gpu(0, energy_j=lambda t: 50.0 * t)
    source = counter.sources[0]
    counter.sources = ()
    with Monitor(0.5, sensors=[scripted_host(), counter], clock=clock) as monitor:
        assert [c.basis for c in measured(monitor, clock, 2.0).energy.components] == ["estimated"]
        import dataclasses

        counter.sources = (dataclasses.replace(source, kind="cpu", label="CPU"),)
        counter.generation += 1
        clock.advance(1.0)
        assert [c.basis for c in measured(monitor, clock, 2.0).energy.components] == ["measured"]


def test_a_slower_rate_while_idle_is_no_gap() -> None:
    monitor, clock, _ = only_gpu(power_w=100.0)
    with monitor:
        with monitor.measure("idle, then busy") as window:
            monitor.set_idle(idle=True)
            clock.advance(10.0)
            monitor.set_idle(idle=False)
            clock.advance(10.0)
        assert window.measurement is not None
        (part,) = window.measurement.energy.components
        assert part.energy_j == pytest.approx(2000.0)
        assert part.coverage == pytest.approx(1.0)


def test_a_model_speaks_of_the_time_since_the_last_reading() -> None:
    clock = ManualClock()
    host = scripted_host(power_w=lambda t: None if t == 0 else 40.0 if t <= 1 else 10.0)
    with Monitor(1.0, sensors=[host], clock=clock) as monitor:
        with monitor.measure("the first second of a process") as first:
            clock.advance(1.0)
        with monitor.measure("after the step") as second:
            clock.advance(2.0)
        assert first.measurement is not None
        assert second.measurement is not None
        assert first.measurement.energy.estimated_j == pytest.approx(40.0)
        assert first.measurement.energy.components[0].coverage == 1.0
        assert second.measurement.energy.estimated_j == pytest.approx(20.0)
