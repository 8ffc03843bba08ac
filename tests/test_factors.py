"""Beyond joules: carbon and cost with their source, from the monitor to the wire, the summary and the saved result."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from resmon.energy import CarbonIntensity, Factors, Price
from resmon.monitor import Monitor
from resmon.results import Energy, Measurement
from resmon.testing import ManualClock, scripted_gpu, scripted_host
from resmon.units import format_amount
from resmon.views.wire import Layout
from tests.kernels import kernel
from tests.measurements import HOSTILE, measurement

CARBON = CarbonIntensity(g_per_kwh=300, source="the supplier's label", zone="DE", date=dt.date(2025, 12, 31))
PRICE = Price(per_kwh=0.3, currency="EUR", source="the contract")
NARROW = "\u202f"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def monitor(clock: ManualClock) -> Iterator[Monitor]:
    sensors = [scripted_host(), scripted_gpu(energy_j=lambda t: 3.6e6 * t / 1800)]
    with Monitor(sensors=sensors, clock=clock) as monitor:
        clock.advance(1)
        yield monitor


def kilowatt_hour(monitor: Monitor, clock: ManualClock) -> Measurement:
    with monitor.measure("work") as window:
        clock.advance(1800)
    assert window.measurement is not None
    return window.measurement


def test_an_intensity_is_made_in_the_order_in_which_it_is_read() -> None:
    assert CarbonIntensity(300, "the supplier's label", "DE", "2025-12-31") == CARBON


@pytest.mark.parametrize("lacking", ["source", "zone", "date"])
@pytest.mark.parametrize("value", ["", " ", None])
def test_an_intensity_without_source_zone_or_date_is_refused(lacking: str, value: str | None) -> None:
    known = {"source": "the supplier's label", "zone": "DE", "date": "2025"}
    with pytest.raises(ValueError, match=f"{lacking} must name"):
        CarbonIntensity(300, **{**known, lacking: value})  # type: ignore[arg-type]  # what a user may well write


def test_a_factor_that_is_no_number_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="g_per_kwh must be a number, not '300'"):
        CarbonIntensity("300", "the supplier's label", "DE", "2025")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"per_kwh must be a number, not '0\.3'"):
        Price(per_kwh="0.3", currency="EUR", source="the contract")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"pue must be a number, not '1\.2'"):
        Factors(carbon=CARBON, pue="1.2")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"pue must be a number, not '1\.2'"):
        Energy().co2_g(CARBON, pue="1.2")  # type: ignore[arg-type]


def test_what_is_no_price_and_no_intensity_is_refused(monitor: Monitor, clock: ManualClock) -> None:
    energy = kilowatt_hour(monitor, clock).energy
    with pytest.raises(TypeError, match="price_per_kwh must be a number"):
        energy.cost("0.3")  # type: ignore[arg-type]  # what a user may well write
    with pytest.raises(TypeError, match=r"intensity is a resmon.energy.CarbonIntensity\(.*, not 300"):
        energy.co2_g(300)  # type: ignore[arg-type]
    assert CarbonIntensity(np.int64(300), "the supplier's label", "DE", "2025").g_per_kwh == 300  # type: ignore[arg-type]


def test_a_measurement_has_the_factors_of_its_time_and_keeps_them(monitor: Monitor, clock: ManualClock) -> None:
    plain = kilowatt_hour(monitor, clock)
    assert plain.factors == Factors()
    assert "CO₂" not in plain._repr_mimebundle_()["text/plain"]
    monitor.factors = Factors(carbon=CARBON, price=PRICE, pue=1.2)
    m = kilowatt_hour(monitor, clock)
    said = m._repr_mimebundle_()["text/plain"]
    assert f"300 ± 30{NARROW}g CO₂" in said
    assert "measured part only, 300 g/kWh (the supplier's label, DE, 2025-12-31)" in said
    assert f"360 ± 40{NARROW}g CO₂" in said
    assert "measured part only, the same with PUE 1.2" in said
    assert f"0.30 ± 0.03{NARROW}EUR" in said
    assert "measured part only, 0.3 EUR/kWh (the contract)" in said
    again = Measurement.from_dict(json.loads(json.dumps(m.to_dict())))
    assert again == m
    assert again.factors.carbon == CARBON
    old = m.to_dict()
    del old["factors"]
    assert Measurement.from_dict(old).factors == Factors()


def test_an_estimate_stays_one(monitor: Monitor, clock: ManualClock) -> None:
    said = measurement(0, factors=Factors(carbon=CARBON))._repr_mimebundle_()["text/plain"]
    assert f"200 [100, 300]{NARROW}mg CO₂" in said
    assert "▨ estimated, 300 g/kWh" in said


def test_sources_are_text_and_never_markup() -> None:
    factors = Factors(carbon=replace(CARBON, source=HOSTILE), price=replace(PRICE, currency=HOSTILE, source=HOSTILE))
    bundle = measurement(1, factors=factors)._repr_mimebundle_()
    assert "<img src=x" not in bundle["text/html"]
    assert "\x1b" not in bundle["text/plain"]


def test_the_wire_carries_each_factor_with_its_source(monitor: Monitor) -> None:
    layout = Layout(monitor, 1)
    assert layout.schema("session", subshells=True)["factors"] == []
    assert not layout.stale()
    monitor.factors = Factors(carbon=CARBON, price=PRICE, pue=1.2)
    assert layout.stale(), "the panel is told at once"
    carbon = {
        "kind": "carbon", "unit": "g", "per_kwh": 300, "pue": None,
        "source": "the supplier's label", "zone": "DE", "date": "2025-12-31",
    }  # fmt: skip
    cost = {
        "kind": "cost",
        "unit": "EUR",
        "per_kwh": 0.3,
        "pue": None,
        "source": "the contract",
        "zone": "",
        "date": "",
    }
    schema = Layout(monitor, 2).schema("session", subshells=True)
    assert schema["factors"] == [carbon, {**carbon, "pue": 1.2}, cost]
    json.dumps(schema)


def test_what_is_no_factor_is_refused(monitor: Monitor) -> None:
    with pytest.raises(ValueError, match=r"pue is a ratio of at least 1, not 0\.9"):
        Factors(carbon=CARBON, pue=0.9)
    with pytest.raises(ValueError, match="give carbon too"):
        Factors(price=PRICE, pue=1.2)
    with pytest.raises(ValueError, match="per_kwh must be a finite number >= 0, not nan"):
        Price(per_kwh=float("nan"), currency="EUR", source="s")
    with pytest.raises(ValueError, match="currency and source"):
        Price(per_kwh=1, currency="", source="s")
    with pytest.raises(ValueError, match="currency and source"):
        Price(per_kwh=1, currency="EUR", source=" ")
    with pytest.raises(TypeError, match=r"factors is a resmon\.energy\.Factors"):
        monitor.factors = CARBON  # type: ignore[assignment]


def test_amounts_follow_the_rules_of_joules() -> None:
    assert format_amount((156e3, 144e3, 168e3), 0.3 / 3.6e6, "EUR") == f"0.0130 ± 0.0010{NARROW}EUR"
    assert format_amount((10, 9, 11), 0.3 / 3.6e6, "EUR") == f"< 0.0001{NARROW}EUR"
    assert format_amount((0.5, 0.4, 0.6), 300 / 3.6e6, "CO₂") == f"< 0.1{NARROW}mg CO₂"
    assert format_amount((None, None, None), 1.0, "EUR") == "–"


def test_a_cell_s_summary_in_a_kernel_tells_them() -> None:
    with kernel() as running:
        running.run("%load_ext resmon")
        running.run(
            "import resmon, time; from resmon.energy import *; time.sleep(1.2)\n"
            "resmon.get_monitor().factors = Factors(carbon=CarbonIntensity("
            "g_per_kwh=400, source='a label', zone='Z', date='2025'))"
        )
        ran = running.run("%%resmon\ntime.sleep(1.2)")
    assert "400 g/kWh (a label, Z, 2025)" in ran.text
