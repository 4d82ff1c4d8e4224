"""Fetching over a loopback HTTP server: good, cut, resumed, wrong, missing, offline."""

from __future__ import annotations

import hashlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from deploy import fetch_detector
from deploy.detection.download import download, name_of
from engines.errors import BadInput
from engines.manifest import sha256_of
from tests.shared_material import shared_folder

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

CONTENT = bytes(range(256)) * 2000  # half a megabyte: several blocks
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """Serves CONTENT; cuts says after how many bytes each answer's connection ends, in turn."""

    def __init__(self) -> None:
        self.cuts: list[int] = []
        self.ranges = True
        self.length = True
        self.asked: list[tuple[str, str | None]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted = self.headers.get("Range")
                server.asked.append((self.path, wanted))
                if self.path.startswith("/missing"):
                    self.send_error(404)
                    return
                start = int(wanted[6:-1]) if wanted and server.ranges else 0
                body = CONTENT[start:]
                self.send_response(206 if start else 200)
                if server.length:
                    self.send_header("Content-Length", str(len(body)))
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
                self.end_headers()
                self.wfile.write(body[: server.cuts.pop(0)] if server.cuts else body)

            def log_message(self, format: str, *args: object) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()


@pytest.fixture
def server() -> Generator[Server]:
    found = Server()
    yield found
    found.http.shutdown()
    found.http.server_close()
    found.thread.join()


def test_a_file_is_fetched_once(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.onnx"
    url = f"{server.address}/a.onnx"
    assert download([url], target, SHA256)
    assert target.read_bytes() == CONTENT
    assert not download([url], target, SHA256)
    assert server.asked == [("/a.onnx", None)]
    assert [item.name for item in target.parent.iterdir()] == ["a.onnx"]


@pytest.mark.parametrize("length", [True, False])
def test_a_damaged_file_of_that_name_is_replaced(server: Server, length: bool, tmp_path: Path) -> None:
    target = tmp_path / "a.onnx"
    target.write_bytes(CONTENT[:1000])
    server.length = length
    assert download([f"{server.address}/a.onnx"], target, SHA256)
    assert target.read_bytes() == CONTENT


def test_a_connection_that_is_cut_goes_on_where_it_was(server: Server, tmp_path: Path) -> None:
    server.cuts = [100_000, 50_000]
    assert download([f"{server.address}/a.onnx"], tmp_path / "a.onnx", SHA256)
    assert (tmp_path / "a.onnx").read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked] == [None, "bytes=100000-", "bytes=150000-"]


def test_a_server_that_does_not_continue_files_is_asked_for_the_whole_again(server: Server, tmp_path: Path) -> None:
    server.cuts, server.ranges = [100_000], False
    assert download([f"{server.address}/a.onnx"], tmp_path / "a.onnx", SHA256)
    assert (tmp_path / "a.onnx").read_bytes() == CONTENT


def test_a_connection_that_is_always_cut_is_given_up_and_leaves_nothing(server: Server, tmp_path: Path) -> None:
    server.cuts = [10_000] * 10
    with pytest.raises(BadInput, match="expected the whole file, got 40000 bytes and then: the connection ended"):
        download([f"{server.address}/a.onnx"], tmp_path / "a.onnx", SHA256)
    assert list(tmp_path.iterdir()) == []


def test_another_file_is_not_kept_and_the_old_one_stays(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "a.onnx"
    target.write_bytes(b"the old one")
    with pytest.raises(BadInput, match=f"expected a file of SHA-256 {'0' * 64}, got {SHA256}"):
        download([f"{server.address}/a.onnx"], target, "0" * 64)
    assert target.read_bytes() == b"the old one"
    assert [item.name for item in tmp_path.iterdir()] == ["a.onnx"]


def test_a_missing_file_is_told_at_once_and_a_second_address_is_tried(server: Server, tmp_path: Path) -> None:
    missing = f"{server.address}/missing/a.onnx"
    with pytest.raises(BadInput, match=r"/missing/a.onnx: expected a file, got HTTP 404 Not Found"):
        download([missing], tmp_path / "a.onnx", SHA256)
    assert len(server.asked) == 1
    assert download([missing, f"{server.address}/a.onnx"], tmp_path / "a.onnx", SHA256)


def test_without_a_network_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:  # a port at which nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/a.onnx"
        assert fetch_detector.main(["--url", url, "--sha256", SHA256, "--out", str(tmp_path / "d")]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("fetch_detector:")]
    assert len(lines) == 1
    assert "got 0 bytes and then: [Errno 111] Connection refused; check the network" in lines[0]
    assert list((tmp_path / "d").iterdir()) == []


def test_the_script_writes_the_path(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"{server.address}/models/yolox%20s.onnx?raw=true"
    arguments = ["--url", url, "--sha256", SHA256.upper(), "--out", str(tmp_path)]
    assert fetch_detector.main(arguments) == 0
    written = capsys.readouterr()
    assert written.out == f"{tmp_path / 'yolox s.onnx'}\n"
    assert "fetched" in written.err
    assert fetch_detector.main(arguments) == 0
    assert "there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [["--url", "http://x/y.onnx"], ["--sha256", SHA256], ["--url", "http://x/y.onnx", "--sha256", "abc"]],
)
def test_an_address_needs_a_hash(arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert fetch_detector.main([*arguments, "--out", str(tmp_path)]) == 2
    assert "expected --url and --sha256 with 64 hexadecimal digits" in capsys.readouterr().err


def test_addresses_that_cannot_be_meant_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="begins with https:// or http://, got 'file:///etc/passwd'"):
        download(["file:///etc/passwd"], tmp_path / "a", SHA256)
    with pytest.raises(BadInput, match="ends with a file's name"):
        name_of("https://example.org/")
    assert name_of("https://example.org/a/../../b%2Fc.onnx") == "c.onnx"


def test_a_folder_that_cannot_be_written_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"could not write .*a.onnx: .*free some disk or name another folder"):
        download([f"{server.address}/a.onnx"], tmp_path / "file" / "a.onnx", SHA256)


def test_the_pinned_hash_is_the_one_of_the_file_that_everything_was_measured_with() -> None:
    assert sha256_of(shared_folder("data/detectors/yolox_nano.onnx")) == fetch_detector.YOLOX_NANO_SHA256
    urls, sha256 = fetch_detector.choose(None, None)
    assert sha256 == fetch_detector.YOLOX_NANO_SHA256
    assert all(name_of(url) == "yolox_nano.onnx" and url.startswith("https://") for url in urls)
