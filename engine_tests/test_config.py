"""Settings: an error is one line that says what was meant; a run keeps its own."""

import dataclasses
import glob
import importlib
import inspect
import os
import pathlib
import pydoc
import re
import shutil
import subprocess
import sys

import pytest
from my_project.engine.errors import ConfigError
from my_project.engine.graph.optimize import Optimization
from my_project.engine.settings import config as config_module
from my_project.engine.settings import targets
from my_project.engine.settings.config import CONF, FILES, instantiate, load_config
from my_project.engine.settings.overrides import values_in
from my_project.engine.settings.tree import meanings
from my_project.train.__main__ import train
from omegaconf import OmegaConf


def choices_of(group):
    (file,) = [file for file, place in FILES.items() if place.startswith(f"{group}@")] or [""]
    if file:
        return [*OmegaConf.load(f"{CONF}/{file}")]
    return [path.stem for path in pathlib.Path(CONF, group).glob("*.yaml")]


def test_groups_and_values_are_chosen_on_the_command_line():
    config = load_config(["data=digits", "model.hidden=64", "model.clip.norm=1", "seed=7"])
    assert config.data._target_.endswith(".Digits")
    assert config.model.hidden == 64
    assert config.model.clip.norm == 1
    assert config.data.seed == config.trainer.seed == 7


def test_hooks_of_ones_own_are_made_from_their_names_and_arguments():
    hook = "{_target_: tensorflow.compat.v1.train.StopAtStepHook, last_step: 3}"
    config = load_config([f"trainer.hooks=[{hook}]"])
    (made,) = instantiate(config.trainer).hooks
    assert type(made).__name__ == "StopAtStepHook"


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("trainer.lst_step=5", r"trainer\.lst_step: .* did you mean trainer\.last_step\?"),
        ("last_step=5", r"last_step: .* did you mean trainer\.last_step\?"),
        ("modle=mlp", r"modle: .* did you mean model\?"),
        ("model=mpl", r"no such model in conf/; expected one of .*did you mean mlp\?"),
        ("trainer.last_step=abc", r"trainer\.last_step=abc: expected an integer, such as"),
        ("trainer.last_step=1.5", r"expected an integer, such as 2000; 2000\.0 in conf/ allows"),
        ("trainer.last_step=true", "expected an integer"),
        ("trainer.last_step=null", "expected an integer"),
        ("model.learning_rate=fast", r"expected a number, such as 0\.002"),
        ("trainer.allow_growth=1", "expected true or false"),
        ("trainer.hooks=1", "expected a list"),
        ("model.clip={norm: 1}", r"expected one of model\.clip\.value"),
        ("model.clip=5", r"expected one of model\.clip\.value"),
        ("model.warm_start.rename=5", "expected a dict as {a:b}"),
        ("optimizer=adm", r"expected one of adadelta, .*, sgd; did you mean adam\?"),
        ("schedule=cosin", r"expected one of constant, .*; did you mean cosine\?"),
        ("model.hidden=1,2", "expected an integer"),
        ("model.learning_rate=nan", "expected a number"),
        ("+model.depth=3", "is not a setting; expected key=value"),
        ("trainer.last_step", "is not a setting; expected key=value"),
        ("trainer.hooks=[1", "expected a list"),
    ],
)
def test_an_error_is_one_line_with_what_was_expected(argument, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load_config([argument])
    assert "\n" not in str(caught.value)


def test_an_error_ends_the_command_with_2_before_tensorflow_is_imported():
    code = (
        "import runpy, sys; package, sys.argv[1:] = sys.argv[1], ['trainer.last_step=abc']\n"
        "try: runpy.run_module(package + '.train', run_name='__main__')\n"
        "except SystemExit as stop: print(stop.code, 'tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "my_project"],
        capture_output=True,
        text=True,
    )
    assert done.stdout == "2 False\n"
    assert done.stderr.startswith("error: trainer.last_step=abc: expected an integer")
    assert done.stderr.count("\n") == 1


@pytest.fixture
def run(tmp_path):
    """The directory of a run that was started with 30 steps and 64 hidden units."""
    config = load_config(
        ["data=digits", "model.hidden=64", "trainer.last_step=30", f"run_dir={tmp_path}"]
    )
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "model.ckpt-30.index").write_text("")
    return tmp_path


