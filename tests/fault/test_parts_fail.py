"""A detector, an engine, a gallery, a disk or an onlooker that fails: what it costs, what is told, how soon it is over.

Seconds are those of the scripted clock; nothing here waits.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy.gallery.patient import RETRY_S
from deploy.loop.healing import MOST_WAIT_S
from deploy.loop.pipeline import AGAIN_S
from deploy.sightings import RunStart, Trouble
from deploy.sinks.jsonl import JsonlFile
from tests.fault_runs import FPS, ColourEngine, Disk, Scene, between

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from deploy.loop.pipeline import Seen
    from deploy.loop.run_state import RunState
    from deploy.matching.matcher import Decision
    from deploy.sightings import TrackKey
    from engines.manifest import Modality

ROOT = Path(__file__).resolve().parents[2]


def first_named_s(scene: Scene) -> float:
    return min(record["time_s"] for record in scene.records("sighting") if record["identity"] is not None)


def test_a_detector_that_raises_once_costs_one_round() -> None:
    def before(time_s: float) -> None:
        scene.detector.broken = time_s == 2.0

    scene = Scene(before=before)
    end = scene.go(6)
    assert end.detect_failures == 1
    assert end.tracks == {"door-v": 2, "door-i": 2}
    assert scene.troubles("detector") == [False, True]


def test_people_are_known_again_after_the_detector_was_away_for_half_a_minute() -> None:
    def before(time_s: float) -> None:
        scene.detector.broken = 3.0 <= time_s < 33.0

    scene = Scene(before=before)
    end = scene.go(33 + MOST_WAIT_S)
    # Nobody is seen for half a minute, so the tracks end; the people do not.
    assert end.tracks == {"door-v": 4, "door-i": 4}
    assert end.identities == 2
    assert {identity for (_, track), identity in scene.named().items() if track > 2} == {1, 2}
    assert scene.troubles("detector") == [False, True]
    over_s = next(record["time_s"] for record in scene.records("trouble") if record["over"])
    assert over_s - 33 <= MOST_WAIT_S


def test_a_detector_that_never_works_leaves_a_run_without_people() -> None:
    def before(time_s: float) -> None:
        scene.detector.broken = True

    scene = Scene(before=before)
    end = scene.go(120)
    assert (end.tracks["door-v"], end.frames["door-v"]) == (0, 120 * FPS)
    # 3 in a row, then 2, 4, 8, 16, 32 and 60 s apart.
    assert 3 < end.detect_failures <= 9
    assert scene.pipeline.newest.state.troubles == {"detector": "detector lost"}


@pytest.mark.parametrize("away_s", [1.0, 20.0, 150.0])
def test_whoever_stays_while_the_engine_is_away_is_named_when_it_is_back(away_s: float) -> None:
    """A track gives eight crops in eight seconds: were they wasted on a broken engine, it would stay nobody."""

    def before(time_s: float) -> None:
        scene.engine.broken = time_s < away_s

    scene = Scene(before=before)
    end = scene.go(away_s + MOST_WAIT_S + 5)
    assert end.tracks == {"door-v": 2, "door-i": 2}
    assert (end.identities, end.matched_identities) == (2, 2)
    assert None not in scene.named().values()
    assert first_named_s(scene) - away_s <= MOST_WAIT_S
    assert scene.troubles("engine") == [False, True]


def test_whoever_was_named_keeps_the_name_while_the_engine_is_away() -> None:
    def before(time_s: float) -> None:
        scene.engine.broken = time_s >= 2.0

    scene = Scene(before=before)
    end = scene.go(30)
    assert (end.identities, end.matched_identities) == (2, 2)
    assert not [*scene.records("revision"), *scene.records("split")]
    assert scene.troubles("engine") == [False]
    assert list(scene.pipeline.newest.state.troubles) == ["engine"]


def test_an_engine_that_is_lost_for_good_is_opened_anew() -> None:
    opened: list[ColourEngine] = []

    def reopen() -> ColourEngine:
        opened.append(ColourEngine(broken=len(opened) < 2))
        return opened[-1]

    def before(time_s: float) -> None:
        scene.engine.broken = time_s >= 1.0

    scene = Scene(present=between(2, 60, 1, 2), before=before, reopen=reopen)
    end = scene.go(60)
    assert end.identities == 2
    assert (len(opened), scene.engine.closed, opened[0].closed, opened[1].closed) == (3, 1, 1, 1)
    assert first_named_s(scene) <= 2 + 3 * AGAIN_S + 2 + 4 + 8  # three attempts and its rests
    assert scene.troubles("engine") == [False, True]


def test_numbers_that_are_none_are_a_failure_that_passes() -> None:
    def before(time_s: float) -> None:
        scene.engine.spoiled = time_s < 5.0

    scene = Scene(before=before)
    end = scene.go(20)
    assert (end.identities, end.matched_identities) == (2, 2)
    assert scene.records("trouble")[0]["reason"] == "the embeddings are not finite"
    assert scene.troubles("engine") == [False, True]


def test_an_answer_that_is_too_short_is_a_failure_too() -> None:
    class Short(ColourEngine):
        def embed(self, image_BHWC: NDArray[np.uint8], modality: Modality) -> NDArray[np.float32]:
            embedding_BD = super().embed(image_BHWC, modality)
            return embedding_BD[:-1] if len(self.batches) == 3 else embedding_BD

    scene = Scene(engine=Short())
    detect = scene.detector.detect
    scene.detector.detect = lambda frames: detect(frames)[: 1 if frames[0].index == 20 else None]  # type: ignore[method-assign]
    end = scene.go(6)
    assert (end.embed_failures, end.detect_failures) == (1, 1)
    assert (end.tracks, end.matched_identities) == ({"door-v": 2, "door-i": 2}, 2)
    assert (scene.troubles("engine"), scene.troubles("detector")) == ([False, True], [False, True])


def test_people_who_leave_while_the_gallery_is_full_are_stored_when_there_is_room() -> None:
    """Three pairs of people come and go in that time, one after another."""

    def present(camera: str, index: int) -> tuple[int, ...]:
        second = index / FPS
        pair = int(second // 10)
        return (2 * pair + 1, 2 * pair + 2) if pair < 3 and second % 10 < 5 else ()

    def before(time_s: float) -> None:
        disk.full = time_s < 40

    disk = Disk()
    scene = Scene(present=present, gallery=disk, before=before)
    end = scene.go(40 + RETRY_S + 1)
    assert (end.identities, end.matched_identities) == (6, 6)
    assert [person.identity for person in disk.inner.people()] == [1, 2, 3, 4, 5, 6]
    assert all(set(person.modalities) == {"infrared", "visible"} for person in disk.inner.people())
    assert (scene.kept.waiting, scene.kept.lost, scene.kept.trouble) == (0, 0, "")
    assert scene.troubles("gallery") == [False, True]
    assert disk.inner.new_identity() > 6


def test_a_number_given_while_the_disk_was_full_is_not_given_again() -> None:
    def before(time_s: float) -> None:
        disk.full = 0.5 <= time_s < 8

    disk = Disk()
    late = between(1, 5, 1, 2), between(12, 18, 3, 4)
    scene = Scene(present=lambda c, i: (*late[0](c, i), *late[1](c, i)), gallery=disk, before=before)
    scene.go(22)
    people = scene.named()
    assert {people["door-v", 1], people["door-v", 2]} == {1, 2}
    assert {people["door-v", 3], people["door-v", 4]} == {3, 4}


def test_a_gallery_server_that_is_away_does_not_end_the_run_and_is_not_asked_all_the_time() -> None:
    """Each question to a server that is away may take seconds; the loop would stand still."""

    def before(time_s: float) -> None:
        server.away = 4 <= time_s < 34
        if time_s == 33.9:
            asked.append(server.asked)

    asked: list[int] = []
    server = Disk()
    both = between(0, 10, 1, 2), between(15, 60, 1, 2, 3)
    scene = Scene(present=lambda c, i: (*both[0](c, i), *both[1](c, i)), gallery=server, before=before)
    end = scene.go(60)
    assert end.reason == "end of the streams"
    # One reading question, one flush and one write that waits, each every RETRY_S.
    assert 0 < asked[0] <= 3 * (30 / RETRY_S + 2)
    assert scene.troubles("gallery") == [False, True]
    # Who stayed until it answered again is who he was, and the newcomer has a number.
    final = [identity for (camera, track), identity in scene.named().items() if camera == "door-v" and track > 2]
    assert sorted(i for i in final if i is not None)[:2] == [1, 2]
    assert len(set(final)) == 3
    assert None not in final


@dataclass
class Raising:
    """A window, a video or a recorder that fails from a moment on."""

    looks: int = 0
    fails_from: int = 10
    ended: list[TrackKey] = field(default_factory=list)

    def look(self, seen: Sequence[Seen], decide: Callable[[TrackKey], Decision], state: RunState) -> None:
        self.looks += 1
        if self.looks >= self.fails_from:
            raise OSError("No space left on device")

    def end(self, key: TrackKey, decision: Decision) -> None:
        self.ended.append(key)


def test_a_video_or_recorder_that_fails_is_left_out_and_costs_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    broken, good = Raising(), Raising(fails_from=10**6)
    scene = Scene(onlookers=[broken, good])
    end = scene.go(6)
    assert (broken.looks, good.looks, len(good.ended)) == (10, 60, 4)
    assert (end.identities, end.matched_identities) == (2, 2)
    assert len([record for record in caplog.records if "No space left" in record.message]) == 1


FULL_VIDEO = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (36_000, resource.RLIM_INFINITY))  # no file may grow beyond this
import deploy.assembly.model_parts
from deploy.run_cameras import main
from tests.camera_fakes import ColourBackend
deploy.assembly.model_parts.open_engine = lambda folder, **options: ColourBackend()
raise SystemExit(main(sys.argv[1:]))
"""


