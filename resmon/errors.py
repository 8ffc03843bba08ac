"""What resmon raises on purpose.

::

    ResmonError
    ├── MonitorError        a monitor used against its state, for example after the process forked
    ├── RecordError         a flight record or trace that cannot be read (also a ValueError)
    └── CalibrationError    a board's calibration that cannot be read (also a ValueError)
"""

from __future__ import annotations


class ResmonError(Exception):
    """The root of what resmon raises on purpose."""


class MonitorError(ResmonError, RuntimeError):
    """A monitor was used against its state."""


class RecordError(ResmonError, ValueError):
    """A flight record or trace cannot be read; the message names the file, the place and the reason."""


class CalibrationError(ResmonError, ValueError):
    """A board's calibration cannot be read; the message names the file, the place and the reason."""


class ResmonWarning(UserWarning):
    """Something is worth knowing and harms nothing: resmon goes on."""
