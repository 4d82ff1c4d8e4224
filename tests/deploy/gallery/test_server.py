"""A Qdrant server that several devices share.

The client's own store in memory stands in for a server, which cannot be had here: it answers the same calls with the
same filters and conditional writes, but it has no HNSW index, no network and one writer at a time.
"""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from deploy.gallery import GalleryError, Hit, open_gallery, retention
from deploy.gallery.server import QdrantServer
from deploy.gallery.server_points import ServerPoints, connect
from engines.errors import BadInput
from tests.deploy.gallery.gallery_stores import DIM, MODEL, local_client, tracklet, unit

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

X, Y = unit(1), unit(0, 1)


@pytest.fixture
def client() -> QdrantClient:
    return local_client()


def device(client: QdrantClient) -> QdrantServer:
    return QdrantServer(ServerPoints(client, "people"), MODEL, DIM)


def test_devices_share_people_and_never_a_number(client: QdrantClient) -> None:
    first, second = device(client), device(client)
    given = [d.new_identity() for _ in range(80) for d in (first, second)]
    assert len(set(given)) == 160
    first.enrol(tracklet(given[0], X))
    second.enrol(tracklet(given[1], Y))
    assert first.search(Y[None], "visible", 1) == [[Hit(given[1], 1.0)]]
    first.flush()
    assert first.count_people() == second.count_people() == 2


def test_only_one_of_two_devices_gets_a_block_that_both_want(client: QdrantClient) -> None:
    first, second = ServerPoints(client, "people"), ServerPoints(client, "people")
    device(client)
    assert first.swap_fact("last_identity", 0, 32)
    assert not second.swap_fact("last_identity", 0, 32)  # it had read the old value
    assert second.swap_fact("last_identity", 32, 64)


def test_a_device_that_always_loses_says_so(client: QdrantClient, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = device(client)
    monkeypatch.setattr(ServerPoints, "swap_fact", lambda *_: False)
    with pytest.raises(GalleryError, match="cannot reserve identity numbers, other devices are faster"):
        gallery.new_identity()


def test_a_second_device_of_another_model_is_refused(client: QdrantClient) -> None:
    device(client)
    with pytest.raises(BadInput, match="expected embeddings of model other"):
        QdrantServer(ServerPoints(client, "people"), "other", DIM)


def test_an_incomplete_tracklet_is_not_seen_and_is_reported(client: QdrantClient) -> None:
    from deploy.gallery.server_points import match

    gallery = device(client)
    gallery.enrol(tracklet(1, X, Y))
    gallery.enrol(tracklet(1, Y))
    points = ServerPoints(client, "people")
    points.delete(points.rows, match(row=1))
    assert len(gallery.tracklets(1)) == 1
    assert [line.partition(": ")[2] for line in gallery.check()] == ["expected 2 rows, got 1"]


def test_a_face_waits_for_its_persons_first_tracklet(client: QdrantClient) -> None:
    gallery = device(client)
    gallery.keep_face(1, "visible", b"face", 0.5)
    assert gallery.face(1, "visible") == b"face"
    assert device(client).face(1, "visible") is None  # a killed device leaves none
    gallery.enrol(tracklet(1))
    assert device(client).face(1, "visible") == b"face"


def test_a_server_that_fails_is_a_gallery_error_and_the_next_answer_is_right(client: QdrantClient) -> None:
    gallery = device(client)
    gallery.enrol(tracklet(1, X))
    inside: Any = client
    whole = inside.upsert

    def down(*_: object, **__: object) -> None:
        raise ConnectionError("[Errno 111] Connection refused\nmore")

    inside.upsert = down
    with pytest.raises(
        GalleryError, match=r"^gallery people: cannot keep something \(\[Errno 111\] Connection refused\)$"
    ):
        gallery.enrol(tracklet(2, Y))
    inside.upsert = whole
    assert gallery.search(Y[None], "visible", 9)[0][0].identity == 1
    gallery.enrol(tracklet(2, Y))
    assert gallery.count_people() == 2


def test_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(BadInput, match=r"cannot reach the server .*expected a Qdrant server at") as caught:
        open_gallery(f"qdrant+http://127.0.0.1:{port}/people", MODEL, DIM)
    assert "\n" not in str(caught.value)


def test_a_server_that_accepts_and_is_silent_is_given_up_within_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        start_s = time.monotonic()
        with pytest.raises(BadInput, match="cannot reach the server"):
            open_gallery(f"qdrant+http://127.0.0.1:{listener.getsockname()[1]}/people", MODEL, DIM)
        assert time.monotonic() - start_s < 4.0


def test_a_server_that_fails_after_an_enrolment_keeps_it_and_the_next_one_tidies(
    client: QdrantClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "MOST_PER_PERSON", 2)
    gallery, other = device(client), device(client)
    for day in (1.0, 2.0):
        gallery.enrol(tracklet(1, X, first_s=day))

    def down(*_: object) -> None:
        raise GalleryError("gallery people: cannot erase (connection refused)")

    with monkeypatch.context() as patch:
        patch.setattr(ServerPoints, "delete", down)
        gallery.enrol(tracklet(1, X, first_s=3.0))  # is kept, and says so
    assert len(gallery) == 3
    other.enrol(tracklet(1, X, first_s=4.0))  # the bound is of the person, not of the device
    assert [t.first_s for t in gallery.tracklets(1)] == [3.0, 4.0]
    assert gallery.check() == []


@pytest.mark.parametrize("address", ["http://user:secret@host:6333/people", "http://host/people?api_key=secret"])
def test_credentials_in_an_address_are_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(
        BadInput, match=r"without credentials, got some in it; put the API key into .* QDRANT_API_KEY"
    ) as e:
        open_gallery(f"qdrant+{address}", MODEL, DIM)
    assert "secret" not in str(e.value)


@pytest.mark.parametrize("address", ["http://host:6333", "http://host:6333/a/b", "http:///people"])
def test_an_address_without_host_or_collection_is_refused(address: str) -> None:
    with pytest.raises(BadInput, match="expected qdrant\\+http://host:6333/collection"):
        open_gallery(f"qdrant+{address}", MODEL, DIM)


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", "k3y")
    client, collection = connect("https://host/people")
    inside: Any = client
    assert collection == "people"
    assert inside._client._rest_headers["api-key"] == "k3y"
    assert inside._client.rest_uri == "https://host:6333"
    client.close()
