"""scripts/install.py of the emitted project, with stand-ins for Python 3.7 and TensorFlow."""

import ast
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from bare_project import EMITTED, BareProject

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-ins are POSIX scripts")

SCRIPTS = ["environment.py", "find_python.py", "install.py", "update.py"]
NO_CONNECTION = (
    "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError("
    "'<Connection at 0x7f>: Failed to establish a new connection: [Errno -3] No name')': /simple/"
)


@pytest.fixture
def project(tmp_path: Path) -> BareProject:
    """A project on a machine with a Python 3.7 where uv keeps its own."""
    project = BareProject(tmp_path)
    project.python(".local/share/uv/python/cpython-3.7.9-linux-x86_64-gnu/bin/python3.7")
    return project


def test_a_second_run_installs_nothing(project: BareProject) -> None:
    code, first = project.install()
    assert code == 0, first
    assert first.splitlines() == [
        f"Installing the tf1 environment on Python 3.7.17 in {project.venv}: "
        "about 140 MB to download, a minute or so.",
        f"Ready: TensorFlow 1.15.5 on Python 3.7.17 in {project.venv}",
    ]
    code, second = project.install(PIP_PRINTS="ERROR: pip must not run")
    assert (code, second.splitlines()) == (0, first.splitlines()[1:])
    assert sorted(path.name for path in (project.root / "scripts").iterdir()) == SCRIPTS


def test_another_runtime_takes_the_place_of_the_first(project: BareProject) -> None:
    """With the real venv and pip, in a path with spaces and foreign letters under LANG=C."""
    assert project.install()[0] == 0
    version = {"tensorflow/compat/v1.py": "__version__ = '2.21.0'"}
    project.wheel("tensorflow", "2.21.0", {"tensorflow/__init__.py": "", **version})
    settings = {"PIP_USER": "1", "PIP_TARGET": str(project.home / "elsewhere")}
    code, output = project.install(RUNTIME="tf2", **settings)
    assert code == 0, output
    assert "in place of TensorFlow 1.15.5 on Python 3.7.17: about 630 MB" in output
    assert "Ready: TensorFlow 2.21.0 on Python 3.1" in output
    command = [project.venv / "bin/python", "-c", "import tensorflow; print(tensorflow.__file__)"]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout
    assert printed.startswith(str(project.venv))
    code, output = project.install(PIP_PRINTS="ERROR: pip must not run")  # the choice stays
    assert (code, "TensorFlow 2.21.0" in output) == (0, True), output
    assert list(project.scratch.iterdir()) == []


def test_a_path_that_python_3_7_misreads_under_lang_c_is_fixed(project: BareProject) -> None:
    assert project.install()[0] == 0
    start_up = project.venv / "lib/python3.7/site-packages/utf8_paths.pth"
    misread = r"import sys; sys.prefix = sys.exec_prefix = sys.executable = '/n\udcc3\udca4'; "
    misread += f"sys.path = [sys.prefix]; exec({start_up.read_text()!r}); "
    misread += "print(ascii([*sys.path, sys.prefix, sys.exec_prefix, sys.executable]))"
    printed = subprocess.run([sys.executable, "-c", misread], check=True, stdout=subprocess.PIPE)
    assert printed.stdout.decode().strip() == ascii(["/nä"] * 4)


def test_changed_requirements_create_the_environment_again(project: BareProject) -> None:
    assert project.install()[0] == 0
    (project.venv / "extra").touch()
    project.require("tf1", "tensorflow==1.15.5", "tqdm==4.68.2")
    assert project.install()[0] == 0
    assert not (project.venv / "extra").exists()