def test_a_value_that_begins_with_a_tilde_is_in_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    typed = ["data=mnist", "data.directory=~/fashion", "run_dir=~/run"]
    config = load_config(typed)
    assert config.data.directory == f"{tmp_path}/fashion"
    assert config.run_dir == config.trainer.run_dir == f"{tmp_path}/run"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True))
    assert load_config(typed[1:]) == config


def default(kind, name):
    """What a constructor takes for an argument, or one of those that it passes its others to."""
    for each in inspect.getmro(kind) if inspect.isclass(kind) else [kind]:
        parameters = inspect.signature(each).parameters
        if name in parameters:
            return parameters[name].default
    field = Optimization.__dataclass_fields__[name]
    missing = field.default_factory is dataclasses.MISSING
    return field.default if missing else field.default_factory()


# Where the files of the user are, and what depends on them, has no default in Python.
THEIRS = {"directory", "features", "labels", "label", "path", "query", "pattern", "shape", "shapes"}
THEIRS |= {"classes", "height", "width", "channels", "function", "dtypes"}
# One of its steps is too short for threads; a model cannot set those of a trainer that is made
# before it.
THREADS = {"intra_op_threads", "inter_op_threads"}


@pytest.mark.parametrize(
    ("group", "choice"),
    [
        (os.path.basename(os.path.dirname(path)), os.path.basename(path)[: -len(".yaml")])
        for path in sorted(glob.glob(f"{CONF}/*/*.yaml"))
    ],
)
def test_python_and_yaml_have_the_same_defaults(group, choice):
    node = load_config([f"{group}={choice}"])[group]
    kind = pydoc.locate(node._target_)
    skipped = {"_target_", "optimizer", "schedule", "loss", "warm_start", "run_dir"}
    compared = 0
    for name in set(node) - skipped - (THREADS if group == "trainer" else set()):
        value, expected = node[name], default(kind, name)
        if OmegaConf.is_dict(value):  # of limits, 0 is none
            value = {key: number for key, number in value.items() if number}
        elif OmegaConf.is_list(value):
            value = list(value)
        if expected is inspect.Parameter.empty:
            assert group == "data"
            assert name in THEIRS, name
        else:
            expected = list(expected) if isinstance(expected, tuple) else expected
            assert value == expected, name
            compared += 1
    assert compared > 5
    if group == "model" and "loss" in node:
        assert node.loss._target_.endswith(".crossentropy")
    if group == "model":  # made by each: the same optimizer, with the same numbers
        arguments = {} if choice == "gan" else {"classes": 10}
        made = [instantiate(node), kind(**arguments)]
        optimizers = [vars(each.optimization.optimizer) for each in made]
        numbers = [
            {k: v for k, v in each.items() if isinstance(v, (int, float))} for each in optimizers
        ]
        assert numbers[0] == numbers[1]
        assert type(made[0].optimization.optimizer) is type(made[1].optimization.optimizer)


@pytest.mark.parametrize("path", [f"{CONF}/losses.yaml", f"{CONF}/schedules.yaml"])
def test_functions_have_the_defaults_of_yaml(path):
    for name, node in OmegaConf.load(path).items():
        parameters = inspect.signature(pydoc.locate(node._target_)).parameters
        for key, value in OmegaConf.to_container(node).items():
            known = key == "_target_" or parameters[key].default in (inspect.Parameter.empty, value)
            assert known, (name, key)


