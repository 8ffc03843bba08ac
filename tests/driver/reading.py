"""Code that a test plays to read the GPUs through resmon, with short names: ``row(at)["GPU 0"]["power_w"]``."""

READING = """
import math
from resmon.sensors.nvml import NvmlSensor
sensor = NvmlSensor(retry_s=10.0)
sensor.discover()
def row(at=0.0):
    channels, labels = sensor.channels, {d.id: d.label for d in sensor.devices}
    values = sensor.read(at)
    assert len(values) == len(channels)
    out = {label: {} for label in labels.values()}
    for channel, value in zip(channels, values):
        if channel.device_id not in labels:
            continue  # the instants of the read
        out[labels[channel.device_id]][channel.quantity] = None if math.isnan(value) else value
    return out
def said():
    return [str(line) for line in sensor.status]
def show(value):
    print(json.dumps(value))
"""
"""NaN becomes null, so that the test reads what the library would call unknown."""

REMOTE_READING = READING.replace("nvml import NvmlSensor", "nvml_remote import RemoteNvmlSensor as NvmlSensor")
"""The same through a helper process."""
