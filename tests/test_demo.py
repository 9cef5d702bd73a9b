"""`make demo` bakes once, and again when the template has changed; what was made there stays."""

import pytest

import demo


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "DEMO", tmp_path)
    monkeypatch.setattr(demo, "PROJECT", tmp_path / "my_project")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    demo.bake()
    for file in (".venv/mark", "datasets/mine", "runs/mine", "runs/demo/record.json", "old"):
        (demo.PROJECT / file).parent.mkdir(parents=True, exist_ok=True)
        (demo.PROJECT / file).touch()
    return demo.PROJECT


def test_the_project_stays_while_the_template_is_the_same(project, capsys):
    demo.bake()
    assert "there already" in capsys.readouterr().out
    assert (project / "old").exists()
    assert (project / "runs" / "demo").exists()


def test_a_changed_template_replaces_all_but_the_environment_the_data_and_other_runs(
    project, default_bake, monkeypatch
):
    monkeypatch.setattr(demo, "hash_sources", lambda: "changed")
    demo.bake()
    found = {file.relative_to(project).as_posix() for file in project.rglob("*") if file.is_file()}
    assert found == default_bake.files() | {".venv/mark", "datasets/mine", "runs/mine"}


def test_an_interrupted_bake_starts_afresh(project, monkeypatch):
    with monkeypatch.context() as changed:
        changed.setattr(demo, "hash_sources", lambda: "changed")
        changed.setattr(demo, "cookiecutter", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            demo.bake()
    demo.bake()
    assert not (project / "old").exists()
