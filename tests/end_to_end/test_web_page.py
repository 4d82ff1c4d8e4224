"""The page in a real browser: Chromium of the system, driven without a display, against a run of drawn people."""

from __future__ import annotations

import re
import shutil
import time
from typing import TYPE_CHECKING

import pytest

from tests.web_run import EVIL, WebRun, draw_person, picture_bytes

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from playwright.sync_api import Browser, ConsoleMessage, Page

    from deploy.web.server import WebServer

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
playwright_api = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt install chromium)")
# Without the network: nothing but the run may be asked, and Chromium itself asks for updates otherwise.
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
]  # fmt: skip
FACE = re.compile(r"/api/people/\d+/(visible|infrared)\.jpg")
TOKEN = "a-token-of-twenty-signs"


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    with playwright_api.sync_playwright() as api:
        browser = api.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def run() -> Generator[WebRun]:
    run = WebRun().populate()
    run.start(lambda turn: run.look(turn % 20))
    yield run
    run.close()


@pytest.fixture
def web(run: WebRun) -> Generator[WebServer]:
    with run.serve() as web:
        yield web


class Watched:
    """A page, and all that went wrong in it or was asked of others."""

    def __init__(self, browser: Browser, url: str, size: tuple[int, int] = (1440, 900), scheme: str = "light") -> None:
        self.context = browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme=scheme,  # type: ignore[arg-type]
        )
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(10_000)
        self.faults: list[str] = []
        self.asked: set[str] = set()
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", self._hear)
        self.page.on("request", lambda request: self.asked.add(request.url.split("/")[2]))
        self.page.goto(url)

    def _hear(self, said: ConsoleMessage) -> None:
        # The face of somebody who was erased or merged between a list and its pictures is not there any more.
        gone = "404" in said.text and FACE.search(said.location["url"])
        if said.type == "error" and not gone:
            self.faults.append(said.text)

    def until(self, condition: str, value: object = None) -> None:
        """Wait for a function of the page; playwright's own way needs eval, which the page's policy forbids."""
        end = time.monotonic() + 10
        while not self.page.evaluate(condition, value):
            assert time.monotonic() < end, condition
            self.page.wait_for_timeout(20)

    def card(self, text: str) -> None:
        self.page.locator(".card", has_text=text).get_by_role("button").click()


@pytest.fixture
def seen(browser: Browser, web: WebServer) -> Generator[Watched]:
    """The page on a wide screen; afterwards: no error, and nobody else was asked."""
    watched = Watched(browser, web.url)
    watched.page.wait_for_selector(".card")
    yield watched
    watched.context.close()
    assert watched.faults == []
    assert watched.asked <= {f"127.0.0.1:{web.address.port}", ""}


def write(folder: Path, who: int, modality: str) -> str:
    path = folder / f"{who}-{modality}.png"
    path.write_bytes(picture_bytes(draw_person(who, modality)))  # type: ignore[arg-type]
    return str(path)


def test_live_pictures_move_and_a_lost_camera_says_why(seen: Watched) -> None:
    page = seen.page
    tile = page.get_by_role("article", name="Camera door", exact=True)
    seen.until("document.querySelector('.tile img').naturalWidth === 640")
    first = tile.locator("img").get_attribute("src")
    seen.until("before => document.querySelector('.tile img').src !== before", first)
    yard = page.get_by_role("article", name="Camera yard")
    assert "no answer in 5 s" in (yard.locator(".over").text_content() or "")
    assert page.locator("#pills").text_content() == "2 of 3 cameras29.8 frames/scalibrated: 1 % false matches"


def test_both_faces_of_a_person_stand_side_by_side(seen: Watched) -> None:
    card = seen.page.locator(".card", has_text="ID 1")
    card.locator("img").nth(1).wait_for()
    widths = card.locator("img").evaluate_all("faces => faces.map(face => face.complete && face.naturalWidth)")
    captions = card.locator("figcaption").all_text_contents()
    assert (captions, [width > 0 for width in widths]) == (["visible", "infrared"], [True, True])
    left, right = (card.locator(".face").nth(index).bounding_box() for index in (0, 1))
    assert left is not None
    assert right is not None
    assert left["y"] == right["y"]
    assert left["x"] + left["width"] <= right["x"]


