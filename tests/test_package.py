"""A project is a package: pip and uv install it in any state, and notebooks and types find it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import BakedProject

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib

# What a notebook is executed with; the first are the newest for Python 3.7.
JUPYTER = [
    'ipykernel==6.16.2 ; python_version < "3.10"',
    'nbclient==0.7.4 ; python_version < "3.10"',
    'ipykernel==7.4.0 ; python_version >= "3.10"',
    'nbclient==0.11.0 ; python_version >= "3.10"',
]
EXECUTE = """
import json, nbclient, nbformat, sys
notebook = nbformat.read(sys.argv[1], 4)
nbclient.NotebookClient(notebook, timeout=300).execute()
print(json.dumps([output for cell in notebook.cells for output in cell.get("outputs", [])]))
"""


@dataclass(frozen=True)
class Installed:
    """A project that was installed, and a folder that has nothing to do with it."""

    project: BakedProject
    python: Path
    elsewhere: BakedProject

    @property
    def command(self) -> Path:
        return self.python.with_name("my_project")


def on_one_worker(test):
    """Marks a test of the installation that several tests share, so that it is made once."""
    return pytest.mark.tensorflow(pytest.mark.xdist_group("package")(test))


@pytest.fixture(scope="module")
def install(bake_to_share, tmp_path_factory):
    """install(python) -> a project after a first run, in an environment on top of python's."""

    def install(python: Path) -> Installed:
        project = bake_to_share()
        for made in ("runs/x/config.yaml", "datasets/mnist/__init__.py", "notes/mine.py"):
            (project.path / made).parent.mkdir(parents=True, exist_ok=True)
            (project.path / made).touch()
        elsewhere = BakedProject(tmp_path_factory.mktemp("elsewhere"))
        venv = elsewhere.path / "venv"
        project.run(python, "-m", "venv", "--without-pip", venv)
        mine = venv / "bin/python"
        ask = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
        packages, below = (project.run(each, "-c", ask).strip() for each in (mine, python))
        Path(packages, "below.pth").write_text(f"{below}\n")
        # Without an index: what it needs is what the frozen lists have installed.
        options = ["--no-index", "--no-build-isolation", "--disable-pip-version-check"]
        project.run(mine, "-m", "pip", "install", *options, "-e", ".")
        return Installed(project, mine, elsewhere)

    return install


@pytest.fixture(scope="module")
def installed(install, any_python) -> Installed:
    return install(any_python)


@pytest.mark.tensorflow
def test_pip_installs_a_project_that_has_run_with_what_the_frozen_lists_have(
    install, runtime_python
):
    one = install(runtime_python)
    show = "import my_project.engine.settings.config as found; print(found.CONF)"
    # The folder above has one of that name, which is no package.
    for folder in (one.elsewhere, BakedProject(one.project.path.parent)):
        shown = folder.run(one.python, "-c", show)
        assert shown == f"{one.project.path}/my_project/conf\n"
    shown = one.elsewhere.run(one.command, "train", "data=digits", "--show")
    assert "last_step: 2000" in shown


@on_one_worker
def test_the_command_is_python_m(installed):
    folder, command = installed.elsewhere, installed.command
    module = [installed.python, "-m", "my_project.train"]
    for words, code in ((["--help"], 0), (["data=mnits"], 2), (["run_dir=gs://x"], 2)):
        expected = folder.run(*module, *words, code=code)
        assert folder.run(command, "train", *words, code=code) == expected
    commands = re.findall(r"^    (\w+)  +\S.*\.$", folder.run(command, "--help"), re.M)
    assert ",".join(commands) == "benchmark,evaluate,export,predict,reproduce,show,train"
    assert folder.run(command, code=2) == folder.run(command, "--help")
    shown = folder.run(command, "trian", code=2)
    expected = f"expected one of {', '.join(commands)}"
    assert shown == f"error: trian: there is no such command; {expected}\n"


