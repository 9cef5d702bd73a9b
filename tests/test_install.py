"""scripts/install.py of the emitted project, with stand-ins for Python 3.7 and TensorFlow."""

import ast
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from bare_project import EMITTED, BareProject

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-ins are POSIX scripts")

SCRIPTS = ["environment.py", "find_gpu.py", "find_python.py", "install.py", "installed.py"]
SCRIPTS += ["update.py"]
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


@pytest.mark.slow
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


@pytest.fixture
def gpu(project: BareProject) -> Callable[[str], dict[str, str]]:
    """gpu("Tesla T4, 7.5") -> the environment of a machine whose driver prints that."""
    project.require("tf2-cuda", "nvidia-cudnn-cu12==9.28.0.42")
    folder = project.home / "driver"
    python = project.python(".local/share/uv/python/cpython-3.11.9/bin/python3.11")

    def gpu(printed: str) -> dict[str, str]:
        folder.mkdir(exist_ok=True)
        (folder / "nvidia-smi").write_text(f"#!/bin/sh\necho '{printed}'\n")
        (folder / "nvidia-smi").chmod(0o755)
        return {"PATH": str(folder), "RUNS_ON": python}

    return gpu


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere TensorFlow has no CUDA")
def test_cuda_comes_with_a_gpu_unless_it_is_left_out(project: BareProject, gpu) -> None:
    h200 = gpu("NVIDIA H200, 9.0")
    bare = {"RUNS_ON": h200["RUNS_ON"]}
    code, output = project.install(RUNTIME="tf2", **h200)
    assert (code, len(output.splitlines())) == (0, 2), output
    said = "about 630 MB to download, and 2,810 MB of CUDA (NVIDIA H200; EXTRAS= is without), a"
    assert said in output.splitlines()[0]
    assert " on Python 3.11.9 with cuda in " in output.splitlines()[1]
    for environment, holds in ((bare, " with cuda in "), ({**h200, "EXTRAS": ""}, " 3.11.9 in ")):
        code, output = project.install(**environment)
        assert (code, holds in output.splitlines()[-1]) == (0, True), output
    assert "MB of CUDA" not in output
    code, output = project.install(**h200)  # the choice stays
    assert (code, len(output.splitlines()), " 3.11.9 in " in output) == (0, 1, True), output
    code, output = project.install(EXTRAS="cuda", **bare)  # as on a node without a GPU
    assert (code, "2,810 MB of CUDA (asked for; EXTRAS= is without)" in output) == (0, True)


def test_without_a_gpu_there_is_no_cuda_and_tf1_has_none(project: BareProject, gpu) -> None:
    driver = gpu("")
    code, output = project.install(RUNTIME="tf2", **driver)
    assert (code, "cuda" in output.lower()) == (0, False), output
    code, output = project.install(RUNTIME="tf2", EXTRAS="cuda", **driver)
    assert (code, " with cuda in " in output) == (0, True), output
    code, output = project.install(RUNTIME="tf1", **driver)
    assert (code, "cuda" in output.splitlines()[-1]) == (0, False), output
    code, output = project.install(EXTRAS="cuda", **driver)
    assert (code, "EXTRAS=cuda is unknown" in output) == (2, True), output


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere TensorFlow has no CUDA")
@pytest.mark.parametrize(
    ("printed", "why"),
    [
        ("NVIDIA A100-SXM4-40GB, 8.0", "its compute capability is 8.0, TensorFlow 1.15 knows"),
        ("Tesla T4, 7.5", "TensorFlow 1.15 needs CUDA 10.0, cuDNN 7: libcudart.so.10.0 cannot be"),
        ("Tesla T4", "TensorFlow 1.15 needs CUDA 10.0, cuDNN 7: libcudart.so.10.0 cannot be"),
    ],
)
def test_a_gpu_that_tf1_cannot_use_is_told_of_before_anything_is_downloaded(
    project: BareProject, gpu, printed: str, why: str
) -> None:
    code, output = project.install(**gpu(printed))
    lines = output.splitlines()
    assert (code, lines[0].startswith(f"{printed.split(',')[0]} will not be used: {why}")) == (
        0,
        True,
    )
    assert "RUNTIME=tf2 make train" in lines[1]
    assert "RUNTIME=installed make train" in lines[2]
    assert lines[-2].startswith("Installing the tf1 environment")
    assert lines[-1].startswith("Ready: ")
    code, output = project.install(**gpu(printed))
    assert (code, len(output.splitlines())) == (0, 1)  # it is told of once


@pytest.fixture
def project_in(project: BareProject) -> None:
    """What the real one names, but for the versions."""
    lines = [
        "# a comment",
        "tensorflow==1.15.5 ; python_version < '3.8'  # why",
        "protobuf==3.20.3",
    ]
    lines += ["tf_keras==2.21.0", "hydra-core==1.3.6  # why", "tqdm==4.68.2", "Pillow==9.5.0"]
    (project.root / "requirements" / "project.in").write_text("\n".join(lines))