def test_show_prints_the_settings_with_those_marked_that_are_not_the_defaults(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    typed = ["data=digits", "model.hidden=64", "trainer.profile_steps=[3,4]", "seed=7"]
    assert train([*typed, "--show"]) == 0
    shown = capsys.readouterr().out
    assert OmegaConf.create(shown) == OmegaConf.create(
        OmegaConf.to_container(load_config(typed), resolve=True)
    )
    lines = [line.strip() for line in shown.splitlines()]
    assert "hidden: 64  # [default: 256] units of the hidden layer" in lines
    (steps,) = [line for line in lines if line.startswith("profile_steps")]
    assert steps.startswith("profile_steps: [3, 4]  # [default: []] [first, last] step to trace: ")
    (seed,) = [line for line in lines if line.startswith("drawing_seed")]
    assert seed.startswith("drawing_seed: 1  # [no default] ")  # of MNIST
    assert "batch_size: 128  # examples" in lines
    assert train(["--show"]) == 0
    assert "default" not in re.sub("; default .*", "", capsys.readouterr().out)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("group", ["data", "model", "trainer", "optimizer", "schedule", "loss"])
def test_each_setting_says_what_it_means(group):
    assert len(choices_of(group)) > 1
    for choice in choices_of(group):
        settings = load_config([f"{group}={choice}"])
        values = {key: x for key, x in values_in(settings).items() if not OmegaConf.is_dict(x)}
        without = values.keys() - meanings(settings).keys()
        assert not [key for key in without if not re.search(r"_(target|partial)_$", key)], choice


@pytest.mark.parametrize("model", choices_of("model"))
def test_each_model_takes_each_optimizer_and_schedule(model):
    schedules = choices_of("schedule")
    for number, optimizer in enumerate(choices_of("optimizer")):
        schedule = schedules[number % len(schedules)]
        words = [f"model={model}", f"optimizer={optimizer}", f"schedule={schedule}"]
        instantiate(load_config([*words, "model.classes=10"] if model != "gan" else words).model)


@pytest.mark.parametrize(
    "typed",
    [
        ["run_dir=gs://bucket/run"],
        ["data=mnist", "data.directory=ram://mnist"],
        ["data=tables", "data.pattern=s3://bucket/{split}.csv"],
        ["model.warm_start.checkpoint=hdfs://host/run"],
    ],
)
def test_a_path_of_another_file_system_is_refused_by_name(typed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as raised:
        load_config(typed)
    assert f"{typed[-1]}: found a path of another file system" in str(raised.value)
    assert not any(tmp_path.iterdir())


def test_a_run_directory_of_another_file_system_is_refused_in_python_too():
    from my_project.engine.run.run import Run

    with pytest.raises(ConfigError, match="run_dir=ram://run: found a path of another file"):
        Run("ram://run")


def test_a_run_resumes_with_its_own_settings_and_the_changes_typed_now(run):
    config = load_config([f"run_dir={run}", "trainer.last_step=50"])
    assert config.data._target_.endswith(".Digits")
    assert config.model.hidden == 64
    assert config.trainer.last_step == 50
    assert config.trainer.run_dir == str(run)
    assert load_config([f"run_dir={run}"]).trainer.last_step == 30


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (
            "model.hidden=32",
            r"model\.hidden was 64, is 32; leave .* trainer\.allow_changes=\[model\.hidden\]",
        ),
        ("model=mlp", r"model\.hidden was 64, is 256"),
        ("data=mnist", r"data\._target_ was .*Digits, is .*MNIST"),
        ("optimizer=momentum", r"model\.optimizer\._target_ was .*Adam.*, is .*Momentum"),
        ("model.schedule.warmup_steps=9", r"model\.schedule\.warmup_steps was 0, is 9"),
        ("seed=2", "seed was 1, is 2"),
        ("trainer.seed=2", "trainer.seed was 1, is 2"),
    ],
)
def test_another_model_data_or_seed_is_refused_with_the_difference(run, argument, message):
    with pytest.raises(ConfigError, match=message):
        load_config([f"run_dir={run}", argument])


def test_the_run_is_found_however_its_directory_is_named(run, monkeypatch):
    monkeypatch.setenv("RUN", str(run))
    for argument in (f"trainer.run_dir={run}", "run_dir=${oc.env:RUN}"):
        with pytest.raises(ConfigError, match=r"model\.hidden was 64, is 32"):
            load_config([argument, "model.hidden=32"])


def test_the_same_data_may_be_elsewhere_when_a_run_resumes(run):
    config = load_config([f"run_dir={run}", "data.directory=elsewhere"])
    assert config.data.directory == "elsewhere"


def rewritten(run, **groups):
    """Changes a run's config.yaml: rewritten(run, data={"batch_size": 5})."""
    config = OmegaConf.load(str(run / "config.yaml"))
    for group, values in groups.items():
        config[group].update(values)
    (run / "config.yaml").write_text(OmegaConf.to_yaml(config))


def test_any_setting_that_is_a_path_may_lead_elsewhere_to_the_same_name(run):
    paths = {"features": "a/x.npy", "path": "a/b.sqlite", "query": "SELECT a/b FROM {split}"}
    rewritten(run, data=paths)
    for folder in ("b", "b c"):
        (run.parent / folder).mkdir()
        (run.parent / folder / "x.npy").write_bytes(b"")
    for features in (f"{run.parent}/b/x.npy", f"{run.parent}/b c/x.npy"):
        typed = [f"data.features={features}", "data.path=c.sqlite"]
        config = load_config([f"run_dir={run}", *typed])
        assert (config.data.features, config.data.path) == (features, "c.sqlite")
    for other in ("data.features=/b/x.npy", "data.query=SELECT c/b FROM {split}"):
        with pytest.raises(ConfigError, match=r"data\.(features|query) was"):
            load_config([f"run_dir={run}", other])


