"""The Dockerfiles as far as they can be judged without Docker; docs/containers.md says what was built and what not."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from deploy.run_cameras import parser
from deploy.web.handler import PROBES
from tests.dockerfile_reading import Instruction, in_context, read_dockerfile, stages

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "containers"
FILES = ("cpu", "tensorrt", "jetpack6", "jetpack7")
PACKAGES = ("engines", "calib", "train", "deploy")
IGNORE = (ROOT / ".dockerignore").read_text()
PROJECT = (ROOT / "pyproject.toml").read_text()


def dockerfile(name: str) -> list[Instruction]:
    return read_dockerfile(FOLDER / f"{name}.Dockerfile")


def last(instructions: list[Instruction], name: str) -> Instruction:
    return [instruction for instruction in instructions if instruction.name == name][-1]


def requirements(extra: str) -> list[Requirement]:
    """Return what pyproject.toml asks for: the base and an extra. (Python 3.10 reads no TOML.)"""
    base = re.search(r"^dependencies = (\[.*?\])$", PROJECT, re.DOTALL | re.MULTILINE)
    more = re.search(rf"^{extra} = (\[.*?\])$", PROJECT, re.DOTALL | re.MULTILINE)
    assert base is not None
    assert more is not None, f"pyproject.toml has no extra {extra}"
    return [Requirement(text) for text in (*yaml.safe_load(base[1]), *yaml.safe_load(more[1]))]


def pins(files: list[str]) -> dict[str, str]:
    lines = [line for file in files for line in _source(file).read_text().splitlines() if "==" in line]
    return {normal(name): version for name, _, version in (line.partition("==") for line in lines)}


def _source(name: str) -> Path:
    return ROOT / name if (ROOT / name).exists() else FOLDER / name


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("name", FILES)
def test_bases_are_pinned_and_can_be_replaced(name: str) -> None:
    instructions = dockerfile(name)
    arguments = dict(item.text.split("=", 1) for item in instructions if item.name == "ARG")
    for stage in stages(instructions):
        base = re.fullmatch(r"\$\{(\w+)\}( AS \w+)?", stage[0].text)
        assert base is not None
        image, _, tag = arguments[base[1]].rpartition(":")
        assert "/" in image
        assert re.search(r"\d", tag)


@pytest.mark.parametrize("name", FILES)
def test_what_is_copied_is_there_and_gets_to_the_builder(name: str) -> None:
    for instruction in dockerfile(name):
        if instruction.name != "COPY" or instruction.flags:
            continue
        *sources, _ = instruction.words
        for source in sources:
            path = ROOT / source
            some = path if path.is_file() else path / "__init__.py"
            assert some.is_file(), source
            assert in_context(str(some.relative_to(ROOT)), IGNORE), source


def test_all_of_our_code_gets_to_the_builder_and_nothing_private_does() -> None:
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*"):
            file = str(path.relative_to(ROOT))
            if path.is_file() and "__pycache__" not in file and not file.startswith("engines/built/"):
                assert in_context(file, IGNORE), file
    for private in (
        ".env", ".git/config", ".venv/bin/python", "bench/data/cam1/0001/0001.jpg", "demo/engine/manifest.json",
        "deploy/__pycache__/x.cpython-312.pyc", "engines/built/people/manifest.json", "gallery.db", "runs/people/x.pt",
        "secrets", "sightings.jsonl", "site.yaml", "tests/conftest.py",
    ):  # fmt: skip
        assert not in_context(private, IGNORE), private


@pytest.mark.parametrize("name", FILES)
def test_the_extra_exists_and_every_version_is_pinned(name: str) -> None:
    run = next(item.text for item in dockerfile(name) if item.name == "RUN" and "--editable" in item.text)
    extra = re.search(r'--editable "\.\[(\w+)\]"', run)
    assert extra is not None
    files = [file for file in re.findall(r"--constraint (\S+)", run) if file != "constraints-image.txt"]
    pinned = pins(files)
    for requirement in requirements(extra[1]):
        if requirement.name == "tensorrt":  # the image's own
            assert "constraints-image.txt" in run
            continue
        assert normal(requirement.name) in pinned, requirement
        assert requirement.specifier.contains(pinned[normal(requirement.name)]), requirement
    (headless,) = re.findall(r"sed --quiet 's/\^opencv-python==/opencv-python-headless==/p' (\S+)", run)
    assert headless in files
    copied = " ".join(item.text for item in dockerfile(name) if item.name == "COPY")
    assert all(Path(file).name in copied for file in files)


def test_jetpack6_has_no_version_that_is_too_new_for_its_python() -> None:
    """NumPy 2.3, SciPy 1.16 and Pillow 13 were the first without Python 3.10."""
    pinned = pins(["constraints-jetpack6.txt"])
    for name, least in (("numpy", (2, 3)), ("scipy", (1, 16)), ("pillow", (13, 0))):
        assert tuple(int(part) for part in pinned[name].split(".")[:2]) < least


@pytest.mark.parametrize("name", FILES)
def test_the_command_is_one_of_run_cameras(name: str) -> None:
    image = stages(dockerfile(name))[-1]
    python, script, *flags = last(image, "ENTRYPOINT").words
    assert python == "python"
    assert (ROOT / Path(script).relative_to("/opt/crosslight")).is_file()
    options = parser().parse_args([*flags, *last(image, "CMD").words])
    assert (str(options.engine), str(options.site), options.patient) == ("/engine", "/site/site.yaml", True)
    assert last(image, "EXPOSE").text == str(options.web)


@pytest.mark.parametrize("name", FILES)
def test_nobody_is_root_once_the_image_is_made(name: str) -> None:
    image = stages(dockerfile(name))[-1]
    names = [instruction.name for instruction in image]
    assert last(image, "USER").text == "crosslight"
    assert names.index("USER") > max(index for index, name in enumerate(names) if name in ("RUN", "COPY"))
    (user,) = [item.text for item in image if item.name == "RUN" and "useradd" in item.text]
    assert "--groups video" in user
    assert last(image, "VOLUME").text == last(image, "WORKDIR").text == "/data"
    assert last(image, "STOPSIGNAL").text == "SIGTERM"


def test_the_images_differ_in_what_they_are_made_of_only() -> None:
    def common(name: str) -> tuple[Instruction, ...]:
        own = ("FROM", "HEALTHCHECK", "ENV")  # a plan may be built first; ONNX Runtime is told something
        image = stages(dockerfile(name))[-1]
        return tuple(item for item in image if item.name not in own and "useradd" not in item.text)

    assert len({common(name) for name in FILES}) == 1
    assert len({last(stages(dockerfile(name))[-1], "HEALTHCHECK").text for name in FILES}) == 1


def test_no_runtime_of_the_cpu_image_reports_its_use() -> None:
    build, image = stages(dockerfile("cpu"))
    assert any("pip uninstall --yes openvino-telemetry" in item.text for item in build)
    assert "ORT_DISABLE_TELEMETRY=1" in last(image, "ENV").text


class Probe(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path in PROBES else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.parametrize(("status", "expected"), [(200, 0), (503, 1)])
def test_the_health_check_is_red_when_the_loop_hangs(
    status: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Probe, "status", status)
    check = last(stages(dockerfile("cpu"))[-1], "HEALTHCHECK").text.removeprefix("CMD ")
    python, flag, code = Instruction("CMD", (), check).words
    assert (python, flag) == ("python", "-c")
    with HTTPServer(("127.0.0.1", 0), Probe) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        here = code.replace(":8080/", f":{server.server_port}/")
        assert here != code
        done = subprocess.run([sys.executable, "-c", here], capture_output=True, check=False)
    assert done.returncode == expected


def test_the_compose_file_starts_a_command_that_exists() -> None:
    service = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]["crosslight"]
    image = stages(dockerfile(service["image"].removeprefix("crosslight:")))[-1]
    options = parser().parse_args([*last(image, "ENTRYPOINT").words[2:], *service["command"]])
    assert options.listen.endswith(":8080")
    assert options.web is None  # run_cameras takes one of the two
    places = dict(volume.split(":")[:2] for volume in service["volumes"])
    assert set(places.values()) == {"/engine", "/site", "/data"}
    assert service["env_file"] == "secrets"  # a page for other machines needs its token