def python_with(project: BareProject, tensorflow: str, **packages: list[object]) -> str:
    """A Python that says it has a TensorFlow and packages, and else is one of the stand-ins."""
    path = project.python("opt/bin/python")
    named = {name.replace("_", "-"): packages[name] for name in packages}
    found = {"tensorflow": tensorflow, "python": "3.8.10", "paths": ["/é/site"], "packages": named}
    probed = f"""if "import tensorflow" in line and "json.dumps" in line:
    print("a warning", {json.dumps(found)!r}, sep="\\n")
elif "google.protobuf" in line:
    print("{tensorflow} 1.26.4 4.25.3")
elif "import tensorflow" in line:
    print("{tensorflow}")
elif """
    text = Path(path).read_text("utf-8").replace("if ", probed, 1)
    Path(path).write_text(text, "utf-8")
    return path


def test_the_tensorflow_that_is_there_stays_and_what_is_missing_is_added(
    project: BareProject, project_in
) -> None:
    tensorflow = {"nvidia_tensorflow": ["1.15.5+nv23.3", ["numpy", "protobuf", "six", "gone"]]}
    needed = {"numpy": ["1.21.1", []], "protobuf": ["3.20.3", []], "six": ["1.16", ["wheel"]]}
    others = {"wheel": ["0.37", []], "pillow": ["8.0", []], "hydra_core": ["1.1", []]}
    python = python_with(project, "1.15.5", **tensorflow, **needed, **others)
    code, output = project.install(RUNTIME="installed", TF_PYTHON=python)
    assert (code, output.splitlines()) == (
        0,
        [
            f"Installing what is missing beside TensorFlow 1.15.5 of {python} into {project.venv}.",
            f"Ready: TensorFlow 1.15.5 of {python} on Python 3.8.10 in {project.venv}",
        ],
    )
    added = (project.venv / "missing.txt").read_text().split()
    assert added == ["hydra-core==1.3.6", "tqdm==4.68.2"]
    kept = ["numpy==1.21.1", "nvidia-tensorflow==1.15.5+nv23.3", "protobuf==3.20.3"]
    assert (project.venv / "constraints.txt").read_text().split() == [
        *kept,
        "six==1.16",
        "wheel==0.37",
    ]
    (start_up,) = project.venv.rglob("installed.pth")
    assert start_up.read_text() == "import site; list(map(site.addsitedir, ['/\\xe9/site']))\n"
    code, output = project.install(PIP_PRINTS="ERROR: pip must not run")  # the choice stays
    assert (code, len(output.splitlines())) == (0, 1), output


@pytest.mark.parametrize(
    ("tensorflow", "told"),
    [
        ("2.9.3", "TensorFlow 2.9.3 is not 1.15, nor 2.10 or newer"),
        ("1.14.0", "TensorFlow 1.14.0 is not 1.15, nor 2.10 or newer"),
    ],
)
def test_another_tensorflow_and_a_python_without_one_are_refused(
    project: BareProject, project_in, tensorflow: str, told: str
) -> None:
    python = python_with(project, tensorflow)
    code, output = project.install(RUNTIME="installed", TF_PYTHON=python)
    assert (code, output) == (2, f"install.py: {python}: {told}\n")
    without = project.python("other/bin/python")
    code, output = project.install(
        RUNTIME="installed", PATH=str(Path(without).parent), RUNS_ON="/x/y"
    )
    assert (code, len(output.splitlines())) == (2, 1), output
    assert "needs a Python with TensorFlow 1.15, or 2.10 and newer; name it by TF_PYTHON=" in output
    assert f"Tried: {without}: " in output
    assert not project.venv.exists()


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


@pytest.mark.slow
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


def test_cudas_list_pins_what_nvidia_makes_and_no_slug_can_shadow_it() -> None:
    frozen = (EMITTED / "requirements" / "tf2-cuda.txt").read_text().splitlines()[1:]
    hashed = r"(nvidia-[a-z0-9-]+)==\d[\w.]*( --hash=sha256:[0-9a-f]{64})+  # via .*tensorflow"
    found = [re.match(hashed, line) for line in frozen]
    assert None not in found
    hook = (EMITTED.parent / "hooks" / "pre_gen_project.py").read_text("utf-8")
    refused = re.search('INSTALLED_NAMES = """(.+?)"""', hook, re.S)[1].split()
    assert {"nvidia", *(one[1].replace("-", "_") for one in found)} <= set(refused)
    assert {"nvidia-cudnn-cu12", "nvidia-nccl-cu12"} < {one[1] for one in found}


def test_the_tensorflow_of_nvidias_container_stays() -> None:
    found = required_by("3.8")  # its Python
    assert not {"tensorflow", "protobuf", "tf-keras", "tensorboard"} & set(found)
    assert {"hydra-core", "omegaconf", "filelock"} <= set(found)


@pytest.mark.slow
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