def test_the_name_of_a_column_with_a_slash_is_no_path(run):
    rewritten(run, data={"label": "wind_m/s"})
    with pytest.raises(ConfigError, match=r"data\.label was wind_m/s, is gust_m/s"):
        load_config([f"run_dir={run}", "data.label=gust_m/s"])


@pytest.mark.parametrize("command", ["train", "evaluate", "predict"])
def test_a_list_that_differs_is_refused(run, command):
    rewritten(run, model={"freeze": ["dense_1/"]}, data={"features": ["x", "y"]})
    for other in ("data.features=[y,x]", "model.freeze=[dense/]"):
        with pytest.raises(ConfigError, match=r"was \[.*\], is \[.*\]; leave them"):
            load_config([f"run_dir={run}", other], command)
    typed = ["data.features=[x,y]", "model.freeze=[dense_1/]"]
    load_config([f"run_dir={run}", *typed], command)


def test_how_data_are_read_may_change_and_the_batch_size_where_nothing_is_trained(run):
    for setting in ("memory_fraction=0", "parallel_calls=7"):
        load_config([f"run_dir={run}", f"data.{setting}"])
    with pytest.raises(ConfigError, match=r"data\.batch_size was 128, is 16"):
        load_config([f"run_dir={run}", "data.batch_size=16"])
    config = load_config([f"run_dir={run}", "data.batch_size=16"], "evaluate")
    assert config.data.batch_size == 16


def test_a_change_that_is_allowed_by_name_is_made_in_this_start_alone(run):
    typed = ["model.learning_rate=0.5", "data.batch_size=16", "optimizer=momentum"]
    for allowed in ("[model.learning_rate,data.batch_size,model.optimizer]", "[model,data]"):
        config = load_config([f"run_dir={run}", *typed, f"trainer.allow_changes={allowed}"])
        assert (config.model.learning_rate, config.data.batch_size) == (0.5, 16)
    (run / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True))
    with pytest.raises(ConfigError, match=r"learning_rate was 0\.5, is 0\.1"):
        load_config([f"run_dir={run}", "model.learning_rate=0.1"])
    with pytest.raises(ConfigError, match=r"learning_rate was 0\.5, is 0\.1"):
        load_config(
            [f"run_dir={run}", "model.learning_rate=0.1", "trainer.allow_changes=[model.learn]"]
        )


# What runs code that is not the project's, or shows what is the machine's: where, what.
HOSTILE = [
    ("data", {"_target_": "evil.Data"}),
    ("model", {"_target_": "numpy.load", "file": "evil.npy", "allow_pickle": True}),
    ("model", {"schedule": {"_target_": "os.system", "command": "touch ran"}}),
    ("model", {"loss": {"_target_": "tensorflow.keras.layers.deserialize", "config": {}}}),
    ("model", {"loss": {"_target_": "tensorflow.io.gfile.remove", "path": "config.yaml"}}),
    ("model", {"loss": {"_target_": "my_project.launch.Process", "command": ["touch", "ran"]}}),
    ("model", {"loss": {"_target_": "my_project.model.mlp.MLP.__init__.__globals__.get"}}),
    ("data", {"_target_": "my_project.data.generator.Generated", "function": "evil.records"}),
    ("trainer", {"_target_": "my_project.engine.run.start.subprocess.call", "args": "ls"}),
    ("trainer", {"gpus": "${oc.env:HOME}"}),
    ("data", {"directory": "${oc.decode:'[1]'}"}),
    ("model", {"${oc.env:HOME}": 1}),
]


