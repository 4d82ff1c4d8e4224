"""The Jetson modules that a buyer can choose from, as rows for an estimate.

NVIDIA's datasheet values, written down from memory and not checked against the datasheets; none was measured here. The
rates are dense (twice as much is advertised for sparse weights) and of the GPU alone; modes that are not listed, such
as the Orin NX's super mode, are left out because their rates are not known here.
"""

from __future__ import annotations

from dataclasses import dataclass

BEFORE_8_5 = "JetPack 4 ends at TensorRT 8.2, and the runtime's calls came with 8.5"
SOURCE = "NVIDIA datasheet values from memory, unverified; dense rates of the GPU without its DLA"


@dataclass(frozen=True, kw_only=True)
class JetPack:
    """A release of the system and the TensorRT in it."""

    name: str
    tensorrt: str


JETPACK_4 = (JetPack(name="4.6.1-4.6.6", tensorrt="8.2.1"),)
JETPACK_5 = (JetPack(name="5.1-5.1.6", tensorrt="8.5.2"),)
ORIN = (
    *JETPACK_5,
    JetPack(name="6.0", tensorrt="8.6.2"),
    JetPack(name="6.1-6.2.2", tensorrt="10.3.0"),
    JetPack(name="7.2", tensorrt="10.16"),  # inferred from jetson-containers
)
AGX_ORIN = (*ORIN, JetPack(name="7.2.2", tensorrt="11.4.1"))
SUPER = (JetPack(name="6.2-6.2.2", tensorrt="10.3.0"),)  # the modes came with 6.2
THOR = (JetPack(name="7.0-7.1", tensorrt="10.13.3"), *AGX_ORIN[-2:])


@dataclass(frozen=True, kw_only=True)
class JetsonModule:
    """One module; its super mode is a row of its own."""

    name: str
    compute_capability: str
    fp16_tflops: float
    int8_tops: float | None  # None: no INT8 rate, or none known here
    gb_per_s: float
    advertised: str
    releases: tuple[JetPack, ...]  # oldest first
    dla_cores: int = 0
    memory_gb: int | None = None  # only where the module's name says it
    unsupported: str = ""  # why this software does not run on it


MODULES: tuple[JetsonModule, ...] = (
    JetsonModule(
        name="Orin Nano 4GB", compute_capability="8.7", fp16_tflops=5, int8_tops=10, gb_per_s=34,
        advertised="20 TOPS", releases=ORIN, memory_gb=4,
    ),
    JetsonModule(
        name="Orin Nano 4GB Super", compute_capability="8.7", fp16_tflops=8.5, int8_tops=17, gb_per_s=51,
        advertised="34 TOPS", releases=SUPER, memory_gb=4,
    ),
    JetsonModule(
        name="Orin Nano 8GB", compute_capability="8.7", fp16_tflops=10, int8_tops=20, gb_per_s=68,
        advertised="40 TOPS", releases=ORIN, memory_gb=8,
    ),
    JetsonModule(
        name="Orin Nano 8GB Super", compute_capability="8.7", fp16_tflops=17, int8_tops=33, gb_per_s=102,
        advertised="67 TOPS", releases=SUPER, memory_gb=8,
    ),
    JetsonModule(
        name="Orin NX 8GB", compute_capability="8.7", fp16_tflops=12.5, int8_tops=25, gb_per_s=102.4,
        advertised="70 TOPS", releases=ORIN, dla_cores=1, memory_gb=8,
    ),
    JetsonModule(
        name="Orin NX 16GB", compute_capability="8.7", fp16_tflops=15, int8_tops=30, gb_per_s=102.4,
        advertised="100 TOPS", releases=ORIN, dla_cores=2, memory_gb=16,
    ),
    JetsonModule(
        name="AGX Orin 32GB", compute_capability="8.7", fp16_tflops=27, int8_tops=54, gb_per_s=204.8,
        advertised="200 TOPS", releases=AGX_ORIN, dla_cores=2, memory_gb=32,
    ),
    JetsonModule(
        name="AGX Orin 64GB", compute_capability="8.7", fp16_tflops=42.5, int8_tops=85, gb_per_s=204.8,
        advertised="275 TOPS", releases=AGX_ORIN, dla_cores=2, memory_gb=64,
    ),
    # Its own low precision is FP8, which is not built here; an INT8 rate is not known here.
    JetsonModule(
        name="Thor T5000", compute_capability="11.0", fp16_tflops=250, int8_tops=None, gb_per_s=273,
        advertised="2070 TFLOPS FP4", releases=THOR,
    ),
    JetsonModule(
        name="Xavier NX", compute_capability="7.2", fp16_tflops=6, int8_tops=12, gb_per_s=59.7,
        advertised="21 TOPS", releases=JETPACK_5, dla_cores=2,
    ),
    JetsonModule(
        name="AGX Xavier", compute_capability="7.2", fp16_tflops=11, int8_tops=22, gb_per_s=136.5,
        advertised="32 TOPS", releases=JETPACK_5, dla_cores=2,
    ),
    JetsonModule(
        name="Nano", compute_capability="5.3", fp16_tflops=0.47, int8_tops=None, gb_per_s=25.6,
        advertised="0.47 TFLOPS", releases=JETPACK_4,
        unsupported=BEFORE_8_5,
    ),
    JetsonModule(
        name="TX2", compute_capability="6.2", fp16_tflops=1.33, int8_tops=None, gb_per_s=59.7,
        advertised="1.33 TFLOPS", releases=JETPACK_4,
        unsupported=BEFORE_8_5,
    ),
)  # fmt: skip