def test_a_name_that_is_a_script_is_shown_and_not_run(seen: Watched) -> None:
    page = seen.page
    seen.card("onerror")
    page.wait_for_selector("#person[open]")
    assert page.locator("#person-title").text_content() == EVIL
    page.click("#open-erase")
    assert EVIL in (page.locator("#erase-what").text_content() or "")
    page.keyboard.press("Escape")
    page.click("#person .close")
    page.click("[data-rows=table]")
    page.get_by_role("button", name=EVIL).first.wait_for()
    assert page.title() == "Crosslight"
    assert page.locator("img[src='x']").count() == 0


def test_enrol_search_by_picture_and_erase(seen: Watched, run: WebRun, tmp_path: Path) -> None:
    page = seen.page
    page.get_by_role("button", name="Enrol", exact=True).click()
    page.fill("#enrol-name", "Dora Deen")
    page.set_input_files("#enrol-files", [write(tmp_path, 4, "visible"), write(tmp_path, 4, "infrared")])
    page.get_by_label("Kind of camera of 4-infrared.png").select_option("infrared")
    page.click("#enrol-submit")
    page.locator(".card", has_text="Dora Deen").wait_for()
    assert run.desk.names()[4] == "Dora Deen"

    page.get_by_role("button", name="Search by picture").click()
    page.get_by_label("infrared camera").check()
    page.set_input_files("#search-file", write(tmp_path, 4, "infrared"))
    best = page.locator(".hit").first
    best.wait_for()
    assert "Dora Deen" in (best.text_content() or "")
    assert "Match: above the threshold" in (best.text_content() or "")
    assert page.locator("#search-found").text_content() == "One person found."
    best.get_by_role("button").click()
    page.wait_for_selector("#person[open]")

    assert page.locator("#person-title").text_content() == "Dora Deen"
    page.click("#open-erase")
    told = page.locator("#erase-what").text_content() or ""
    assert "2 appearances with their embeddings" in told
    assert "the visible and the infrared picture" in told
    assert "the name Dora Deen" in told
    assert page.evaluate("document.activeElement.id") == "erase-cancel"  # Enter keeps
    page.click("#erase-cancel")
    assert run.desk.names()[4] == "Dora Deen"
    page.click("#open-erase")
    page.click("#erase-submit")
    page.locator(".card", has_text="Dora Deen").wait_for(state="detached")
    assert run.gallery.tracklets(4) == []
    assert run.gallery.face(4, "visible") is None


def test_a_person_is_renamed_and_merged_with_another(seen: Watched, run: WebRun) -> None:
    page = seen.page
    seen.card("ID 1")
    page.locator("#person").get_by_label("Name", exact=True).fill("Anna Berg")
    page.get_by_role("button", name="Save name").click()
    page.locator(".card", has_text="Anna Berg").wait_for()
    page.click("#open-merge")
    page.locator("#merge-other").select_option("2")
    assert "Everything of ID 2 will belong to ID 1" in (page.locator("#merge-note").text_content() or "")
    page.click("#merge-submit")
    page.locator(".card", has_text="ID 2").wait_for(state="detached")
    assert run.live.told == [("follow", 1, 2)]
    assert len(run.gallery.tracklets(1)) == 3


def test_a_track_in_the_picture_is_named_from_the_large_view(seen: Watched, run: WebRun) -> None:
    page = seen.page
    page.get_by_role("button", name="Enlarge door", exact=True).click()
    seen.until("document.getElementById('large-picture').naturalWidth === 640")
    page.locator("#large-tracks li", has_text="nobody known").get_by_role("button").click()
    page.fill("#enrol-name", "Dora")
    page.click("#enrol-submit")
    page.locator(".card", has_text="Dora").wait_for()
    assert "Dora" in run.desk.names().values()


def test_a_bad_picture_is_refused_where_it_was_given(browser: Browser, web: WebServer, tmp_path: Path) -> None:
    watched = Watched(browser, web.url)
    (tmp_path / "no.png").write_bytes(b"no picture at all")
    watched.page.click("#open-search")
    watched.page.set_input_files("#search-file", str(tmp_path / "no.png"))
    watched.page.get_by_text("expected a JPEG, PNG").wait_for()
    watched.context.close()


