"""The index of a data set's folders: what a second start does not do again, and when it is not believed."""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engines.errors import BadInput
from tests.small_other_trees import WRITERS
from tests.small_tree import settle, write_tree
from train.datasets.images import SPLITS
from train.datasets.listing import INDEX_NAME, list_tree
from train.datasets.open import open_dataset
from train.datasets.sysu import open_sysu

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def listings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every folder that somebody lists from now on."""
    asked: list[str] = []

    def watch(module: object, name: str) -> None:
        original = getattr(module, name)

        def watched(path: object = ".", *rest: object) -> object:
            asked.append(str(path))
            return original(path, *rest)

        monkeypatch.setattr(module, name, watched)

    watch(os, "scandir")
    watch(os, "listdir")
    watch(Path, "iterdir")
    return asked


@pytest.mark.parametrize("name", WRITERS)
def test_a_second_start_lists_no_folder(tmp_path: Path, name: str, listings: list[str]) -> None:
    folder = settle(WRITERS[name](tmp_path / name))
    listings.clear()
    first = open_dataset(name, folder).split(*SPLITS)
    assert len(listings) >= 8
    listings.clear()
    assert open_dataset(name, folder).split(*SPLITS) == first
    assert listings == []


def test_one_opened_data_set_asks_the_disk_once(tmp_path: Path, listings: list[str]) -> None:
    dataset = open_sysu(write_tree(tmp_path / "tree"))
    listings.clear()
    first = dataset.split("test")
    asked = len(listings)
    shutil.rmtree(tmp_path / "tree/cam1")
    listings.clear()
    assert asked == 6 + 6 * 12
    for _ in range(10):
        assert [id(record) for record in dataset.split("test")] == [id(record) for record in first]
    assert listings == []


@pytest.mark.parametrize(("name", "place"), [("sysu", "cam3/0002"), ("llcm", "test_vis/cam3/0009")])
def test_a_file_that_came_or_went_is_noticed(tmp_path: Path, name: str, place: str, listings: list[str]) -> None:
    folder = settle(WRITERS[name](tmp_path / name))
    images = sorted((folder / place).iterdir())
    before = len(open_dataset(name, folder).split(*SPLITS))
    shutil.copy(images[0], images[0].with_name(f"9{images[0].name[1:]}"))
    listings.clear()
    assert len(open_dataset(name, folder).split(*SPLITS)) == before + 1
    assert listings == [str(folder / place)]  # the others are taken from the index
    images[0].with_name(f"9{images[0].name[1:]}").unlink()
    assert len(open_dataset(name, folder).split(*SPLITS)) == before
    shutil.rmtree(folder / place)
    assert len(open_dataset(name, folder).split(*SPLITS)) == before - len(images)


def test_a_file_that_a_copying_tool_added_and_dated_back_is_noticed(tmp_path: Path) -> None:
    folder = settle(write_tree(tmp_path / "tree"))
    before = len(open_sysu(folder).split("train"))
    place = folder / "cam1/0001"
    state = place.stat()
    shutil.copy(place / "0001.jpg", place / "0009.jpg")
    os.utime(place, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert len(open_sysu(folder).split("train")) == before + 1


def test_a_folder_that_changed_just_now_is_not_taken_from_the_index(tmp_path: Path, listings: list[str]) -> None:
    """A file system's clock may stand still between two changes; two seconds are the coarsest."""
    folder = settle(write_tree(tmp_path / "tree"))
    (folder / "cam2/0004").touch()
    open_sysu(folder).split("train")
    listings.clear()
    open_sysu(folder).split("train")
    assert listings == [str(folder / "cam2/0004")]


def test_writing_the_index_leaves_it_valid(tmp_path: Path) -> None:
    folder = settle(write_tree(tmp_path / "tree"))
    open_sysu(folder).split("train")
    written = (folder / INDEX_NAME).stat()
    open_sysu(folder).split("train")
    assert (folder / INDEX_NAME).stat().st_mtime_ns == written.st_mtime_ns
    assert (folder / INDEX_NAME).stat().st_ino == written.st_ino
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == [INDEX_NAME]


def damage_by_cutting(text: str) -> str:
    return text[: len(text) // 2]


def damage_by_a_letter(text: str) -> str:
    return text.replace("0002.jpg", "0007.jpg", 1)


def damage_by_another_format(text: str) -> str:
    return json.dumps({**json.loads(text), "format": 99})


@pytest.mark.parametrize(
    "damage",
    [
        damage_by_cutting,
        damage_by_a_letter,
        damage_by_another_format,
        lambda _: "",
        lambda _: "[1, 2]",
        lambda _: '{"format": 1}',
        lambda _: "[" * 100_000,
    ],
)
def test_a_damaged_index_is_made_again(
    tmp_path: Path, damage: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    folder = settle(write_tree(tmp_path / "tree", train=2, val=1, test=1))
    first = open_sysu(folder).split(*SPLITS)
    good = (folder / INDEX_NAME).read_text()
    (folder / INDEX_NAME).write_text(damage(good))
    with caplog.at_level(logging.DEBUG):
        assert open_sysu(folder).split(*SPLITS) == first
    assert (folder / INDEX_NAME).read_text() == good
    assert caplog.messages == []


def test_a_tree_that_cannot_be_written_works_without_an_index_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = settle(write_tree(tmp_path / "tree"))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")  # chmod would not stop root

    monkeypatch.setattr("engines.atomic.tempfile.mkstemp", refuse)
    with caplog.at_level(logging.INFO):
        dataset = open_sysu(folder)
        assert len(dataset.split("train")) == 6 * 18
        dataset.split("test")
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "not written (Read-only file system)" in caplog.text
    assert not (folder / INDEX_NAME).exists()


def test_a_folder_that_cannot_be_listed_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_tree(tmp_path / "tree", train=1, val=1, test=1)

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(BadInput, match=r"cam\d: expected a folder to list, got 'Permission denied'"):
        open_sysu(folder).split("train")


def test_a_listing_goes_only_as_deep_as_asked(tmp_path: Path) -> None:
    for name in ("a/b/c/file", "a/file", "d/file"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    tree = list_tree(tmp_path, {"a": 2, "absent": 3})
    assert {place: (listed.folders, listed.files) for place, listed in tree.items()} == {
        "a": (("b",), ("file",)),
        "a/b": (("c",), ()),
    }