@on_one_worker
def test_a_module_that_is_no_python_breaks_no_other_command(installed):
    broken = installed.project.path / "my_project/broken.py"
    broken.write_text("def\n")
    try:
        shown = installed.elsewhere.run(installed.command, "--help")
        assert re.search("^    broken$", shown, re.M)
        assert re.search(r"^    train  +\S.*\.$", shown, re.M)
        installed.elsewhere.run(installed.command, "train", "--help")
    finally:
        broken.unlink()


@on_one_worker
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_the_command_is_stopped_and_its_run_lies_where_it_was_started(installed):
    words = ["data=digits", "data.train_examples=1000", "data.test_examples=300", "run_dir=runs/a"]
    words += ["trainer.last_step=1000000", "trainer.log_every_n_steps=1"]
    folder = installed.elsewhere.path
    with subprocess.Popen([installed.command, "train", *words], cwd=folder) as process:
        try:
            deadline = time.monotonic() + 120
            while not (folder / "runs/a/metrics.jsonl").exists():
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            assert process.wait(120) == 143
        finally:
            process.kill()
    (start,) = json.loads((folder / "runs/a/record.json").read_text("utf-8"))["starts"]
    assert start["command"][0].startswith("python")
    assert start["command"][2:] == words
    assert not (installed.project.path / "runs/a").exists()


@on_one_worker
def test_a_wheel_holds_the_package_and_nothing_else(installed, tmp_path):
    options = ["--no-index", "--no-build-isolation", "--no-deps", "--disable-pip-version-check"]
    installed.project.run(installed.python, "-m", "pip", "wheel", *options, "-w", tmp_path, ".")
    (wheel,) = tmp_path.glob("my_project-0.1.0-py3-none-any.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    package = {
        name
        for name in installed.project.files()
        if name.startswith("my_project/") and "__pycache__" not in name and name[-3:] != ".md"
    }
    assert "my_project/conf/train.yaml" in names
    assert "my_project/py.typed" in names
    assert names == package


@on_one_worker
def test_type_checkers_take_the_types_of_what_is_installed(installed):
    script = "from my_project.engine.run.metrics import read_metrics\nread_metrics(1)\n"
    (installed.elsewhere.path / "script.py").write_text(script)
    options = [f"--python-executable={installed.python}", f"--cache-dir={os.devnull}"]
    options += ["--follow-imports=silent"]
    shown = installed.elsewhere.run(sys.executable, "-m", "mypy", *options, "script.py", code=1)
    assert 'Argument 1 to "read_metrics" has incompatible type "int"' in shown
    assert "Found 1 error in 1 file" in shown


@pytest.mark.network
@on_one_worker
def test_the_notebook_is_executed_by_jupyter(installed):
    words = ["data=digits", "data.train_examples=1000", "data.test_examples=300"]
    words += ["trainer.last_step=30", "trainer.evaluate_every_n_steps=10", "run_dir=runs/last"]
    installed.project.run(installed.command, "train", *words)
    pip = [installed.python, "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    installed.project.run(*pip, *JUPYTER)
    before = (installed.project.path / "look_at_a_run.ipynb").read_bytes()
    execute = [installed.python, "-c", EXECUTE, "look_at_a_run.ipynb"]
    outputs = json.loads(installed.project.run(*execute).splitlines()[-1])
    shown = "".join(output.get("text", "") for output in outputs)
    assert "runs/last/checkpoints/model.ckpt-30\n" in shown
    assert re.search(r"^accuracy: 0\.\d{4} of 300 examples$", shown, re.M)
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    assert (installed.project.path / "look_at_a_run.ipynb").read_bytes() == before


@pytest.mark.network
def test_uv_finds_tensorflow_2_for_each_of_its_pythons(bake):
    project = bake()
    project.run(sys.executable, "-m", "uv", "lock", "-q")
    lock = tomllib.loads((project.path / "uv.lock").read_text("utf-8"))
    found = {package["name"]: package["version"] for package in lock["package"]}
    assert found["tensorflow"] == found["tf-keras"] == "2.21.0"
    assert found["hydra-core"] == "1.3.8"
    (mine,) = (package for package in lock["package"] if package["name"] == "my-project")
    assert mine["source"] == {"editable": "."}