def test_extras_are_installed_too_and_the_choice_stays(project: BareProject) -> None:
    project.require("slurm", "submitit==1.4.6")
    for first, name in (({"EXTRAS": "slurm"}, " with slurm"), ({"EXTRAS": ""}, "")):
        for environment in (first, {}):
            code, output = project.install(**environment)
            ready = f"Ready: TensorFlow 1.15.5 on Python 3.7.17{name} in {project.venv}"
            assert (code, output.splitlines()[-1]) == (0, ready)
        assert output.count("\n") == 1  # nothing was installed
    for extras, unknown in ("slurm,slurms", "slurms"), ("tf2", "tf2"):
        code, output = project.install("--extras", extras)
        assert (code, len(output.splitlines())) == (2, 1), output
        assert f"EXTRAS={unknown} is unknown: use some of slurm." in output
    project.require("slurm", "submitit==1.4.5")
    code, output = project.install("--extras", "slurm", PIP_PRINTS="ERROR: pip ran")
    assert (code, "pip ran" in output) == (1, True)


def test_an_extra_is_added_to_those_that_are_there(project: BareProject) -> None:
    project.require("slurm", "submitit==1.4.6")
    project.require("optuna", "optuna==4.0.0")
    for extras, holds in ("slurm", "slurm"), ("optuna", "optuna,slurm"), ("slurm", "optuna,slurm"):
        code, output = project.install("--extras", extras)
        assert code == 0, output
        assert output.splitlines()[-1].startswith("Ready: TensorFlow 1.15.5 on Python 3.7.17 with ")
        assert f" with {holds} in " in output.splitlines()[-1]
    assert output.count("\n") == 1  # nothing was installed


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        (NO_CONNECTION, "no connection to the package index (Failed to establish a new connection"),
        ("ERROR: [Errno 28] No space left on device\n\nnotice", "No space left on device. Fix"),
    ],
)
def test_a_failing_pip_leaves_what_was_there_and_says_why_in_one_line(
    project: BareProject, printed: str, said: str
) -> None:
    code, output = project.install(PIP_PRINTS=printed)
    assert (code, len(output.splitlines())) == (1, 2), output
    assert said in output
    assert not project.venv.exists()
    assert project.install()[0] == 0
    (project.venv / "old").touch()
    project.require("tf1", "tensorflow==1.15.5", "tqdm==4.68.2")
    assert project.install(PIP_PRINTS=printed)[0] == 1
    assert (project.venv / "old").exists()
    assert list(project.root.glob(".venv*")) == [project.venv]


def test_an_environment_that_somebody_else_made_is_left_alone(project: BareProject) -> None:
    project.venv.mkdir()
    (project.venv / "pyvenv.cfg").write_text("home = /usr/bin")
    code, output = project.install()
    assert (code, len(output.splitlines())) == (2, 1), output
    assert "is not an environment of this script and stays: name another place" in output
    assert [path.name for path in project.venv.iterdir()] == ["pyvenv.cfg"]


def test_an_environment_outlives_the_kill_of_what_was_to_replace_it(project: BareProject) -> None:
    assert project.install()[0] == 0
    (project.venv / "old").touch()
    same = (project.root / "requirements" / "tf1.txt").read_text()
    project.require("tf1", "tensorflow==1.15.5", "tqdm==4.68.2")
    killed = project.start_until_pip(seconds="3")
    killed.kill()
    killed.wait()
    (project.root / "requirements" / "tf1.txt").write_text(same)
    code, output = project.install(PIP_PRINTS="ERROR: pip must not run")
    assert (code, (project.venv / "old").exists()) == (0, True), output
    assert list(project.root.glob(".venv*")) == [project.venv]


def test_a_killed_run_is_repaired_by_the_next_which_waits_for_its_orphans(
    project: BareProject,
) -> None:
    killed = project.start_until_pip(seconds="3")
    killed.kill()
    killed.wait()
    (project.venv / "half-made").touch()
    code, output = project.install()
    assert (code, "waiting for its end" in output) == (0, True), output
    assert not (project.venv / "half-made").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_nothing(project: BareProject, number: int, code: int) -> None:
    process = project.start_until_pip(seconds="30")
    process.send_signal(number)
    output, _ = process.communicate(timeout=20)
    assert (process.returncode, "Traceback" in output) == (code, False), output
    assert not project.venv.exists()
    assert list(project.scratch.iterdir()) == []


