"""Every script at its command line: help, examples, refusals, version and completion, the same everywhere."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy.settings.options import Options
from engines.command_line import Parser
from engines.manifest import PRECISIONS
from engines.open import BACKENDS, RUNTIMES
from engines.option_values import BACKENDS as BUILT_BACKENDS
from engines.option_values import DATASETS, EVERY_BACKEND, measure, whole
from engines.option_values import PRECISIONS as TYPED_PRECISIONS
from engines.spelling import did_you_mean
from engines.tensorrt_build import RTX_CAPABILITIES
from tests.test_layout import SCRIPTS
from train.datasets.open import DATASETS as KNOWN_DATASETS
from train.protocol import LINEAGES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("numpy", "cv2", "PIL", "scipy", "yaml", "torch", "onnx", "onnxruntime", "openvino", "tensorrt", "matplotlib")
# What a number of ours counts or measures; each must be said by the option's help, its metavar or its refusal.
UNITS = re.compile(
    r"\b(frames?|crops?|days|minutes|views|images?|identit(y|ies)|people|processes|epochs|cameras|bytes|MB|millimetres|"
    r"MM|points|share|SHARE|cosine|COSINE|port|PORT|split|DLA|accelerator|number|seconds)\b"
)


def parser_of(script: str) -> Parser:
    parser = importlib.import_module(script.removesuffix(".py").replace("/", ".")).parser()
    assert isinstance(parser, Parser)
    return parser


def parsers_of(script: str) -> Iterator[Parser]:
    """Yield the parser of a script, then those of its commands."""
    parser = parser_of(script)
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.values()


def options_of(script: str) -> list[argparse.Action]:
    """Return all that a script takes, but for --help and --version and the list of its commands."""
    skipped = (argparse._HelpAction, argparse._SubParsersAction)
    actions = [action for parser in parsers_of(script) for action in parser._actions if not isinstance(action, skipped)]
    return [action for action in actions if "--version" not in action.option_strings]


def name_of(action: argparse.Action) -> str:
    return max(action.option_strings, key=len, default=str(action.metavar))


def shown_help(parser: argparse.ArgumentParser, columns: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    return parser.format_help()


def refusal(parser: argparse.ArgumentParser, argv: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Parse what must be refused: exit code 2, one line, nothing on stdout."""
    with pytest.raises(SystemExit) as stopped:
        parser.parse_args(argv)
    captured = capsys.readouterr()
    assert (stopped.value.code, captured.out) == (2, "")
    assert captured.err.count("\n") == 1
    return captured.err.strip()


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_says_first_what_the_script_is_for(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for parser in parsers_of(script):
        text = shown_help(parser, 200, monkeypatch)
        purpose, usage = text.split("\n\n")[:2]
        assert len(purpose.split()) > 1
        assert purpose.endswith(".")
        assert usage.startswith(f"usage: python {script} {parser.prog.partition(' ')[2]}".rstrip())


@pytest.mark.parametrize("columns", [80, 100, 200])
@pytest.mark.parametrize("script", SCRIPTS)
def test_help_fits_the_terminal_and_no_line_is_longer_than_100_columns(
    script: str, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for parser in parsers_of(script):
        text = shown_help(parser, columns, monkeypatch)
        assert max(map(len, text.splitlines())) <= min(columns, 100)


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_option_says_its_default_or_what_happens_without(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for parser in parsers_of(script):
        text = " ".join(shown_help(parser, 100, monkeypatch).split())
        assert "positional arguments" not in text  # each stands in a group that has a name
        assert "%" not in text
    for action in options_of(script):
        assert action.help, name_of(action)
        said = parser_of(script)._get_formatter()._get_help_string(action) or ""
        switch = action.nargs == 0  # --quick: without it there is none
        assert switch or re.search(r"default|required|instead of", said), f"{name_of(action)}: {said}"


@pytest.mark.parametrize("script", SCRIPTS)
def test_numbers_name_what_they_count(script: str) -> None:
    for action in options_of(script):
        if action.type in (None, Path):
            continue
        assert action.type not in (int, float), f"{name_of(action)}: engines.option_values refuses in words"
        with pytest.raises(argparse.ArgumentTypeError) as refused:
            action.type("ten")  # type: ignore[operator]
        assert UNITS.search(f"{action.help} {action.metavar} {refused.value}"), name_of(action)
        assert action.metavar, f"{name_of(action)}: a value has a name"


@pytest.mark.parametrize("script", SCRIPTS)
def test_there_are_two_examples_and_each_parses(script: str) -> None:
    parsed = 0
    for parser in parsers_of(script):
        for example in parser.examples:
            words = shlex.split(example, comments=True)
            if words[0] == "make":
                assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
                continue
            place = words.index(script)
            parser_of(script).parse_args(words[place + 1 :])
            parsed += parser.prog == parser_of(script).prog
    assert parsed >= 2


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_mistyped_option_is_answered_with_the_right_one(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    for parser in parsers_of(script):
        for action in parser._actions:
            name = name_of(action)
            if name.startswith("--") and len(name) > 7:
                typo = name[:4] + name[5:]
                assert refusal(parser, [typo], capsys) == f"{parser.prog}: unknown option {typo}; did you mean {name}?"


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_option_cannot_be_abbreviated(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    for parser in parsers_of(script):
        for action in parser._actions:
            name = name_of(action)
            if len(name) > 7 and name.startswith("--") and name[:-1] not in parser._option_string_actions:
                told = refusal(parser, [name[:-1]], capsys)
                assert told.startswith(f"{parser.prog}: unknown option {name[:-1]}; did you mean ")


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_value_out_of_a_list_is_answered_with_the_list(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    for parser in parsers_of(script):
        for action in parser._actions:
            if action.choices is None or not action.option_strings:
                continue
            name = name_of(action)
            line = refusal(parser, [name, "77"], capsys)
            assert line.startswith(f"{parser.prog}: {name}: expected ")
            assert all(str(choice) in line for choice in action.choices)


@pytest.mark.parametrize("script", SCRIPTS)
def test_what_is_missing_is_named_with_an_example(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    for parser in parsers_of(script):
        if not any(action.required for action in parser._actions):
            continue
        line = refusal(parser, [], capsys)
        assert line.startswith(f"{parser.prog}: expected ")
        assert line.endswith(f"; for example: {parser.examples[0]}")
        missing = line.split("; for example")[0]
        assert all(str(name_of(action)) in missing for action in parser._actions if action.required)


def test_one_name_means_one_thing_everywhere() -> None:
    """The same option takes a value of the same name and type; a switch is nowhere else an option with a value."""
    several = {
        "--out": {"FILE", "FOLDER"},  # some scripts write a file, others fill a folder
        "--cache": {"FOLDER", "NAME"},  # of wheels; of resized images
        "--python": {"FILE", "VERSION"},  # this machine's, another's
        "--json": {"FILE", None},  # also into a file, or on stdout instead of the table
    }
    seen: dict[str, set[object]] = {}
    for script in SCRIPTS:
        for action in options_of(script):
            if action.option_strings:
                seen.setdefault(name_of(action), set()).add(action.metavar)
    assert {name: values for name, values in seen.items() if len(values) > 1} == several


def test_the_names_that_are_typed_are_those_that_are_known() -> None:
    assert TYPED_PRECISIONS == PRECISIONS
    assert EVERY_BACKEND == BACKENDS
    assert list(BUILT_BACKENDS) == ["auto", *(name for name, runtime in RUNTIMES.items() if runtime.automatic)]
    assert tuple(KNOWN_DATASETS) == DATASETS
    lineage = next(action for action in options_of("train/evaluate_model.py") if name_of(action) == "--lineage")
    assert set(lineage.choices or ()) == {name for lineages in LINEAGES.values() for name in lineages}
    capability = next(action for action in options_of("deploy/build_engine.py") if name_of(action) == "--capability")
    assert f"(default: {' '.join(RTX_CAPABILITIES)})" in (capability.help or "")


def test_the_defaults_that_a_site_file_may_replace_are_told_as_they_are() -> None:
    """run_cameras leaves untyped options to the site file, so its help tells the defaults of Options in words."""
    told = {
        action.dest: re.search(r"\(default: ([^,)]+)", action.help or "")
        for action in options_of("deploy/run_cameras.py")
    }
    for name in ("embed_every", "most_crops", "gallery", "keep_days", "sightings", "backend"):
        found = told[name]
        assert found is not None
        default = Options.__dataclass_fields__[name].default
        assert found[1] == (f"{default:g}" if isinstance(default, float) else str(default))


@pytest.mark.parametrize(
    ("script", "line", "expected"),
    [
        ("run_cameras", "--galery x", "unknown option --galery; did you mean --gallery?"),
        ("run_cameras", "--thresh 0.5", "unknown option --thresh; did you mean --threshold or --thresholds?"),
        ("run_cameras", "-g x", "unknown option -g; did you mean --gallery?"),
        ("run_cameras", "--max_frames 9", "unknown option --max_frames; did you mean --max-frames?"),
        ("run_cameras", "--xylophone", "unknown option --xylophone; see --help"),
        ("run_cameras", "--max-frames ten", "--max-frames: expected a whole number of frames, got 'ten'"),
        ("run_cameras", "--keep-days inf", "--keep-days: expected a number of days, got 'inf'"),
        ("run_cameras", "--rgb", "--rgb: expected SOURCE, got nothing; see --help"),
        ("run_cameras", "--show=yes", "--show: expected no value, got 'yes'"),
        ("run_cameras", "0 1", "expected nothing more, got 0 1; see --help"),
        ("run_cameras", "--precision FP16", "--precision: expected fp32, fp16 or int8, got 'FP16'; did you mean "
         "'fp16'?"),
        ("build_engine", "--batch 1 8", "--batch: expected MIN USUAL MAX, got 2 of them; see --help"),
        ("score_sightings", "a b --overlap 2", "--overlap: expected a share above 0 and up to 1, got '2'"),
        ("manage_gallery", "lst --gallery x", "COMMAND: expected list, enrol, erase, expire, export, import or check, "
         "got 'lst'; did you mean 'list'?"),
        ("manage_gallery", "--gallery x list", "unknown option --gallery here; options stand behind the command; for "
         "example: python deploy/manage_gallery.py list --gallery people.db"),
        ("manage_gallery", "erase x --gallery y", "IDENTITY: expected the number of an identity, got 'x'"),
    ],
)  # fmt: skip
def test_refusals_read_like_this(script: str, line: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = refusal(parser_of(f"deploy/{script}.py"), shlex.split(line), capsys)
    assert told.partition(": ")[2].replace("ID:", "IDENTITY:") == expected


def test_options_that_exclude_or_replace_each_other_are_told_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    parser = parser_of("deploy/manage_gallery.py")
    enrol = ["enrol", "a.jpg", "--gallery", "g", "--engine", "e"]
    assert refusal(parser, enrol, capsys).startswith(
        "manage_gallery enrol: expected --name NAME or --identity ID, got "
    )
    both = refusal(parser, [*enrol, "--name", "n", "--identity", "3"], capsys)
    assert both == "manage_gallery enrol: expected --name or --identity, got both; leave one out"


@pytest.mark.parametrize(
    ("read", "text", "expected"),
    [
        (whole("a whole number of eggs"), "1.5", "expected a whole number of eggs, got '1.5'"),
        (whole("a whole number of eggs", least=1), "0", "expected a whole number of eggs, 1 or more, got '0'"),
        (whole("the number of a box", least=1, most=10), "11", "expected the number of a box from 1 to 10, got '11'"),
        (measure("a weight", above=0), "0", "expected a weight above 0, got '0'"),
        (measure("a weight"), "nan", "expected a weight, got 'nan'"),
        (measure("a weight", least=0), "-1e-9", "expected a weight, 0 or more, got '-1e-9'"),
        (measure("a cosine", least=-1, most=1), "-1.01", "expected a cosine from -1 to 1, got '-1.01'"),
    ],
)
def test_a_number_out_of_its_bounds_is_refused_in_words(read: object, text: str, expected: str) -> None:
    assert callable(read)
    with pytest.raises(argparse.ArgumentTypeError, match=f"^{re.escape(expected)}$"):
        read(text)


def test_numbers_at_their_bounds_are_taken() -> None:
    read = whole("the number of a box", least=1, most=10)
    assert (read("1"), read("10")) == (1, 10)
    assert (measure("a cosine", least=-1, most=1)("-1"), measure("a share", above=0, most=1)("1")) == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("epoch", ("epochs", "lr"), "; did you mean 'epochs'?"),
        ("galery", ("gallery", "save"), "; did you mean 'gallery'?"),
        ("thresh", ("threshold", "thresholds", "save"), "; did you mean 'threshold' or 'thresholds'?"),
        ("--SAVE", ("--save",), "; did you mean '--save'?"),
        ("xylophone", ("gallery", "save"), ""),
        ("", ("gallery",), ""),
        ("gallery", (), ""),
    ],
)
def test_what_may_have_been_meant(word: str, known: tuple[str, ...], expected: str) -> None:
    assert did_you_mean(word, known) == expected


def test_version_names_the_project_and_the_commit(capsys: pytest.CaptureFixture[str]) -> None:
    for script in SCRIPTS:
        with pytest.raises(SystemExit) as stopped:
            parser_of(script).parse_args(["--version"])
        assert stopped.value.code == 0
        told = capsys.readouterr().out
        assert re.fullmatch(r"crosslight 0\.1\.0( \([0-9a-f]{12}(\+changes)?\))?\n", told)


def test_help_and_version_load_nothing_heavy(tmp_path: Path) -> None:
    """All scripts in one process, from another folder, of a clone that is not installed: -I leaves out what is ours."""
    code = (
        "import io, runpy, sys\n"
        "sys.stdout = io.StringIO()\n"
        f"for script in {[str(ROOT / script) for script in SCRIPTS]!r}:\n"
        "    for option in ('--help', '-h', '--version'):\n"
        "        sys.argv = [script, option]\n"
        "        try:\n            runpy.run_path(script, run_name='__main__')\n"
        "        except SystemExit as stopped:\n            assert not stopped.code, (script, option)\n"
        f"sys.__stdout__.write(repr([name for name in {HEAVY!r} if name in sys.modules]))\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[]"), done.stderr


def completions(script: str, typed: str, folder: Path) -> set[str]:
    """Ask a script as the shell does, and return what it offers."""
    line = f"python {ROOT / script} {typed}"
    answer = folder / "answer"
    told = {
        "_ARGCOMPLETE": "2",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
    }
    environment = {**os.environ, **told, "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_COMP_WORDBREAKS": " \t\n"}
    done = subprocess.run(
        [sys.executable, str(ROOT / script)], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return {word.strip() for word in answer.read_text().split("\n") if word.strip()}


def test_the_shell_completes_options_choices_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").touch()
    (tmp_path / "sites").mkdir()
    run = "deploy/run_cameras.py"
    options = {name_of(action) for action in options_of(run)}
    assert completions(run, "--", tmp_path) == {*options, "--help", "--version"}
    assert completions(run, "--thr", tmp_path) == {"--threshold", "--thresholds"}
    assert completions(run, "--precision ", tmp_path) == {"fp32", "fp16", "int8"}
    assert completions(run, "--backend tensorrt", tmp_path) == {"tensorrt", "tensorrt-rtx"}
    assert completions(run, "--site si", tmp_path) == {"site.yaml", "sites/"}
    assert completions(run, "--record-crops si", tmp_path) == {"sites/"}
    assert completions(run, "--max-frames ", tmp_path) == set()
    assert completions("train/train_model.py", "m", tmp_path) == {"mcja", "mpanet"}
    assert completions("train/train_model.py", "mcja --dataset ", tmp_path) == {"sysu", "regdb", "llcm"}
    assert completions("deploy/manage_gallery.py", "e", tmp_path) == {"enrol", "erase", "expire", "export"}
    assert completions("deploy/manage_gallery.py", "expire --ol", tmp_path) == {"--older-than"}


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_a_real_bash_completes_after_the_global_activation(tmp_path: Path) -> None:
    """What `activate-global-python-argcomplete` installs, sourced, and asked through bash's own completion function."""
    from argcomplete import shell_integration

    script = ROOT / "deploy" / "run_cameras.py"
    words = f"python {script} --thr"
    hook = Path(shell_integration.__file__).parent / "bash_completion.d" / "_python-argcomplete"
    code = (
        f"source {shlex.quote(str(hook))}\n"
        f"COMP_WORDS=({words}); COMP_CWORD=2; COMP_LINE={shlex.quote(words)}; COMP_POINT=${{#COMP_LINE}}; COMP_TYPE=9\n"
        "_python_argcomplete_global python\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert set(done.stdout.split()) == {"--threshold", "--thresholds"}, done.stderr


def test_every_script_carries_the_mark_that_the_shell_looks_for() -> None:
    for script in SCRIPTS:
        assert "PYTHON_ARGCOMPLETE_OK" in (ROOT / script).read_text(encoding="utf-8")[:1024], script


def test_without_argcomplete_a_shell_that_asks_starts_nothing(tmp_path: Path) -> None:
    """The shell runs the script without options: run_demo would begin."""
    code = (
        "import sys\nsys.modules['argcomplete'] = None\n"
        f"sys.path.insert(0, {str(ROOT)!r})\nfrom deploy.run_demo import main\nmain([])\n"
    )
    environment = {**os.environ, "_ARGCOMPLETE": "1", "COMP_LINE": "run_demo.py ", "COMP_POINT": "12"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")
    assert not list(tmp_path.iterdir())
