"""Arrays that hardware and networks hand over: pictures of any shape and depth, answers of any numbers, any boxes."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.cameras.frames import Frame
from deploy.cameras.thermal import ThermalConverter, band_of, is_coloured, without_telemetry
from deploy.detection.detector import Detections, suppress
from deploy.detection.heads import FORMS
from deploy.detection.heads.form import MAX_BOXES, Form, Signature, TensorSpec
from deploy.settings.site_plan import CameraSite, ThermalSettings
from deploy.sources.pixels import from_y16, to_pixels
from deploy.tracking.crops import CropSelector, CropSettings
from deploy.tracking.tracker import Tracker, TrackerSettings
from tests.fuzz.harness import attempt, bounded, count

if TYPE_CHECKING:
    from numpy.typing import NDArray

DTYPES = (np.uint8, np.uint16, np.int16, np.int32, np.float32, np.float64, np.bool_)
FINITE = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-30, 999_999.0, -999_999.0)
SEEDS = st.integers(0, 2**32 - 1)
EXTREMES = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-30, 1e6, -1e6, 3e38, -3e38, np.inf, -np.inf, np.nan)


def site(modality: Any = "infrared", **more: Any) -> CameraSite:
    return CameraSite(name="door", uri="0", modality=modality, **more)


def pictures(dtype: Any, shape: tuple[int, ...]) -> st.SearchStrategy[NDArray[Any]]:
    """Draw constant, extreme and random pictures: a hot point on cold ground, noise of one count, all there is."""
    return st.builds(_picture, st.just(np.dtype(dtype)), st.just(shape), st.integers(0, 4), SEEDS)


def _picture(dtype: np.dtype[Any], shape: tuple[int, ...], kind: int, seed: int) -> NDArray[Any]:
    rng = np.random.default_rng(seed)
    top = 1 if dtype == np.bool_ else (np.iinfo(dtype).max if dtype.kind in "iu" else 1e38)
    picture = np.full(shape, top if kind == 1 else 0, dtype)
    if kind == 2 and picture.size:
        picture.flat[rng.integers(picture.size)] = top
    if kind == 3:
        picture += rng.integers(0, 2, shape).astype(dtype)
    if kind == 4:
        picture = (rng.random(shape) * min(top, 1e9)).astype(dtype)
    return picture


ANY_PICTURE = st.tuples(
    st.sampled_from(DTYPES), st.lists(st.integers(0, 40), min_size=0, max_size=4).map(tuple)
).flatmap(lambda drawn: pictures(*drawn))


@given(image=ANY_PICTURE, modality=st.sampled_from(("visible", "infrared")))
def test_a_decoded_picture(image: NDArray[Any], modality: str) -> None:
    pixels = attempt("decoded picture", lambda: to_pixels(image, site(modality)))
    if pixels is not None:
        assert pixels.dtype == (np.uint16 if pixels.ndim == 2 else np.uint8)
        assert pixels.size
        assert pixels.ndim == 2 or pixels.shape[2] == 3
        attempt("decoded picture", lambda: band_of(site(modality), pixels))
        if pixels.ndim == 3:
            is_coloured(pixels)


@given(
    raw=ANY_PICTURE | st.binary(max_size=400).map(lambda data: np.frombuffer(data, np.uint8)[None]),
    width=st.integers(0, 40),
    height=st.integers(0, 40),
)
def test_a_buffer_of_y16(raw: NDArray[Any], width: int, height: int) -> None:
    found = attempt("Y16 buffer", lambda: from_y16(raw, (width, height), site(format="Y16")))
    if found is not None:
        assert found.dtype == np.uint16
        assert found.ndim == 2
        assert found.size


@given(
    frames=st.lists(
        st.tuples(st.integers(1, 30), st.integers(1, 30)).flatmap(lambda shape: pictures(np.uint16, shape)),
        min_size=1,
        max_size=4,
    ),
    times=st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=4),
    polarity=st.sampled_from(("white-hot", "black-hot")),
    settle_s=st.sampled_from((0.0, 1e-6, 1.5, 1e9)),
    rows=st.integers(0, 4),
)
def test_thermal_pictures(
    frames: list[NDArray[Any]], times: list[float], polarity: Any, settle_s: float, rows: int
) -> None:
    converter = ThermalConverter(ThermalSettings(polarity=polarity, agc_settle_s=settle_s))
    for counts_HW, time_s in zip(frames, times, strict=False):
        cut = attempt("telemetry rows", lambda: without_telemetry(counts_HW, rows, "door"))  # noqa: B023
        if cut is None:
            continue
        found = attempt("thermal picture", lambda cut=cut: converter.convert(cut, time_s), ())  # noqa: B023
        assert found is not None
        assert found.image_HWC.shape == (*cut.shape, 3)
        assert found.image_HWC.dtype == np.uint8


# Answers that each head can be fitted to, on an input of 64 x 64: 84 cells of the strides 8 to 32.
SHAPES: dict[str, tuple[tuple[int, ...], ...]] = {
    "yolox": ((2, 84, 85),),
    "yolox-decoded": ((2, 84, 85),),
    "yolov5": ((2, 252, 85),),
    "yolov8": ((2, 84, 84),),
    "end-to-end": ((2, 30, 6),),
    "nms": ((2, 1), (2, 20, 4), (2, 20), (2, 20)),
    "labelled": ((2, 20, 4), (2, 20), (2, 20)),
    "torchvision": ((20, 4), (20,), (20,)),
    "mmdeploy": ((2, 20, 5), (2, 20)),
    "detr": ((2, 20, 92), (2, 20, 4)),
    "dino": ((2, 20, 91), (2, 20, 4)),
    "rt-detr": ((2, 20, 80), (2, 20, 4)),
    "ssd": ((1, 1, 20, 7),),
}
WHOLE = {"nms": (0, 3), "labelled": (1,), "torchvision": (1,), "mmdeploy": (1,)}  # which answers are whole numbers


def test_every_head_is_fuzzed() -> None:
    assert set(SHAPES) == {form.name for form in FORMS}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@given(data=st.data())
def test_a_head_s_answer(form: Form, data: st.DataObject) -> None:
    """Whatever the numbers are, what comes out are boxes of finite numbers, few and with scores from 0.1 on."""
    answers = [
        data.draw(answers_of(shape, number in WHOLE.get(form.name, ())))
        for number, shape in enumerate(SHAPES[form.name])
    ]
    specs = tuple(TensorSpec(name=f"o{n}", shape=answer.shape, dtype=answer.dtype) for n, answer in enumerate(answers))
    signature = Signature(height_px=64, width_px=64, inputs=(), outputs=specs, answers=tuple(answers))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's, of arithmetic with infinities
        found = attempt(f"head {form.name}", lambda: form.read(answers, signature, form.convention.person), ())
        assert found is not None
        for people in found:
            assert people.box_N4.shape == (len(people), 4)
            assert people.box_N4.dtype == people.score_N.dtype == np.float32
            assert len(people) <= max(MAX_BOXES, 1000)
            assert np.isfinite(people.box_N4).all()
            assert np.isfinite(people.score_N).all()
            assert (people.score_N >= 0.0999).all()  # in half precision 0.1 is a little less
            assert len(suppress(people, 0.45)) <= len(people)
        attempt(f"head {form.name}", lambda: form.find(signature) or (), ())


def answers_of(shape: tuple[int, ...], whole: bool) -> st.SearchStrategy[NDArray[Any]]:
    return st.builds(_answer, st.just(shape), st.just(whole), st.sampled_from((0.0, 0.02, 0.5)), SEEDS)


def _answer(shape: tuple[int, ...], whole: bool, odd: float, seed: int) -> NDArray[Any]:
    """Draw numbers as a network gives them, some of them odd."""
    rng = np.random.default_rng(seed)
    if whole:
        usual, strange = rng.integers(0, 3, shape), rng.choice((-1, 20, 2**31 - 1, -(2**31)), shape)
        return np.where(rng.random(shape) < odd, strange, usual).astype(np.int32)
    usual, strange = rng.random(shape) * rng.choice((1.0, 64.0)), rng.choice(EXTREMES, shape)
    with np.errstate(all="ignore"):  # 3e38 is infinite in half precision
        return np.where(rng.random(shape) < odd, strange, usual).astype(rng.choice(("float32", "float16")))


def boxes_of(data: st.DataObject) -> Detections:
    """Draw boxes as a detector may hand them over: finite, and within a million pixels."""
    count, odd = data.draw(st.integers(0, 8)), data.draw(st.sampled_from((0.0, 0.1, 0.6)))
    rng = np.random.default_rng(data.draw(SEEDS))
    box_N4, score_N = rng.random((count, 4)) * (80, 60, 40, 60), rng.random(count)
    box_N4 = np.where(rng.random(box_N4.shape) < odd, rng.choice(FINITE, box_N4.shape), box_N4)
    score_N = np.where(rng.random(count) < odd, rng.choice(FINITE, count), score_N)
    return Detections(box_N4=box_N4.astype(np.float32), score_N=score_N.astype(np.float32))


@given(data=st.data(), blobs=st.booleans())
def test_boxes_of_any_numbers_are_tracked(data: st.DataObject, blobs: bool) -> None:
    tracker, selector = Tracker(TrackerSettings(blobs=blobs)), CropSelector(CropSettings(least_height_px=1))
    picture_HWC = np.zeros((60, 80, 3), np.uint8)
    index, time_s = 0, 0.0
    for _ in range(data.draw(st.integers(1, 6))):
        index += data.draw(st.sampled_from((0, 1, 3, 10**6)))
        time_s += data.draw(st.sampled_from((0.0, 0.1, 3.0, -1.0, 1e9)))
        frame = Frame(image_HWC=picture_HWC, time_s=time_s, index=index, camera="door", modality="visible")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            step = attempt("tracker", lambda: step_of(data, tracker, frame), ())  # noqa: B023
            assert step is not None
            assert len({box.track for box in step.seen}) == len(step.seen)
            attempt("crops", lambda seen=step.seen: selector.select(frame, seen), ())  # noqa: B023
    tracker.finish()


def step_of(data: st.DataObject, tracker: Tracker, frame: Frame) -> Any:
    match data.draw(st.integers(0, 5)):
        case 0:
            return tracker.coast(frame)
        case 1:
            return tracker.hold(frame)
        case _:
            return tracker.update(boxes_of(data), frame)


@given(data=st.data())
def test_suppression_of_any_boxes_ends(data: st.DataObject) -> None:
    found = boxes_of(data)
    with warnings.catch_warnings(), bounded():
        warnings.simplefilter("ignore", RuntimeWarning)
        kept = suppress(found, 0.45)
    assert len(kept) <= len(found)
    count("suppression", accepted=True)