def test_a_folder_or_file_that_is_no_environment_is_left_alone(project: BareProject) -> None:
    folder = project.root / "results"
    folder.mkdir()
    kept = folder / "kept"
    kept.touch()
    for place in (folder, kept):
        code, output = project.install("--venv", str(place))
        assert (code, len(output.splitlines())) == (2, 1), output
        assert str(place) in output
        assert kept.exists()


def test_a_place_that_cannot_be_written_is_named_in_one_line(project: BareProject) -> None:
    (project.root / "file").touch()
    code, output = project.install("--venv", "file/venv", HOME=os.devnull)  # nothing is fetched
    assert (code, len(output.splitlines())) == (1, 1), output
    assert f"install.py: cannot use {project.root}/file/venv: Not a directory." in output


def test_an_unknown_runtime_is_refused_in_one_line(project: BareProject) -> None:
    code, output = project.install(RUNTIME="tf3")
    assert (code, len(output.splitlines())) == (2, 1), output
    assert "RUNTIME=tf3 is unknown: use tf1" in output


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_scripts_keep_to_the_grammar_of_python_3_6(name: str) -> None:
    ast.parse((EMITTED / "scripts" / name).read_text(), feature_version=(3, 6))


def required_by(python: str) -> dict[str, str]:
    """Package -> its version, of requirements/project.in on a Python."""
    lines = (EMITTED / "requirements" / "project.in").read_text().splitlines()
    named = [Requirement(line.split("  # ")[0]) for line in lines if line[:1].isalpha()]
    return {
        each.name.replace("_", "-"): str(each.specifier)
        for each in named
        if not each.marker or each.marker.evaluate({"python_version": python})
    }


@pytest.mark.parametrize(("name", "python"), [("tf1", "3.7"), ("tf2", "3.10"), ("tf2", "3.13")])
def test_a_frozen_list_pins_every_package_and_names_no_host(name: str, python: str) -> None:
    frozen = (EMITTED / "requirements" / f"{name}.txt").read_text()
    assert "uv pip compile requirements/project.in" in frozen
    assert "://" not in frozen
    lines = [line for line in frozen.splitlines() if not line.startswith("#")]
    hashed = r"[a-z0-9-]+==\d[\w.]*( ; [^-]\S*.*?)?( --hash=sha256:[0-9a-f]{64})+  # via "
    pinned = [re.match(hashed, line) for line in lines]
    assert None not in pinned
    pins = {name + version for name, version in required_by(python).items() if "==" in version}
    assert pins <= {line.split(" ")[0] for line in lines}
    assert len(pins) >= 9


def test_the_tensorflow_of_nvidias_container_stays() -> None:
    found = required_by("3.8")  # its Python
    assert not {"tensorflow", "protobuf", "tf-keras", "tensorboard"} & set(found)
    assert {"hydra-core", "omegaconf", "filelock"} <= set(found)


def test_what_is_started_elsewhere_imports_the_project_even_if_that_was_moved(
    project: BareProject,
) -> None:
    version = {"tensorflow/compat/v1.py": "__version__ = '2.21.0'"}
    project.wheel("tensorflow", "2.21.0", {"tensorflow/__init__.py": "", **version})
    assert project.install(RUNTIME="tf2")[0] == 0
    (project.root / "mine").mkdir()
    (project.root / "mine/__init__.py").touch()
    moved = project.root.rename(project.root.with_name("moved 日本"))
    command = [moved / ".venv/bin/python", "-c", "import mine; print(ascii(mine.__file__))"]
    environment = {"LANG": "C", "PATH": os.devnull}
    shown = subprocess.check_output(command, cwd=project.home, env=environment, text=True)
    assert shown.strip() == ascii(str(moved / "mine/__init__.py"))


def test_an_environment_outside_of_the_project_does_not_know_it(project: BareProject) -> None:
    elsewhere = project.home / "venv"
    assert project.install("--venv", str(elsewhere))[0] == 0
    assert list(elsewhere.rglob("*.pth")) == list(elsewhere.rglob("utf8_paths.pth"))
