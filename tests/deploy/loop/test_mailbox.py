"""Questions to the loop's thread: answered there, in time or not at all."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from deploy.loop.mailbox import Mailbox, NoAnswer
from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


@contextmanager
def loop(mailbox: Mailbox) -> Generator[threading.Thread]:
    """A loop that serves every millisecond."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.001):
            mailbox.serve()

    thread = threading.Thread(target=work, name="the loop")
    thread.start()
    yield thread
    stop.set()
    thread.join()


def asked(mailbox: Mailbox, question: Callable[[], object], timeout_s: float = 5.0) -> tuple[threading.Thread, list]:
    """Ask in a thread of its own; the list gets the answer or the exception."""
    got: list[object] = []

    def ask() -> None:
        try:
            got.append(mailbox.ask(question, timeout_s))
        except Exception as error:
            got.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, got


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_a_question_is_answered_on_the_loops_thread() -> None:
    mailbox = Mailbox()
    with loop(mailbox):
        assert mailbox.ask(lambda: threading.current_thread().name, 5) == "the loop"


def test_an_exception_travels_to_whoever_asked_and_the_loop_goes_on() -> None:
    mailbox = Mailbox()

    def refuse() -> None:
        raise BadInput("expected a person, got a chair")

    with loop(mailbox):
        with pytest.raises(BadInput, match="got a chair"):
            mailbox.ask(refuse, 5)
        assert mailbox.ask(lambda: 1, 5) == 1


def test_a_question_that_nobody_began_is_withdrawn_and_never_carried_out() -> None:
    mailbox, done = Mailbox(), []
    with pytest.raises(NoAnswer, match="nothing was done") as caught:
        mailbox.ask(lambda: done.append(1), 0.01)
    assert not caught.value.begun
    assert mailbox.serve() == 0
    assert not done


def test_withdrawn_questions_leave_room_for_new_ones() -> None:
    mailbox = Mailbox(most_waiting=2)
    for _ in range(5):
        with pytest.raises(NoAnswer, match="did not answer"):
            mailbox.ask(lambda: None, 0.001)


def test_a_question_that_takes_too_long_says_that_it_was_begun() -> None:
    mailbox, release = Mailbox(), threading.Event()
    with loop(mailbox):
        with pytest.raises(NoAnswer) as caught:
            mailbox.ask(lambda: release.wait(5), 0.05)
        release.set()
    assert caught.value.begun


def test_a_question_that_raises_a_timeout_of_its_own_is_not_taken_for_a_silent_loop() -> None:
    mailbox = Mailbox()

    def slow_disk() -> None:
        raise TimeoutError("the disk")

    with loop(mailbox), pytest.raises(TimeoutError, match="the disk"):
        mailbox.ask(slow_disk, 5)


def test_a_full_box_refuses_at_once() -> None:
    mailbox = Mailbox(most_waiting=1)
    first, _ = asked(mailbox, lambda: 1)
    wait_until(lambda: len(mailbox._waiting) == 1)  # pyright: ignore[reportPrivateUsage]
    began_s = time.monotonic()
    with pytest.raises(NoAnswer, match="1 questions wait"):
        mailbox.ask(lambda: 2, 5)
    assert time.monotonic() - began_s < 1
    mailbox.serve()
    first.join()


def test_when_the_loop_ends_those_who_wait_are_told() -> None:
    mailbox = Mailbox()
    thread, got = asked(mailbox, lambda: 1)
    wait_until(lambda: len(mailbox._waiting) == 1)  # pyright: ignore[reportPrivateUsage]
    mailbox.close()
    thread.join(timeout=2)
    assert isinstance(got[0], NoAnswer)
    with pytest.raises(NoAnswer, match="has ended"):
        mailbox.ask(lambda: 1, 5)


def test_questions_take_no_more_of_a_moment_than_they_are_given() -> None:
    now_s = 0.0

    def slow() -> None:
        nonlocal now_s
        now_s += 0.03

    mailbox = Mailbox(clock=lambda: now_s)
    threads = [asked(mailbox, slow)[0] for _ in range(5)]
    wait_until(lambda: len(mailbox._waiting) == 5)  # pyright: ignore[reportPrivateUsage]
    # 30 ms each, 50 ms a moment: the second one passes the limit and is the last.
    assert [mailbox.serve(0.05) for _ in range(3)] == [2, 2, 1]
    for thread in threads:
        thread.join()


def test_an_interrupt_in_the_loop_is_the_loops_and_the_asker_is_told() -> None:
    mailbox = Mailbox()

    def interrupt() -> None:
        raise KeyboardInterrupt

    thread, got = asked(mailbox, interrupt)
    wait_until(lambda: len(mailbox._waiting) == 1)  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(KeyboardInterrupt):
        mailbox.serve()
    thread.join()
    assert isinstance(got[0], NoAnswer)
