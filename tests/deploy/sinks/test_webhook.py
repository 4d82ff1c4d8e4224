from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from deploy.sightings import TrackedFrame
from deploy.sinks.webhook import Webhook
from deploy.sinks.worker import Refused
from engines.errors import BadInput
from tests.record_material import merge, sighting

if TYPE_CHECKING:
    from collections.abc import Iterator


class Receiver(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.posts: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.code = 200
        self.url = f"http://127.0.0.1:{self.server_port}/hook"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert isinstance(self.server, Receiver)
        self.server.posts.append((dict(self.headers), body))
        self.send_response(self.server.code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_record_is_posted_as_json(receiver: Receiver) -> None:
    Webhook(receiver.url, "t0ken").deliver(sighting())
    headers, body = receiver.posts[0]
    assert body["event"] == "sighting"
    assert headers["Content-Type"] == "application/json"
    assert headers["Authorization"] == "Bearer t0ken"


def test_boxes_stay_here(receiver: Receiver) -> None:
    Webhook(receiver.url).deliver(TrackedFrame(frame=1, camera="a", track=1, box_px=(0, 0, 1, 1), score=1.0))
    assert receiver.posts == []


@pytest.mark.parametrize(
    ("code", "kind"), [(404, Refused), (410, Refused), (500, ConnectionError), (429, ConnectionError)]
)
def test_an_answer_says_whether_to_try_again(receiver: Receiver, code: int, kind: type[Exception]) -> None:
    receiver.code = code
    with pytest.raises(kind, match=str(code)):
        Webhook(receiver.url).deliver(merge())


def test_nobody_there_is_worth_another_try_and_keeps_the_password(receiver: Receiver) -> None:
    receiver.shutdown()
    receiver.server_close()
    with pytest.raises(ConnectionError) as caught:
        Webhook(receiver.url.replace("http://", "http://me:secret99@")).deliver(merge())
    assert "secret99" not in str(caught.value)


@pytest.mark.parametrize("url", ["example.org", "ftp://x/y", "http://", "file:///etc/passwd"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(BadInput, match="--webhook: expected an http"):
        Webhook(url)
