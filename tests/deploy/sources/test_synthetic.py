"""Drawn people as a camera: a recording, a live camera by a clock that the test holds, and mistakes in the address."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.sources.source import SourceError
from deploy.sources.synthetic import MOST_PEOPLE, SyntheticOptions, SyntheticSource, parse_options
from train.datasets.synthetic_site_view import CrowdRenderer, crowd_walks

SMALL = "size=160x90&people=2&seed=3"


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


def live(query: str, clock: Clock) -> SyntheticSource:
    return SyntheticSource(f"{query}&live=1", "visible", clock=clock, sleep=clock.sleep)


def picture(source: SyntheticSource) -> np.ndarray:
    image = source.retrieve()
    assert image is not None
    return image


def take(source: SyntheticSource, count: int) -> list[np.ndarray]:
    source.open()
    frames = []
    for _ in range(count):
        assert source.grab()
        frames.append(picture(source))
    return frames


def test_a_recording_has_all_its_frames_and_ends() -> None:
    source = SyntheticSource(f"{SMALL}&seconds=2.5&fps=8", "visible")
    frames = take(source, 20)
    assert (source.live, source.fps, frames[0].shape, frames[0].dtype) == (False, 8, (90, 160, 3), np.uint8)
    assert not source.grab()


def test_a_loop_begins_again() -> None:
    frames = take(SyntheticSource(f"{SMALL}&seconds=2&fps=3&loop=1", "visible"), 14)
    assert all(np.array_equal(frames[n], frames[n + 6]) for n in range(8))
    assert not np.array_equal(frames[0], frames[1])


def test_the_same_address_gives_the_same_pictures() -> None:
    query = f"{SMALL}&fps=2"
    once, again = (take(SyntheticSource(query, "infrared"), 12) for _ in range(2))
    other = take(SyntheticSource(query.replace("seed=3", "seed=4"), "infrared"), 12)
    assert all(np.array_equal(one, two) for one, two in zip(once, again, strict=True))
    assert not np.array_equal(once[-1], other[-1])


def test_colours_are_rgb() -> None:
    renderer = CrowdRenderer("visible", people=2, seed=3, size_px=(160, 90), fps=10, infrared="nir")
    image_HWC = take(SyntheticSource(SMALL, "visible"), 1)[0]
    assert np.array_equal(image_HWC[..., ::-1], renderer.frame(0)[0])  # which paints blue, green, red
    assert not np.array_equal(image_HWC, image_HWC[..., ::-1])


def columns_of_motion(modality: str, thermal: str) -> list[float]:
    """Return where somebody is in the picture, over half a minute, as a share of the width."""
    query = f"size=320x180&people=1&seed=2&fps=2&infrared={thermal}"
    frames = take(SyntheticSource(query, modality), 60)  # type: ignore[arg-type]
    grey = [frame.astype(float).reshape(180, 320, -1).mean(2) for frame in frames]
    moved = [np.abs(frame - grey[0]) for frame in grey]  # nobody is there at first
    weights = [np.where(image > 25, image, 0).sum(0) for image in moved]
    return [float(w @ np.arange(320) / w.sum() / 320) if w.sum() > 500 else -1.0 for w in weights]


@pytest.mark.parametrize("thermal", ["nir", "thermal"])
def test_sources_of_one_seed_show_the_same_people_at_the_same_time(thermal: str) -> None:
    visible, infrared = columns_of_motion("visible", thermal), columns_of_motion("infrared", thermal)
    both = [(v, i) for v, i in zip(visible, infrared, strict=True) if 0.2 < v < 0.8 and 0.2 < i < 0.8]
    assert len(both) >= 8
    # The cameras hang side by side: the infrared one sees everything 0.05 widths further to the right.
    assert np.mean([i - v for v, i in both]) == pytest.approx(0.05, abs=0.02)
    assert max(abs(i - v - 0.05) for v, i in both) < 0.06
    assert max(v for v, _ in both) - min(v for v, _ in both) > 0.3  # and they walk


def test_people_walk_up_and_down_for_ever() -> None:
    walks = [crowd_walks(3, 0, time_s) for time_s in range(0, 4000, 40)]
    assert walks[0] == []  # the place can be learned
    assert all([walk.identity for walk in row] == [4001, 4002, 4003] for row in walks[1:])
    assert {walk.direction for row in walks[1:] for walk in row if walk.identity == 4001} == {1, -1}
    assert all(-10 < walk.start_s - 40 * n <= 0 for n, row in enumerate(walks) for walk in row)


def test_thermal_is_16_bits_of_an_infrared_camera_only() -> None:
    query = f"{SMALL}&infrared=thermal"
    (infrared,), (visible,) = (take(SyntheticSource(query, name), 1) for name in ("infrared", "visible"))
    assert (infrared.shape, infrared.dtype) == ((90, 160), np.uint16)
    assert 7000 < infrared.min() < infrared.max() < 2**14
    assert (visible.shape, visible.dtype) == ((90, 160, 3), np.uint8)


def test_a_live_camera_keeps_its_pace() -> None:
    clock = Clock(1000.02)
    source = live(f"{SMALL}&fps=10", clock)
    source.open()
    times: list[float] = []
    for _ in range(5):
        assert source.grab()
        times.append(clock.now_s)
    assert times == pytest.approx([1000.02, 1000.1, 1000.2, 1000.3, 1000.4])


def test_what_nobody_waited_for_has_passed() -> None:
    clock = Clock()
    source = live(f"{SMALL}&fps=10", clock)
    source.open()
    assert source.grab()
    clock.now_s += 7.03
    assert source.grab()
    late = picture(source)
    assert clock.slept == []
    punctual = live(f"{SMALL}&fps=10", Clock(1007.03))
    punctual.open()
    assert punctual.grab()
    assert np.array_equal(late, picture(punctual))


def test_live_sources_agree_whenever_they_were_opened() -> None:
    clock = Clock()
    early, late = live(SMALL, clock), live(SMALL, clock)
    early.open()
    assert early.grab()
    clock.now_s += 3.33
    late.open()
    assert early.grab()
    assert late.grab()
    assert np.array_equal(picture(early), picture(late))
    assert early.stamp_s() == late.stamp_s() == pytest.approx(1003.3)


def test_a_recording_has_no_stamps() -> None:
    source = SyntheticSource(SMALL, "visible")
    take(source, 3)
    assert source.stamp_s() is None


def test_a_lost_camera_comes_back() -> None:
    clock = Clock()
    source = live(f"{SMALL}&fps=10&lost=2-5,9-10", clock)
    source.open()
    given = 0
    while source.grab():
        given += 1
    assert (given, clock.now_s) == (20, pytest.approx(1002.0))  # frames at 0.0 s to 1.9 s
    source.close()
    assert not source.grab()
    with pytest.raises(SourceError, match=r"another 3\.0 s") as caught:
        source.open()
    assert (caught.value.kind, caught.value.permanent) == ("connection", False)
    clock.now_s += 3.0
    source.open()
    assert source.grab()
    clock.now_s += 4.5
    assert not source.grab()  # the second time


def test_a_live_camera_that_was_asked_to_end_says_so() -> None:
    clock = Clock()
    source = live(f"{SMALL}&fps=10&seconds=1", clock)
    source.open()
    assert all(source.grab() for _ in range(10))
    with pytest.raises(SourceError, match="over") as caught:
        source.grab()
    assert caught.value.kind == "ended"
    assert clock.now_s == pytest.approx(1001.0)


def test_a_source_that_is_not_open_gives_nothing() -> None:
    source = SyntheticSource(SMALL, "visible")
    assert not source.grab()
    assert source.retrieve() is None
    source.open()
    assert source.retrieve() is None  # nothing was grabbed yet


def test_the_address_is_read() -> None:
    assert parse_options("") == SyntheticOptions()
    query = "people=16&seed=7&size=320x240&fps=12.5&live=1&infrared=thermal&seconds=9&lost=1-2.5,4-5"
    assert parse_options(query) == SyntheticOptions(
        people=16, seed=7, size=(320, 240), fps=12.5, live=True, infrared="thermal", seconds=9.0,
        lost=((1.0, 2.5), (4.0, 5.0)),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("poeple=4", "unknown key 'poeple'; did you mean 'people'?"),
        ("people=four", "expected people=4, got people=four"),
        ("people", "expected people=4, got people="),
        (f"people={MOST_PEOPLE + 1}", f"people of 0 to {MOST_PEOPLE}, got {MOST_PEOPLE + 1}"),
        ("people=1&people=2", "expected people once"),
        ("seed=-1", "a seed of 0 or more"),
        ("size=640", "expected size=640x360, got size=640"),
        ("size=640x36000", "a size of 64x64 to 4096x4096"),
        ("fps=0", "fps of 1 to 120"),
        ("fps=nan", "fps of 1 to 120"),
        ("live=yes", "expected live=0 or live=1, got live=yes"),
        ("infrared=lwir", "infrared of nir or thermal, got lwir"),
        ("seconds=0", "seconds for a frame or more"),
        ("seconds=inf", "seconds for a frame or more"),
        ("live=1&loop=1", "loop without live=1"),
        ("lost=2-3", "live=1 with lost"),
        ("live=1&lost=3-2", "the lower first"),
        ("live=1&lost=3", "expected lost=20-35, got lost=3"),
    ],
)
def test_a_mistake_in_the_address_is_one_line(query: str, message: str) -> None:
    with pytest.raises(SourceError) as caught:
        SyntheticSource(query, "visible")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.permanent