@pytest.mark.parametrize("command", ["train", "evaluate", "predict", "export", "show", "benchmark"])
def test_a_run_of_somebody_else_makes_nothing_but_what_is_the_projects(run, command, monkeypatch):
    monkeypatch.chdir(run)
    monkeypatch.syspath_prepend(str(run))  # as under python -m in its directory
    (run / "evil.py").write_text("open('ran', 'w')\n")
    clean = (run / "config.yaml").read_text()
    main = getattr(importlib.import_module(f"my_project.{command}"), command, None)
    for group, values in HOSTILE if command == "train" else HOSTILE[:2]:
        (run / "config.yaml").write_text(clean)
        rewritten(run, **{group: values})
        with pytest.raises(ConfigError, match=r"config\.yaml: (names|found the reference) "):
            (main or train)([f"run_dir={run}"])
    assert not (run / "ran").exists()
    (run / "config.yaml").write_text(clean)
    rewritten(run, trainer={"hooks": [{"_target_": "evil.Hook"}]})
    if command == "train":
        with pytest.raises(ConfigError, match=r"names evil\.Hook.* name it in a file of conf/"):
            load_config([f"run_dir={run}"])
    else:  # they need no hooks, and a run does not say where they write
        (run / "config.yaml").write_text((run / "config.yaml").read_text() + "file: mine\n")
        config = load_config([f"run_dir={run}"], command)
        assert config.trainer.hooks == []
        assert config.get("file") != "mine" or command == "export"


def test_what_a_module_of_the_project_imports_is_not_the_projects():
    for path in ("my_project.data.idx.tf.io.gfile.remove", "my_project.model.mlp.tf.Session"):
        with pytest.raises(ConfigError, match="settings name only what is yours"):
            instantiate(OmegaConf.create({"_target_": path}))


def test_what_is_named_in_conf_or_typed_is_trusted(run, conf, monkeypatch):
    monkeypatch.setattr(targets, "CONF", str(conf))
    rewritten(run, trainer={"hooks": [{"_target_": "mine.Hook"}]})
    hooks = "trainer.hooks=[{_target_: mine.Hook}]"
    assert load_config([f"run_dir={run}", hooks]).trainer.hooks[0]._target_ == "mine.Hook"
    (conf / "trainer" / "mine.yaml").write_text("# hooks: [{_target_: mine.Hook}]\n")
    with pytest.raises(ConfigError, match=r"names mine\.Hook"):
        load_config([f"run_dir={run}"])
    (conf / "trainer" / "mine.yaml").write_text("hooks:\n  - _target_: mine.Hook\n")
    load_config([f"run_dir={run}"])


def test_a_command_in_a_strange_directory_imports_nothing_from_there(run):
    for name in ("hydra", "tensorflow", "tqdm", "evil"):
        (run / f"{name}.py").write_text("open('ran', 'w')\n")
    done = subprocess.run(
        [sys.executable, "-m", "my_project.evaluate", "run_dir=."],
        cwd=str(run),
        env={**os.environ, "PYTHONPATH": str(pathlib.Path(CONF).parents[1])},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert "no checkpoint there can be read" in done.stderr  # it is empty
    assert not (run / "ran").exists()


def test_a_run_keeps_the_schedule_it_was_started_with(tmp_path):
    given = ["schedule=cosine", "model.schedule.end=0.1", "model.warm_start.rename={a/: b/}"]
    config = load_config([*given, f"run_dir={tmp_path}"])
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "model.ckpt-3.index").write_text("")
    for arguments in ([], given[:2]):
        again = load_config([*arguments, f"run_dir={tmp_path}", "trainer.last_step=5000"])
        assert again.model.schedule.last_step == 2000
        assert again.model == config.model
    typed = ["trainer.last_step=5000", "model.schedule.last_step=5000"]
    with pytest.raises(ConfigError, match=r"allow_changes=\[model\.schedule\.last_step\]"):
        load_config([f"run_dir={tmp_path}", *typed])
    longer = load_config([f"run_dir={tmp_path}", *typed, "trainer.allow_changes=[model.schedule]"])
    assert longer.model.schedule.last_step == 5000
    instantiate(again.model)


@pytest.mark.parametrize("debug", [[], ["debug=nan"]])
def test_a_run_has_its_own_settings_before_its_first_checkpoint(run, debug):
    (run / "checkpoints" / "model.ckpt-30.index").unlink()
    config = load_config([f"run_dir={run}", *debug])
    assert config.data._target_.endswith(".Digits")
    assert config.model.hidden == 64
    assert config.trainer.last_step == 30
    assert config.trainer.steps_per_loop == (1 if debug else 1000)
    with pytest.raises(ConfigError, match=r"model\.hidden was 64, is 32; leave"):
        load_config([f"run_dir={run}", "model.hidden=32", *debug])


def test_the_same_command_starts_a_run_and_resumes_it(tmp_path):
    command = ["data=digits", "model=cnn", "optimizer=momentum", "schedule=cosine", "loss=focal"]
    command += ["trainer=keras", "data.batch_size=32", "model.loss.gamma=1", f"run_dir={tmp_path}"]
    first = load_config(command)
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(first, resolve=True))
    assert load_config(command) == load_config([f"run_dir={tmp_path}"]) == first


