"""Named experiments: composed, repeated, and compared with what they are expected to reach."""

import os

import pytest
from my_project.engine.errors import ConfigError
from my_project.engine.settings import experiments
from my_project.engine.settings.config import CONF, load_config
from my_project.reproduce import reproduce
from omegaconf import OmegaConf


@pytest.mark.parametrize("name", OmegaConf.load(os.path.join(CONF, "experiments.yaml")))
def test_the_result_of_each_is_reached(name, tmp_path, capsys):
    run_dir = f"run_dir={tmp_path}/run"
    assert reproduce([f"experiment={name}", run_dir]) == 0, capsys.readouterr().out
    assert "yes" in capsys.readouterr().out.splitlines()[-1]


def test_words_that_are_typed_change_its_settings_in_any_order():
    for words in (["experiment=digits_mlp", "seed=7"], ["seed=7", "experiment=digits_mlp"]):
        config = load_config(words)
        assert (config.seed, config.trainer.last_step) == (7, 500)
        assert config.data._target_.endswith("Digits")


@pytest.fixture
def conf(tmp_path, monkeypatch):
    """conf(text): what conf/experiments.yaml holds."""
    monkeypatch.setattr(experiments, "CONF", str(tmp_path))
    return (tmp_path / "experiments.yaml").write_text


SETTINGS = "settings: [data=digits, trainer.last_step=2, data.train_examples=640]"


def test_another_result_is_said_in_a_table_and_by_the_exit_code(conf, tmp_path, capsys):
    conf(f"mine: {{{SETTINGS}, expected: {{accuracy: 2, loss: 0, speed: 1}}, tolerance: 0.1}}")
    assert reproduce(["experiment=mine", f"run_dir={tmp_path}/run"]) == 1
    shown = capsys.readouterr().out.splitlines()[-3:]
    assert [line.split()[0] for line in shown] == ["accuracy", "loss", "speed"]
    assert all(line.endswith("NO") for line in shown)
    assert "2 ± 0.1" in shown[0]


def test_training_that_fails_before_it_began_leaves_no_directory(conf, tmp_path, monkeypatch):
    conf(f"mine: {{{SETTINGS}, expected: {{loss: 0}}, tolerance: 0.1}}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="batch_size"):
        reproduce(["experiment=mine", "data.batch_size=0"])
    assert os.listdir("runs") == []


def test_an_unknown_or_incomplete_one_is_refused_in_one_line(conf):
    conf(f"mine: {{{SETTINGS}, expected: {{loss: 1}}, tolerance: 0.1}}\nhalf: {{{SETTINGS}}}")
    with pytest.raises(
        ConfigError, match=r"experiment=mime: .*one of mine, half; did you mean mine"
    ):
        load_config(["experiment=mime"])
    with pytest.raises(ConfigError, match="half is incomplete; expected settings"):
        load_config(["experiment=half"])
    with pytest.raises(ConfigError, match="found no experiment=NAME"):
        reproduce([])
    for half in ("expected: {}", "expected: {loss: x}", "settings: data=digits", "tolerance: .nan"):
        key, _, text = half.partition(": ")
        parts = {"settings": "[seed=1]", "expected": "{loss: 1}", "tolerance": "1", key: text}
        conf("mine:\n" + "".join(f"  {key}: {text}\n" for key, text in parts.items()))
        with pytest.raises(ConfigError, match="mine is incomplete"):
            load_config(["experiment=mine"])
    conf("")
    with pytest.raises(ConfigError, match=r"experiments\.yaml: found no keys"):
        load_config(["experiment=mine"])
    conf("mine: [")
    with pytest.raises(ConfigError, match=r"experiments\.yaml: .*expected a key for each"):
        load_config(["experiment=mine"])
