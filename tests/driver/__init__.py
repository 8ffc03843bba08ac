"""A scripted NVIDIA driver: real pynvml calls, real ctypes, GPUs that do what a test says.

::

    path = Script(gpus=gpus(2, power_w=Square(100, 700, period_s=1.0, duty=0.25))).write(tmp_path / "gpus")
    play(path, "...python code that prints JSON...")                 # a fresh process
    subprocess.Popen([...], env=environment(path))                   # a kernel, a server, another tool
"""

from tests.driver.playing import build, environment, play
from tests.driver.profiles import Constant, Profile, Square, Steps
from tests.driver.script import (
    GIB,
    LOST,
    MISMATCH,
    NO_PERMISSION,
    NOT_SUPPORTED,
    TIMEOUT,
    UNKNOWN,
    Fault,
    Gpu,
    Hang,
    Process,
    Script,
    Slice,
    gpu_uuid,
    gpus,
)

__all__ = [
    "GIB",
    "LOST",
    "MISMATCH",
    "NOT_SUPPORTED",
    "NO_PERMISSION",
    "TIMEOUT",
    "UNKNOWN",
    "Constant",
    "Fault",
    "Gpu",
    "Hang",
    "Process",
    "Profile",
    "Script",
    "Slice",
    "Square",
    "Steps",
    "build",
    "environment",
    "gpu_uuid",
    "gpus",
    "play",
]
