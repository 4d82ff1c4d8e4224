from __future__ import annotations

from pathlib import Path

import pytest

from deploy.run_cameras import parser
from deploy.settings.options import Options, cameras_of, options_of
from deploy.settings.site_plan import CameraSite, PairSite
from engines.errors import BadInput


def camera(name: str = "a", uri: str = "0", **more: object) -> CameraSite:
    return CameraSite(**{"name": name, "uri": uri, "modality": "visible", **more})  # pyright: ignore[reportArgumentType]


def test_one_camera_of_each_kind_is_named_after_it_and_shares_a_place() -> None:
    visible, infrared = cameras_of(["0"], ["1"])
    assert (visible.name, visible.uri, visible.modality) == ("visible", "0", "visible")
    assert (infrared.name, infrared.uri, infrared.modality) == ("infrared", "1", "infrared")
    assert visible.ground == infrared.ground


def test_several_cameras_are_numbered_and_pair_in_their_order() -> None:
    cameras = cameras_of(["0", "2"], ["1", "3"])
    assert [item.name for item in cameras] == ["visible-1", "visible-2", "infrared-1", "infrared-2"]
    assert cameras[0].ground == cameras[2].ground != cameras[1].ground == cameras[3].ground


def test_a_camera_can_be_given_a_name() -> None:
    (named,) = cameras_of(["door=rtsp://u:p@h/x?a=b"], [])
    assert (named.name, named.uri) == ("door", "rtsp://u:p@h/x?a=b")


@pytest.mark.parametrize(
    "uri", ["rtsp://u:p@h/x?a=b", "synthetic:people=4&seed=1", "gst:videotestsrc ! appsink name=x"]
)
def test_an_equals_sign_in_an_address_makes_no_name(uri: str) -> None:
    assert cameras_of([uri], [])[0].uri == uri


def test_what_is_typed_wins_over_the_file(tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text("cameras: {a: {uri: 0, modality: visible}}\nembed_every: 5\nkeep_days: 2\n")
    options = options_of(parser().parse_args(["--site", str(site), "--embed-every", "7"]))
    assert (options.embed_every, options.keep_days) == (7, 2.0)
    assert [item.name for item in options.cameras] == ["a"]


def test_the_command_of_the_readme_gives_two_cameras() -> None:
    options = options_of(parser().parse_args(["--rgb", "0", "--ir", "1"]))
    assert [(item.name, item.uri) for item in options.cameras] == [("visible", "0"), ("infrared", "1")]
    assert options == Options(cameras=options.cameras)


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        ([], "expected cameras, got none"),
        (["--rgb", "0", "--ir", "0"], "got device 0 twice"),
        (["--rgb", "a=0", "--rgb", "a=1"], "camera 'a' is named twice"),
        (["--rgb", "0", "--threshold", "3"], "--threshold: expected a cosine"),
        (["--rgb", "0", "--threshold", "0.3", "--thresholds", "x.json"], "got both"),
        (["--rgb", "0", "--embed-every", "0"], "--embed-every: expected at least 1 frame, got 0"),
        (["--rgb", "0", "--keep-days", "0"], "--keep-days: expected a number of days above 0"),
    ],
)
def test_bad_options_are_one_line(argv: list[str], told: str) -> None:
    with pytest.raises(BadInput) as caught:
        options_of(parser().parse_args(argv))
    assert told in str(caught.value)


def test_a_site_and_cameras_on_the_command_line_are_refused(tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text("cameras: {a: {uri: 0, modality: visible}}")
    with pytest.raises(BadInput, match="got both"):
        options_of(parser().parse_args(["--site", str(site), "--rgb", "1"]))


@pytest.mark.parametrize(
    ("visible", "infrared", "told"),
    [
        ("b", "a", "'b', which is an infrared camera"),
        ("x", "b", "'x', which is no camera"),
        ("a", "a", "'a', which is a visible camera"),
    ],
)
def test_a_pair_needs_a_camera_of_each_kind(visible: str, infrared: str, told: str) -> None:
    cameras = (camera("a"), camera("b", "1", modality="infrared"))
    with pytest.raises(BadInput) as caught:
        Options(cameras=cameras, pairs=(PairSite(visible=visible, infrared=infrared, alignment=Path("x")),))
    assert told in str(caught.value)
