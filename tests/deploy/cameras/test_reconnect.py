"""Back-off, and which failures it is for."""

from __future__ import annotations

import random

import pytest

from deploy.cameras.reconnect import BackOff, Loss, loss_of, loss_without_error
from deploy.sources import SourceError
from engines.errors import BadInput


class Middle(random.Random):
    """The middle of every range, and the ranges that were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.ranges: set[tuple[float, float]] = set()

    def uniform(self, a: float, b: float) -> float:
        self.ranges.add((a, b))
        return (a + b) / 2


def test_waits_double_from_one_to_thirty_seconds() -> None:
    rng = Middle()
    back_off = BackOff(rng)
    assert [back_off.next_s() for _ in range(8)] == [1, 2, 4, 8, 16, 30, 30, 30]
    assert rng.ranges == {(0.8, 1.2)}
    back_off.reset()
    assert (back_off.next_s(), back_off.tries) == (1, 1)


def test_jitter_stays_within_a_fifth_and_differs_between_cameras() -> None:
    plain = [1, 2, 4, 8, 16] + [30] * 200
    waits = {}
    for name in ("door", "gate"):
        back_off = BackOff(random.Random(name))
        waits[name] = [back_off.next_s() for _ in plain]
        ratios = [wait / expected for wait, expected in zip(waits[name], plain, strict=True)]
        assert min(ratios) >= 0.8
        assert max(ratios) <= 1.2
        assert max(ratios) - min(ratios) > 0.3  # it is there
    assert waits["door"] != waits["gate"]
    assert BackOff(random.Random("door")).next_s() == waits["door"][0]  # and the same in every run


def test_waits_stay_finite_after_years_of_tries() -> None:
    back_off = BackOff(Middle())
    back_off.tries = 10**7
    assert back_off.next_s() == 30


def error(permanent: bool) -> SourceError:
    return SourceError("camera 'gate' rtsp://me:secret@10.0.0.5/live: no", kind="timeout", permanent=permanent)


@pytest.mark.parametrize(
    ("raised", "live", "state"),
    [
        (error(permanent=False), True, "reconnecting"),
        (error(permanent=True), True, "failed"),
        (error(permanent=False), False, "failed"),
        (error(permanent=True), False, "failed"),
        (SourceError("over", kind="ended"), True, "ended"),
        (SourceError("over", kind="ended"), False, "ended"),
        (BadInput("rows"), True, "failed"),  # a setting that does not fit the pictures
        (OSError("device gone"), True, "reconnecting"),
        (OSError("device gone"), False, "failed"),
        (MemoryError(), True, "reconnecting"),
    ],
)
def test_what_follows_from_an_error(raised: Exception, live: bool, state: str) -> None:
    loss = loss_of(raised, live=live)
    assert loss.state == state
    assert "secret" not in loss.reason


def test_an_error_of_a_driver_is_told_with_its_kind_and_without_credentials() -> None:
    loss = loss_of(OSError("cannot read http://me:secret@cam/x"), live=True)
    assert loss.reason == "OSError: cannot read http://***@cam/x"
    assert loss_of(MemoryError(), live=True).reason == "MemoryError: MemoryError"


def test_no_picture_any_more_is_the_end_of_a_recording_only() -> None:
    assert loss_without_error(live=False) == Loss("ended", "")
    assert loss_without_error(live=True).state == "reconnecting"