def test_a_run_without_a_config_is_not_resumed_with_other_settings(run):
    (run / "config.yaml").unlink()
    for chosen in ([], ["data=digits"], ["model.hidden=64"]):
        with pytest.raises(ConfigError, match=r"no config.yaml.* add the settings of data and"):
            load_config([f"run_dir={run}", *chosen])
    config = load_config([f"run_dir={run}", "data=digits", "model=mlp", "model.hidden=32"])
    assert config.model.hidden == 32


@pytest.mark.parametrize("text", ["été (1)", "5", "2020_01", "1e3", "true", "0,2"])
def test_text_stays_as_it_was_typed(text):
    config = load_config([f"data.directory={text}", f"trainer.gpus={text}"])
    assert config.data.directory == config.trainer.gpus == text


def test_a_corrupt_config_of_a_run_is_named(run):
    for content in (b"a: [1\n", b"", b"x: 1\n", b"- 1\n", b"\xff\xfe", b"trainer: null\n"):
        (run / "config.yaml").write_bytes(content)
        with pytest.raises(ConfigError, match=r"config\.yaml: is corrupt"):
            load_config([f"run_dir={run}"])


def test_groups_chosen_again_take_the_runs_own_seed_and_other_settings(tmp_path):
    given = ["data=digits", "seed=5", "data.train_examples=50", f"run_dir={tmp_path}"]
    text = OmegaConf.to_yaml(load_config(given), resolve=True).replace("  max_to_keep: 5\n", "")
    (tmp_path / "config.yaml").write_text(text)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "model.ckpt-3.index").write_text("")
    config = load_config([f"run_dir={tmp_path}", "trainer=session", "data.train_examples=50"])
    assert config.trainer.seed == config.data.seed == 5
    config = load_config([*given[3:], *given[:1], *given[2:3], "trainer.max_to_keep=3"])
    assert config.data.seed == 5
    assert config.trainer.max_to_keep == 3  # a setting that is newer than the run