def test_a_disk_that_fills_up_under_video_crops_and_sightings_stops_nothing(tmp_path: Path) -> None:
    """36 kB for each file: the video's and the sightings' are full soon, the gallery's too."""
    source = "synthetic:people=3&seed=2&size=320x180&seconds=15"
    flags = ["--rgb", source, "--ir", source, "--engine", ".", "--threshold", "0.6", "--every-box"]
    flags += ["--sightings", str(tmp_path / "s.jsonl"), "--save", str(tmp_path / "o.mp4")]
    flags += ["--gallery", str(tmp_path / "g.db"), "--record-crops", str(tmp_path / "crops")]
    done = subprocess.run(
        [sys.executable, "-c", FULL_VIDEO, *flags], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "end of the streams after" in done.stderr
    assert "visible 150 frames" in done.stderr
    assert "Traceback" not in done.stderr
    *whole, _ = (tmp_path / "s.jsonl").read_text().split("\n")
    assert json.loads(whole[0])["event"] == "run"
    assert all(json.loads(line) for line in whole)
    assert (tmp_path / "s.jsonl").stat().st_size <= 36_000
    assert "records lost: jsonl" in done.stderr


def start() -> RunStart:
    return RunStart(
        started="", cameras={}, engine="", model="", method="", threshold=None, false_match_rate=None, thresholds="",
        gallery="", embed_every=10,
    )  # fmt: skip


def trouble(number: int) -> Trouble:
    return Trouble(time_s=float(number), part="engine", reason="x" * 200, over=False)


def test_a_disk_that_is_full_when_the_sightings_turn_over_loses_no_older_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.jsonl"
    sink = JsonlFile(path, most_mb=0.001, keep_mb=0.004)
    sink.deliver(start())
    for number in range(12):
        sink.deliver(trouble(number))
    before = sorted(tmp_path.iterdir())
    opened = Path.open

    def refuse(self: Path, *arguments: object, **options: object) -> object:
        raise OSError(28, "No space left on device")

    number = 12
    while sink._bytes < 1000:  # pyright: ignore[reportPrivateUsage]
        sink.deliver(trouble(number))
        number += 1
    newest = path.read_bytes()
    monkeypatch.setattr(Path, "open", refuse)
    for _ in range(5):
        with pytest.raises(OSError, match="No space"):
            sink.deliver(trouble(number))
    monkeypatch.setattr(Path, "open", opened)
    sink.deliver(trouble(number))
    sink.close()
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "s.jsonl.1").read_bytes() == newest
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == ["run", "trouble"]


def test_the_first_record_of_a_new_file_is_written_again_where_it_was_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    sink = JsonlFile(path, most_mb=0.0005)
    sink.deliver(start())
    for number in range(2):
        sink.deliver(trouble(number))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30, hard))
    try:
        with pytest.raises(OSError, match="wrote 30 of"):
            sink.deliver(trouble(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    sink.deliver(trouble(2))
    sink.close()
    lines = path.read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines[1:]] == ["run", "trouble"]
