from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from deploy.gallery import GalleryError, Tracklet, open_gallery
from deploy.gallery.patient import RETRY_S, PatientGallery
from tests.camera_fakes import vector

if TYPE_CHECKING:
    from deploy.gallery import Gallery

CHANGES = frozenset({"enrol", "merge", "erase", "expire", "rename", "new_identity", "keep_face", "skip", "flush"})


@dataclass
class Disk:
    """A gallery in memory whose writes fail while the disk is full."""

    inner: Gallery = field(default_factory=lambda: open_gallery("memory", "m", 4))
    full: bool = False
    away: bool = False  # a server: searches fail too

    def __getattr__(self, name: str) -> Any:
        if (self.full and name in CHANGES) or (self.away and name not in ("last_identity", "model", "dim")):
            return self._refuse
        return getattr(self.inner, name)

    def _refuse(self, *arguments: object, **options: object) -> None:
        raise GalleryError("the disk is full")

    def __len__(self) -> int:
        return len(self.inner)


@dataclass
class Clock:
    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


def tracklet(identity: int, track: int = 1, *values: float) -> Tracklet:
    mean_D = vector(*(values or (1, 0, 0, 0)))
    return Tracklet(
        identity=identity, camera="a", track=track, modality="visible", first_s=0.0, last_s=1.0, mean_D=mean_D,
        prototype_PD=mean_D[None],
    )  # fmt: skip


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def gallery(disk: Disk, clock: Clock) -> PatientGallery:
    return PatientGallery(disk, clock)  # type: ignore[arg-type]


def test_what_cannot_be_written_waits_and_is_written_in_order(
    gallery: PatientGallery, disk: Disk, clock: Clock
) -> None:
    first = gallery.new_identity()
    gallery.enrol(tracklet(first))
    disk.full = True
    second = gallery.new_identity()
    gallery.enrol(tracklet(second, 2, 0, 1, 0, 0))
    gallery.merge(first, second)
    assert (second, gallery.waiting, gallery.trouble) == (first + 1, 3, "the disk is full")
    clock.now_s += RETRY_S
    gallery.tend()
    assert gallery.waiting == 3
    disk.full = False
    clock.now_s += RETRY_S
    gallery.tend()
    assert (gallery.waiting, gallery.trouble) == (0, "")
    assert [item.track for item in disk.inner.tracklets(first)] == [1, 2]
    assert disk.inner.new_identity() > second


def test_a_merge_that_waits_is_believed_at_once(gallery: PatientGallery, disk: Disk) -> None:
    one, two = gallery.new_identity(), gallery.new_identity()
    gallery.enrol(tracklet(one))
    gallery.enrol(tracklet(two, 2, 0.9, 0.1, 0, 0))
    disk.full = True
    gallery.merge(one, two)
    hits = gallery.search(vector(0.9, 0.1, 0, 0)[None], "visible", 5)[0]
    assert [hit.identity for hit in hits] == [one]
    assert [item.track for item in gallery.tracklets(one)] == [1, 2]


def test_a_server_that_is_away_finds_nobody_and_raises_nothing(gallery: PatientGallery, disk: Disk) -> None:
    disk.away = True
    assert gallery.search(vector(1, 0, 0, 0)[None], "visible", 5) == [[]]
    assert gallery.tracklets(1) == []
    assert gallery.count_people() == 0
    assert gallery.expire(0.0) == 0
    gallery.keep_face(1, "visible", b"x", 1.0)


def test_an_erasure_happens_now_or_is_refused(gallery: PatientGallery, disk: Disk) -> None:
    identity = gallery.new_identity()
    disk.full = True
    gallery.enrol(tracklet(identity))
    with pytest.raises(GalleryError, match="cannot be written"):
        gallery.erase(identity)
    disk.full = False
    assert gallery.erase(identity) == 1  # with what waited for the disk
    assert disk.inner.tracklets(identity) == []
    assert gallery.waiting == 0


def test_what_waits_is_bounded_and_the_loss_is_told(
    gallery: PatientGallery, disk: Disk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("deploy.gallery.patient.MOST_WAITING", 3)
    disk.full = True
    for track in range(1, 6):
        gallery.enrol(tracklet(1, track))
    assert (gallery.waiting, gallery.lost) == (3, 2)
    assert "given up" in caplog.text


def test_closing_writes_what_waits(gallery: PatientGallery, disk: Disk) -> None:
    disk.full = True
    gallery.enrol(tracklet(1))
    disk.full = False
    gallery.close()
    assert len(disk.inner) == 1