def test_a_bug_in_a_class_keeps_its_type_and_stack_trace(tmp_path, monkeypatch):
    (tmp_path / "buggy.py").write_text("class Buggy:\n    def __init__(self):\n        1 + 'a'\n")
    (tmp_path / "broken.py").write_text("import does_not_exist\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(TypeError, match="unsupported operand") as caught:
        instantiate(OmegaConf.create({"_target_": "buggy.Buggy"}))
    assert caught.traceback[-1].path.name == "buggy.py"
    with pytest.raises(ModuleNotFoundError, match="does_not_exist") as caught:
        instantiate(OmegaConf.create({"_target_": "broken.Broken"}))
    assert caught.traceback[-1].path.name == "broken.py"


def test_an_argument_that_no_signature_names_is_left_to_a_class_that_takes_any(
    tmp_path, monkeypatch
):
    (tmp_path / "open_ended.py").write_text(
        "class Base:\n    def __init__(self, **others):\n        self.others = others\n"
        "class Own(Base):\n    def __init__(self, first, **others):\n"
        "        super().__init__(**others)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    made = instantiate(OmegaConf.create({"_target_": "open_ended.Own", "first": 1, "other": 2}))
    assert made.others == {"other": 2}


@pytest.fixture
def conf(tmp_path, monkeypatch):
    """A copy of conf/ that counts, to be changed."""
    copy = tmp_path / "conf"
    shutil.copytree(CONF, str(copy))
    monkeypatch.setattr(config_module, "CONF", str(copy))
    return copy


@pytest.mark.parametrize(
    ("group", "file", "place"),
    [
        ("optimizer", "optimizers.yaml", "model.optimizer"),
        ("schedule", "schedules.yaml", "model.schedule"),
        ("loss", "losses.yaml", "model.loss"),
        ("debug", "debug.yaml", "trainer"),
    ],
)
def test_an_option_of_ones_own_is_a_key_of_the_file_or_a_file_in_a_folder(conf, group, file, place):
    settings = {"trainer": {"last_step": 7}} if group == "debug" else {"last_step": 7}
    with open(str(conf / file), "a") as options:
        options.write(OmegaConf.to_yaml({"key": settings}))
    (conf / group).mkdir()
    (conf / group / "file.yaml").write_text(OmegaConf.to_yaml(settings))
    run = conf.parent / "run"
    run.mkdir()
    (run / "config.yaml").write_text(OmegaConf.to_yaml(load_config([]), resolve=True))
    for name in ("key", "file"):
        config = load_config([f"{group}={name}"])
        assert OmegaConf.select(config, place).last_step == 7
        assert group not in config
        if group == "debug":
            assert load_config([f"run_dir={run}", f"debug={name}"]).trainer.last_step == 7
        else:
            with pytest.raises(ConfigError, match=rf"model\.{group}\._target_ was .*, is None"):
                load_config([f"run_dir={run}", f"{group}={name}"])
    (conf / group / "key.yaml").write_text("{}")
    with pytest.raises(ConfigError, match=r"key\.yaml: key is a key of another file"):
        load_config([])


def test_settings_of_ones_own_begin_with_the_sections_that_are_shared(conf):
    (conf / "data" / "mine.yaml").write_text(
        "defaults:\n  - /batching@_here_\n_target_: module.Data\nbatch_size: 7\n"
    )
    (conf / "model" / "mine.yaml").write_text(
        "defaults:\n  - /optimization@_here_\n  - /loss@loss: crossentropy\n"
        "  - /small_steps@_global_.trainer\n_target_: module.Model\n"
    )
    config = load_config(["data=mine", "model=mine", "optimizer=sgd", "loss=focal"])
    assert (config.data.batch_size, config.data.shuffle_buffer) == (7, 10000)
    assert config.model.clip.global_norm == 5
    assert config.model.loss.gamma == 2
    assert config.model.optimizer._target_.endswith(".GradientDescentOptimizer")
    assert config.trainer.inter_op_threads == -1


MINE = """defaults:
  - /optimization@_here_
_target_: my_project.model.mlp.MLP
hidden: 5
"""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (MINE + "\tdropout: 0.5\n", r"mine\.yaml, line 5: found character '\\t'"),
        (MINE + "hidden: 6\n", r"mine\.yaml, line 5: found duplicate key hidden"),
        ("", r"mine\.yaml: has no _target_; expected .* my_project\.model\.Model"),
        ("hidden: 5\n", r"mine\.yaml: has no _target_"),
        ("- hidden\n", "In 'model/mine': .*Cannot merge DictConfig with ListConfig"),
        (MINE + 'learning_rate: "1e-3"\n', r'MLP: learning_rate="1e-3" is a text; .* 0\.001 with'),
        (MINE + "freeze: dense_1\n", r'MLP: freeze="dense_1" is a text; expected .*\[dense_1\]'),
        (
            MINE.replace("defaults:", "defaults:\n  - /small_steps@_global_"),
            "sets int.*_op_threads outside of data, model and trainer",
        ),
    ],
)
def test_a_mistake_in_a_file_of_conf_is_one_line_that_says_where(conf, content, message):
    (conf / "model" / "mine.yaml").write_text(content)
    with pytest.raises(ConfigError, match=message) as caught:
        instantiate(load_config(["model=mine"]).model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("classes: ten", "Digits: found classes='ten'; expected an integer"),
        ("classes:", "Digits: found classes=None; expected an integer"),
        ("batch_size: many", "Digits: found batch_size='many'; expected an integer"),
        ("batch_size: 12.5", r"Digits: found batch_size=12\.5; expected an integer"),
        ("memory_fraction: 25%", "Digits: found memory_fraction='25%'; expected a number"),
        ("buckets: 5", r"Digits: found buckets=5; expected a list, as in \[1, 2\]"),
        ("stratify: never", "Digits: found stratify='never'; expected true or false"),
    ],
)
def test_a_value_of_another_type_in_a_file_of_conf_is_one_line(conf, setting, message):
    settings = f"_target_: my_project.data.digits.Digits\n{setting}\n"
    (conf / "data" / "mine.yaml").write_text(settings)
    (conf / "model" / "mine.yaml").write_text(f"{MINE}classes: ten\nfreeze: 5\n")
    config = load_config(["data=mine", "model=mine"])
    with pytest.raises(ConfigError, match=message) as caught:
        instantiate(config.data)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"MLP: found freeze=5; expected a list|classes='ten'"):
        instantiate(config.model)


def test_a_number_in_exponents_needs_no_point(conf):
    (conf / "model" / "mine.yaml").write_text(f"{MINE}learning_rate: 1e-3\n")
    assert load_config(["model=mine"]).model.learning_rate == 0.001


