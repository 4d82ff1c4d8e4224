"""The device that a bundle is for: what its wheels are called, and what a requirement's marker says there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from engines.errors import BadInput

Platform = Literal["aarch64", "x86_64"]
PLATFORMS: tuple[Platform, ...] = get_args(Platform)
# cpu: OpenVINO and ONNX Runtime come as wheels. tensorrt: TensorRT is the system's (JetPack), pycuda is built there.
Runtime = Literal["cpu", "tensorrt"]
RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)
# system: JetPack's or the distribution's OpenCV, which has GStreamer; the one of the wheel has not.
OpenCv = Literal["wheel", "system"]
OPENCVS: tuple[OpenCv, ...] = get_args(OpenCv)

# JetPack 6 is Ubuntu 22.04 with Python 3.10 and glibc 2.35, JetPack 7 is Ubuntu 24.04 with Python 3.12 and glibc 2.39.
JETPACK_GLIBC = {"3.10": "2.35", "3.12": "2.39"}
OTHER_GLIBC = "2.35"
OLDEST_GLIBC_MINOR = 17  # manylinux2014: nothing older has Python 3.10


@dataclass(frozen=True, kw_only=True)
class Target:
    """A kind of device. glibc is the newest that a wheel may ask for; "" is that of the JetPack with this Python."""

    platform: Platform = "aarch64"
    python: str = "3.10"
    runtime: Runtime = "cpu"
    opencv: OpenCv = "wheel"
    glibc: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"3\.\d+", self.python) or int(self.python[2:]) < 10:
            raise BadInput(f"--python: expected 3.10 or newer as two numbers, such as 3.12, got {self.python!r}")
        glibc = self.glibc or JETPACK_GLIBC.get(self.python, OTHER_GLIBC)
        if not re.fullmatch(r"2\.\d+", glibc) or int(glibc[2:]) < OLDEST_GLIBC_MINOR:
            raise BadInput(f"--glibc: expected 2.{OLDEST_GLIBC_MINOR} or newer, such as 2.35, got {self.glibc!r}")
        object.__setattr__(self, "glibc", glibc)

    def __str__(self) -> str:
        return f"{self.platform}, Python {self.python}, glibc {self.glibc}"

    @property
    def stem(self) -> str:
        """Return what tells bundles apart in a file's name."""
        words = [
            self.platform,
            f"py{self.python}",
            self.runtime,
            *(["system-opencv"] if self.opencv == "system" else []),
        ]
        return "-".join(words)

    @property
    def sees_system(self) -> bool:
        """Say whether something is taken from the system's Python packages."""
        return self.runtime == "tensorrt" or self.opencv == "system"

    def wheel_platforms(self) -> list[str]:
        """Return the platform tags that the device takes, the newest first."""
        minors = range(int(self.glibc[2:]), OLDEST_GLIBC_MINOR - 1, -1)
        tags = [f"manylinux_2_{minor}_{self.platform}" for minor in minors]
        tags.append(f"manylinux2014_{self.platform}")
        if self.platform == "x86_64":
            tags += ["manylinux_2_12_x86_64", "manylinux2010_x86_64", "manylinux_2_5_x86_64", "manylinux1_x86_64"]
        return [*tags, f"linux_{self.platform}"]

    def markers(self, extra: str = "") -> dict[str, str]:
        """Return the environment in which a requirement's marker is judged (PEP 508)."""
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "os_name": "posix",
            "platform_machine": self.platform,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": "linux",
            "extra": extra,
        }
