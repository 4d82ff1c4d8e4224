"""What the audit says of a service's answer, and that silence is not taken for a clean bill."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from tests.project import run_audit
from tests.project.run_audit import read_answer

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

CLEAN = {"name": "numpy", "version": "2.4.6", "vulns": []}
FLAWED = {"name": "pip", "version": "23.2.1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["23.3"]}]}
SKIPPED = {"name": "torch", "skip_reason": "Dependency not found on PyPI"}


def answer_of(*packages: Mapping[str, object]) -> run_audit.Answer:
    return read_answer(json.dumps({"dependencies": packages, "fixes": []}), "")


def test_a_vulnerability_is_named_with_the_version_that_mends_it() -> None:
    answer = answer_of(CLEAN, FLAWED)
    assert answer.known == ["pip 23.2.1: PYSEC-1; fixed in 23.3"]
    assert answer.looked_up == 2


def test_a_few_packages_that_the_service_does_not_have_are_named() -> None:
    answer = answer_of(CLEAN, CLEAN, SKIPPED)
    assert (answer.reason, answer.unknown) == ("", ["torch"])
    assert "not looked up: torch" in run_audit.tell("pypi", answer)


@pytest.mark.parametrize("packages", [[], [SKIPPED], [SKIPPED, SKIPPED, CLEAN]], ids=len)
def test_a_mirror_that_knows_nothing_is_no_service(packages: list[Mapping[str, object]]) -> None:
    """pip-audit says "No known vulnerabilities found" and exits with 0 then."""
    assert answer_of(*packages).reason


@pytest.mark.parametrize("stdout", ["", "Traceback", "[]", '{"fixes": []}'])
def test_an_answer_that_cannot_be_read_is_told_by_its_last_line(stdout: str) -> None:
    answer = read_answer(stdout, "Traceback (most recent call last):\nConnectionError: no route\n\n")
    assert answer.reason == "ConnectionError: no route"


def test_no_service_has_an_exit_code_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_audit, "ask", lambda *_: run_audit.Answer(reason="no route"))
    assert run_audit.main([]) == run_audit.NOT_REACHED_EXIT
    told = capsys.readouterr()
    assert not told.out
    assert "osv: no route" in told.err
    assert told.err.splitlines()[-1].startswith("audit: NOT DONE")


@pytest.fixture
def osv() -> Generator[str]:
    """An OSV service that knows a flaw of packaging and nothing else."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            flawed = query["package"]["name"] == "packaging"
            affected = {
                "package": {"name": "packaging", "ecosystem": "PyPI"},
                "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "9999"}]}],
            }
            flaw = {"id": "PYSEC-2026-1", "summary": "drawn", "affected": [affected]}
            content = json.dumps({"vulns": [flaw]} if flawed else {}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_service_that_answers_is_believed(osv: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The real pip-audit asks a service on this machine about every package of this environment."""
    assert run_audit.main(["--service", "osv", "--osv-url", osv]) == 1
    told = capsys.readouterr().out
    assert "PYSEC-2026-1; fixed in 9999" in told
    assert told.splitlines()[-1].startswith("audit: 1 known vulnerabilities in ")
