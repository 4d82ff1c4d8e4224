"""The page of a populated run on loopback, open and behind a token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.web_run import TOKEN, WebRun

if TYPE_CHECKING:
    from collections.abc import Generator

    from deploy.web.server import WebServer


@pytest.fixture
def run() -> Generator[WebRun]:
    run = WebRun().populate().start()
    yield run
    run.close()


@pytest.fixture
def web(run: WebRun) -> Generator[WebServer]:
    with run.serve() as web:
        yield web


@pytest.fixture
def locked(run: WebRun) -> Generator[WebServer]:
    with run.serve(TOKEN) as web:
        yield web
