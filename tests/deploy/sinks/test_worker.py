from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from deploy.sinks import worker
from deploy.sinks.fan_out import FanOut
from deploy.sinks.worker import Refused, SinkWorker
from tests.record_material import merge

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.sightings import Record


@dataclass
class Place:
    """A destination that does with each record what `deal` says."""

    deal: Callable[[int], None] = lambda number: None
    name: str = "place"
    taken: list[int] = field(default_factory=list)
    closed: int = 0
    idled: int = 0

    def deliver(self, record: Record) -> None:
        number = getattr(record, "kept")  # noqa: B009
        self.deal(number)
        self.taken.append(number)

    def idle(self) -> None:
        self.idled += 1

    def close(self) -> None:
        self.closed += 1


def wait_until(true: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 5
    while not true():
        assert time.monotonic() < end_s, "waited 5 s in vain"
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(worker, "MOST_WAIT_S", 0.02)
    monkeypatch.setattr(worker, "IDLE_S", 0.02)


def test_records_arrive_in_order_and_the_end_waits_for_them() -> None:
    place = Place(lambda number: time.sleep(0.002))
    with FanOut([place]) as sink:
        for number in range(50):
            sink.write(merge(number))
    assert place.taken == list(range(50))
    assert place.closed == 1


def test_writing_never_waits_for_a_place_that_hangs() -> None:
    release = threading.Event()

    def hang(number: int) -> None:
        release.wait(10)

    place = Place(hang)
    sink = SinkWorker(place, most_records=10)
    begun_s = time.monotonic()
    for number in range(1000):
        sink.write(merge(number))
    assert time.monotonic() - begun_s < 0.5
    assert sink.state().queued == 10
    assert sink.lost == 990
    release.set()
    sink.ask_stop(time.monotonic() + 5)
    sink.join()
    assert place.taken[-10:] == list(range(990, 1000))


def test_what_fails_is_tried_again_in_order_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    failures = iter([OSError("disk full"), OSError("disk full"), None])

    def deal(number: int) -> None:
        failure = next(failures, None)
        if failure is not None:
            raise failure

    place = Place(deal)
    with caplog.at_level(logging.INFO), FanOut([place]) as sink:
        for number in range(3):
            sink.write(merge(number))
        wait_until(lambda: len(place.taken) == 3)
    assert place.taken == [0, 1, 2]
    told = [record.message for record in caplog.records if record.levelno >= logging.ERROR]
    assert told == ["place: disk full; records wait, tracking goes on"]
    assert any("works again, 0 records were lost" in record.message for record in caplog.records)


def test_a_record_that_is_refused_is_lost_and_the_next_one_goes() -> None:
    def deal(number: int) -> None:
        if number == 1:
            raise Refused("too large")

    place = Place(deal)
    with FanOut([place]) as sink:
        for number in range(3):
            sink.write(merge(number))
        wait_until(lambda: len(place.taken) == 2)
        assert sink.states()["place"].lost == 1
    assert place.taken == [0, 2]


def test_an_end_is_bounded_and_tells_what_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    def deal(number: int) -> None:
        raise ConnectionError("no broker")

    sinks = FanOut([Place(deal, "one"), Place(deal, "two")])
    for number in range(5):
        sinks.write(merge(number))
    begun_s = time.monotonic()
    sinks.close(0.2)
    assert time.monotonic() - begun_s < 1.0
    assert [state.lost for state in sinks.states().values()] == [5, 5]
    assert sum("5 records could not be delivered" in record.message for record in caplog.records) == 2


def test_a_place_that_hangs_does_not_hold_up_the_end() -> None:
    sinks = FanOut([Place(lambda number: time.sleep(3))])
    sinks.write(merge())
    begun_s = time.monotonic()
    sinks.close(0.1)
    assert time.monotonic() - begun_s < 1.0


def test_a_quiet_place_is_asked_now_and_then() -> None:
    place = Place()
    with FanOut([place]):
        wait_until(lambda: place.idled > 2)


def test_one_place_that_fails_does_not_hold_up_another() -> None:
    def deal(number: int) -> None:
        raise OSError("away")

    good = Place(name="good")
    sinks = FanOut([Place(deal, "bad"), good])
    for number in range(20):
        sinks.write(merge(number))
    wait_until(lambda: len(good.taken) == 20)
    sinks.close(0.1)


def test_no_password_gets_into_the_log_or_the_state(caplog: pytest.LogCaptureFixture) -> None:
    def deal(number: int) -> None:
        raise OSError("cannot reach http://user:secret99@host/x")

    sinks = FanOut([Place(deal)])
    sinks.write(merge())
    wait_until(lambda: bool(sinks.states()["place"].trouble))
    assert "secret99" not in sinks.states()["place"].trouble + caplog.text
    sinks.close(0.05)
    assert "secret99" not in caplog.text