def test_the_keyboard_reaches_everything_and_escape_leads_back(seen: Watched) -> None:
    page = seen.page
    names: list[str] = []
    for _ in range(14):
        page.keyboard.press("Tab")
        focused = page.locator("*:focus")
        names.append(focused.get_attribute("aria-label") or (focused.text_content() or "").strip())
    for wanted in ("Skip to people", "Enlarge door", "Search by picture", "Enrol", "Open ID 2"):
        assert wanted in names
    page.get_by_role("button", name="Open ID 1").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#person[open]")
    page.keyboard.press("Escape")
    assert page.locator("#person[open]").count() == 0
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Open ID 1"


def test_every_control_and_picture_has_a_name_for_a_screen_reader(seen: Watched) -> None:
    page = seen.page
    seen.card("ID 1")
    page.wait_for_selector("#person[open]")
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, img, dialog, [role=region]')].filter(node => {
            if (node.closest('[aria-hidden=true]')) return false;
            const labelled = node.labels && node.labels.length, by = node.getAttribute('aria-labelledby');
            const words = node.getAttribute('aria-label') || (by && document.getElementById(by)) || labelled;
            if (node.tagName === 'IMG') return !node.hasAttribute('alt');
            return !words && !node.textContent.trim();
        }).map(node => node.outerHTML.slice(0, 120))"""
    )
    assert nameless == []


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (390, "dark"), (800, "light"), (1920, "dark")])
def test_nothing_is_wider_than_the_screen(browser: Browser, web: WebServer, width: int, scheme: str) -> None:
    watched = Watched(browser, web.url, (width, 800), scheme)
    page = watched.page
    page.wait_for_selector(".card img")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    dark = sum(int(part) for part in re.findall(r"\d+", ground)[:3]) < 200
    assert dark == (scheme == "dark")
    watched.card("ID 1")
    page.wait_for_selector("#person[open]")
    assert page.evaluate("document.getElementById('person').getBoundingClientRect().right") <= width
    watched.context.close()


def test_pictures_do_not_push_the_page_about(seen: Watched) -> None:
    """Cumulative layout shift as the browser measures it, over three rounds of news."""
    page = seen.page
    page.evaluate(
        """() => { window.shift = 0; new PerformanceObserver(list => list.getEntries().forEach(entry => {
            window.shift += entry.value; })).observe({ type: 'layout-shift', buffered: false }); }"""
    )
    page.wait_for_timeout(4500)
    assert page.evaluate("window.shift") < 0.01


def test_a_silent_loop_and_a_lost_run_are_said(browser: Browser, run: WebRun) -> None:
    with run.serve() as web:
        watched = Watched(browser, web.url)
        page = watched.page
        page.wait_for_selector(".card")
        run.stick()
        run.round_s -= 30
        page.get_by_text("The camera loop has not answered for").wait_for()
        assert page.locator(".card").count() == 3  # what is known stays
        run.stick(False)
        page.locator("#banner").wait_for(state="hidden")
    page.get_by_text("No connection to the run").wait_for()
    watched.context.close()


def test_the_token_is_asked_for_and_opens_the_page(browser: Browser, run: WebRun) -> None:
    with run.serve(TOKEN) as web:
        watched = Watched(browser, web.url)
        page = watched.page
        page.fill("#token-text", "not-the-token-of-this-run")
        page.get_by_role("button", name="Open").click()
        page.get_by_text("That is not the token of this run.").wait_for()
        page.fill("#token-text", TOKEN)
        page.get_by_role("button", name="Open").click()
        page.wait_for_selector(".card")
        page.reload()
        page.wait_for_selector(".card")  # the cookie does
        watched.context.close()
        linked = Watched(browser, f"{web.url}?token={TOKEN}")
        linked.page.wait_for_selector(".card")
        assert "token" not in linked.page.url
        linked.context.close()


def test_an_empty_run_without_thresholds_says_what_can_be_done(browser: Browser) -> None:
    run = WebRun(calibrated=False).start()
    with run.serve() as web:
        watched = Watched(browser, web.url)
        watched.page.get_by_text("Nobody is told apart yet").wait_for()
        watched.page.get_by_text("Nobody was seen in this time").wait_for()
        watched.page.get_by_text("no identities: not calibrated").wait_for()
        watched.context.close()
    run.close()