def test_each_command_has_its_own_settings_and_no_others():
    assert load_config(["split=test"], "evaluate").split == "test"
    assert load_config(["seconds=1"], "benchmark").seconds == 1
    for arguments in (["split=test"], ["command=evaluate"]):
        with pytest.raises(ConfigError, match="there is no such setting"):
            load_config(arguments)


def test_what_trains_through_keras_has_the_settings_of_a_session_and_its_own():
    session, keras = (load_config([f"trainer={name}"]).trainer for name in ("session", "keras"))
    assert set(keras) == {*session, "callbacks"}
    different = {key for key in session if session[key] != keras[key]}
    assert different == {"_target_", "evaluate_every_n_steps"}
    instantiate(load_config(["trainer=keras", "debug=limit"]).trainer)


def test_a_typed_last_step_counts_also_where_a_run_was_started_with_an_epoch(tmp_path):
    started = load_config(["data=digits", "trainer.last_epoch=1", f"run_dir={tmp_path}"])
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "model.ckpt-1.index").write_text("")
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(started, resolve=True))
    assert load_config([f"run_dir={tmp_path}"]).trainer.last_epoch == 1
    changed = load_config([f"run_dir={tmp_path}", "trainer.last_step=200"]).trainer
    assert (changed.last_step, changed.last_epoch) == (200, 0)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (
            {"_target_": "my_project.model.mlp.MLP", "depth": 3},
            r"model\.mlp\.MLP: takes no argument 'depth'",
        ),
        (
            {"_target_": "my_project.model.mlp.MPL"},
            r"model\.mlp\.MPL: there is no such class or function; did you mean MLP\?",
        ),
        (
            {
                "_target_": "my_project.model.mlp.MLP",
                "schedule": {
                    "_target_": "my_project.model.schedules.cosin",
                },
            },
            r"schedules\.cosin: there is no .*; did you mean cosine\?",
        ),
        (
            {
                "_target_": "my_project.model.mlp.MLP",
                "optimizer": {"_target_": "tensorflow.compat.v1.train.AdmOptimizer"},
            },
            r"AdmOptimizer: there is no .*; did you mean AdamOptimizer\?",
        ),
        (
            {
                "_target_": "my_project.model.mlp.MLP",
                "optimizer": {
                    "_target_": "tensorflow.compat.v1.train.AdamOptimizer",
                    "_partial_": True,
                    "beta3": 0.9,
                },
            },
            r"AdamOptimizer: takes no argument 'beta3'; did you mean beta",
        ),
        (
            {"_target_": "my_project.model.mlp.MLP", "learning_rat": 0.1},
            "'learning_rat'; did you mean learning_rate",
        ),
        (
            {
                "_target_": "my_project.model.losses.weighted_sum",
                "losses": [{"_target_": "my_project.model.losses.focal", "gama": 1}],
                "weights": [1],
            },
            r"losses\.focal: takes no argument 'gama'; did you mean gamma\?",
        ),
        (
            {"_target_": "my_project.model.losses.crossentropy", "gamma": 1},
            "takes no argument 'gamma'",
        ),
        (
            {"_target_": "my_project.data.images.Images", "directory": "x", "width": 1},
            r"Images: needs the argument 'height'",
        ),
        ({"_target_": "no_such_package.Model"}, r"no_such_package\.Model: there is no such"),
        ({"_target_": "my_project.model"}, r"my_project\.model: there is no such class"),
    ],
)
def test_a_class_or_argument_that_does_not_exist_is_an_error_with_the_nearest_name(node, message):
    with pytest.raises(ConfigError, match=message):
        instantiate(OmegaConf.create(node))


def test_a_small_models_file_sets_the_trainers_threads_which_a_typed_number_changes():
    def threads(*arguments):
        trainer = load_config(arguments).trainer
        return trainer.intra_op_threads, trainer.inter_op_threads

    assert threads() == threads("trainer=keras") == threads("debug=limit") == (1, -1)
    assert threads("model=cnn") == (0, 0)
    assert threads("trainer.inter_op_threads=2") == (1, 2)


def test_a_reference_to_what_nothing_sets_names_that_and_what_to_do(conf):
    (conf / "data" / "mine.yaml").write_text("_target_: module.Data\nbatch_size: 7\n")
    message = r"nothing sets data\.classes, which a file of conf/ refers to; add it to a file"
    with pytest.raises(ConfigError, match=message):
        load_config(["data=mine", "model=mlp"])
