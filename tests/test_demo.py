"""`make demo` bakes once, and again when the template has changed; what was made there stays."""

import json
import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

import demo

MADE = {".venv/mark", "datasets/mine", "runs/mine", "edited.py"}


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """No demo yet, where no home folder can be written."""
    monkeypatch.setattr(demo, "DEMO", tmp_path)
    monkeypatch.setattr(demo, "PROJECT", tmp_path / "my_project")
    monkeypatch.setattr(demo, "hash_sources", lambda: "the same")
    monkeypatch.setenv("HOME", os.devnull)


@pytest.fixture
def project(empty, monkeypatch, default_bake):
    """A demo with the user's own files in it; it is copied, which is quicker than a bake."""

    def copy(*_, output_dir, **__):
        return shutil.copytree(default_bake.path, Path(output_dir, "my_project"))

    monkeypatch.setattr(demo, "cookiecutter", copy)
    demo.bake()
    for file in MADE:
        (demo.PROJECT / file).parent.mkdir(parents=True, exist_ok=True)
        (demo.PROJECT / file).touch()
    return demo.PROJECT


@pytest.fixture
def changed(monkeypatch):
    """The template's sources have changed since."""
    monkeypatch.setattr(demo, "hash_sources", lambda: "changed")


def files(folder):
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def test_every_source_of_a_bake_counts_as_a_change(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    sums = set()
    for file in ("cookiecutter.json", "hooks/hook.py", "{{cookiecutter.project_slug}}/a/b.py"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
        sums.add(demo.hash_sources())
    (tmp_path / file).write_text("changed")
    sums.add(demo.hash_sources())
    assert len(sums) == 4
    (tmp_path / "hooks" / "__pycache__").mkdir()
    (tmp_path / "hooks" / "__pycache__" / "hook.pyc").touch()
    assert demo.hash_sources() in sums


def test_the_first_demo_is_a_default_bake(empty, default_bake, capsys):
    demo.bake()
    assert "baked demo/my_project\n" in capsys.readouterr().out
    assert files(demo.PROJECT) == default_bake.files()


def test_the_project_stays_while_the_template_is_the_same(project, default_bake, capsys):
    demo.bake()
    assert "there already" in capsys.readouterr().out
    assert files(project) == default_bake.files() | MADE


def test_a_changed_template_keeps_the_old_project_and_moves_the_environment_and_data_on(
    project, default_bake, changed, capsys
):
    (project.parent / "my_project.old-1").symlink_to("nowhere")
    demo.bake()
    assert "what you had is now demo/my_project.old-2\n" in capsys.readouterr().out
    moved = {".venv/mark", "datasets/mine"}
    assert files(project) == default_bake.files() | moved
    assert files(project.parent / "my_project.old-2") == default_bake.files() | MADE - moved


def test_a_changed_template_leaves_a_linked_project_complete(project, default_bake, changed):
    elsewhere = project.rename(project.parent / "elsewhere")
    project.symlink_to(elsewhere)
    demo.bake()
    assert files(project) == default_bake.files()
    assert files(elsewhere) == default_bake.files() | MADE


def test_an_interrupted_bake_starts_afresh(project, default_bake, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(demo, "hash_sources", lambda: "changed")
        broken.setattr(demo, "cookiecutter", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            demo.bake()
    assert files(project) == default_bake.files() | MADE
    demo.bake()
    assert "edited.py" not in files(project)
    assert {file.name for file in project.parent.iterdir()} == {
        "my_project",
        "my_project.old-1",
        "baked_from",
    }


@pytest.fixture
def world(project, monkeypatch):
    """Stand-ins for set-up and training; `codes` holds their exit codes, `ran` what they got."""
    world = SimpleNamespace(ran=[], codes={"tf1": 0, "tf2": 0, "train": 0}, interrupt=False)

    def install(*arguments):
        runtime = arguments[-1] if arguments else os.environ["RUNTIME"]
        world.ran.append(runtime)
        if world.codes[runtime] == 0:
            (project / ".venv/.complete").write_text(json.dumps({"runtime": runtime}))
        return world.codes[runtime]

    def train(command, cwd):
        world.ran.append(command[1:])
        if world.interrupt:
            os.kill(os.getpid(), signal.SIGINT)  # as the terminal does, to parent and child
        run_dir = cwd / command[-1].removeprefix("run_dir=")
        run_dir.mkdir(exist_ok=True)
        points = [("test", 0.5), ("train", 0.25), ("test", 0.9725), ("train", 1.0)]
        lines = [json.dumps({"split": split, "accuracy": value}) for split, value in points]
        (run_dir / "metrics.jsonl").write_text("\n".join(lines))
        return SimpleNamespace(returncode=world.codes["train"])

    monkeypatch.setattr(demo, "install", install)
    monkeypatch.setattr(demo.subprocess, "run", train)
    for name in ("RUNTIME", "PYTHON37"):
        monkeypatch.delenv(name, raising=False)
    handler = signal.getsignal(signal.SIGINT)
    yield world
    signal.signal(signal.SIGINT, handler)


def training(runtime):
    return ("-m", "my_project.train", "data=digits", f"run_dir=runs/demo_{runtime}")


def test_the_demo_trains_and_says_what_came_of_it(world, project, capsys):
    assert demo.main() == 0
    assert world.ran == ["tf1", training("tf1")]
    assert capsys.readouterr().out.splitlines()[1:] == [
        "",
        "checkpoints  demo/my_project/runs/demo_tf1/checkpoints",
        "summaries    demo/my_project/runs/demo_tf1, for TensorBoard",
        "accuracy     97.25% on held-out digits",
        "",
        "Try next:",
        "  cd demo/my_project",
        '  make train ARGS="data=digits model.hidden=512"    # a wider network',
        "  make train    # real MNIST, 11 MB to download",
    ]


def test_without_a_python37_the_notice_stands_first_and_last_and_uv_is_asked_once(world, capsys):
    world.codes["tf1"] = 2
    assert demo.main() == 0
    shown = capsys.readouterr().out
    assert world.ran == ["tf1", "tf2", training("tf2")]
    assert shown.count(demo.NOTICE) == 2
    assert shown.index(demo.NOTICE) < shown.index("accuracy ")
    assert shown.endswith(f"\n{demo.NOTICE}\n")
    assert demo.main() == 0
    assert world.ran[3:] == ["tf2", training("tf2")]
    assert capsys.readouterr().out.count(demo.NOTICE) == 2


def test_a_python37_that_was_got_since_ends_the_notices(world, project, capsys):
    world.codes["tf1"] = 2
    demo.main()
    world.codes["tf1"] = 0
    (project / ".venv/.complete").write_text('{"runtime": "tf1"}')  # as the notice says
    capsys.readouterr()
    assert demo.main() == 0
    assert world.ran[3:] == ["tf1", training("tf1")]
    assert "NOTICE" not in capsys.readouterr().out


def test_the_chosen_runtime_is_used_without_a_notice(world, monkeypatch, capsys):
    monkeypatch.setenv("RUNTIME", "tf2")
    assert demo.main() == 0
    assert world.ran == ["tf2", training("tf2")]
    assert "NOTICE" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("failed", "returned", "code"),
    [("tf1", 1, 1), ("tf1", 130, 130), ("train", 1, 1), ("train", 130, 130), ("train", -9, 137)],
)
def test_an_exit_code_is_passed_on(world, capsys, failed, returned, code):
    world.codes[failed] = returned
    world.interrupt = returned == 130
    assert demo.main() == code
    assert "accuracy" not in capsys.readouterr().out
