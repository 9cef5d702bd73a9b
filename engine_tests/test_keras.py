"""Training through Keras: the same weights, numbers and run directory as in a session."""

import csv
import functools
import json
import os
import signal

import h5py
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.engine.errors import (
    ConfigError,
    ModelError,
    RunError,
)
from my_project.engine.keras.hdf5 import load_model
from my_project.engine.keras.trainer import KerasTrainer
from my_project.engine.run.metrics import read_metrics
from my_project.engine.settings.config import load_config
from my_project.model.losses import (
    activity_penalty,
    class_weighted,
    focal,
    label_smoothing,
    offset_crossentropy,
    weighted_sum,
)
from my_project.model.mlp import MLP
from my_project.train.__main__ import train


@pytest.fixture
def keras_fit(digits):
    """As `fit`, through Keras; an epoch has 10 steps."""

    def fit(run_dir, last_step=20, model=None, **arguments):
        trainer = KerasTrainer(run_dir=str(run_dir), last_step=last_step, **arguments)
        trainer.results = trainer.fit(model or MLP(hidden=16, dropout=0.5), digits)
        return trainer

    return fit


@pytest.fixture
def test_split(digits):
    """Images and labels as arrays."""
    digits.prepare()
    images, labels = digits.files("test")
    pixels = np.fromfile(images, np.uint8)[16:].reshape(130, 28, 28, 1)
    return pixels.astype(np.float32) / 255, np.fromfile(labels, np.uint8)[8:].astype(np.int32)


def equal(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def lines(run_dir, split):
    found = read_metrics(str(run_dir / "metrics.jsonl"))
    return [line for line in found if line["split"] == split]


def test_a_run_leaves_what_a_session_leaves_and_what_keras_adds(keras_fit, tmp_path):
    trainer = keras_fit(
        tmp_path, 25, log_every_n_steps=5, checkpoint_every_n_steps=10, summary_every_n_steps=5
    )
    assert [line["step"] for line in lines(tmp_path, "train")] == [1, 5, 10, 15, 20, 25]
    assert [line["step"] for line in lines(tmp_path, "test")] == [10, 20, 25]
    assert lines(tmp_path, "test")[-1]["loss"] == trainer.results["loss"]
    state = tf.train.get_checkpoint_state(str(tmp_path / "checkpoints"))
    steps = [path.rpartition("-")[2] for path in state.all_model_checkpoint_paths]
    assert steps == ["10", "20", "25"]
    best = json.loads((tmp_path / "best" / "best.json").read_text())
    assert best["value"] == min(line["loss"] for line in lines(tmp_path, "test"))
    with open(str(tmp_path / "epochs.csv"), newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert float(rows[-1]["val_accuracy"]) == trainer.results["accuracy"]
    with pytest.raises(ConfigError, match=r"was trained without settings; give a new Model"):
        load_model(str(tmp_path / "model.h5"))
    points = {}
    for folder in (tmp_path, tmp_path / "eval"):
        for path in folder.glob("events*"):
            for event in tf.train.summary_iterator(str(path)):
                for value in event.summary.value:
                    points.setdefault((folder.name, value.tag), []).append(event.step)
    assert points[(tmp_path.name, "loss")] == [1, 5, 10, 15, 20, 25]
    assert points[("eval", "loss")] == points[("eval", "accuracy")] == [10, 20, 25]
    assert (tmp_path / "model.h5").exists()
    assert (tmp_path / "record.json").exists()


@pytest.mark.parametrize("trainer", ["keras_fit", "fit"])
def test_an_offset_of_the_loss_changes_no_bit_of_the_weights(trainer, request, tmp_path, variables):
    losses = {}
    for offset in (0, 5, 10):
        run_dir = tmp_path / str(offset)
        model = MLP(hidden=16, dropout=0.5, loss=offset_crossentropy(offset))
        request.getfixturevalue(trainer)(run_dir, last_step=12, model=model)
        losses[offset] = lines(run_dir, "train")[-1]["loss"]
        equal(variables(run_dir), variables(tmp_path / "0"))
    assert losses[5] - losses[0] == pytest.approx(5, abs=1e-5)
    assert losses[10] - losses[0] == pytest.approx(10, abs=1e-5)


def test_from_one_checkpoint_both_trainers_come_to_the_same_weights_and_numbers(
    fit, keras_fit, tmp_path, variables, test_split
):
    for name in ("session", "keras"):
        fit(tmp_path / name, last_step=7)
    in_session = fit(tmp_path / "session", last_step=20)
    by_keras = keras_fit(tmp_path / "keras", 20).results
    equal(variables(tmp_path / "session"), variables(tmp_path / "keras"))
    assert by_keras == in_session
    logged = [lines(tmp_path / name, "train")[-1]["loss"] for name in ("session", "keras")]
    assert logged[0] == pytest.approx(logged[1], rel=1e-6)
    # Keras itself, on arrays; the last batch is a short one.
    with tf.Graph().as_default():
        loaded = load_model(str(tmp_path / "keras" / "model.h5"), MLP(hidden=16, dropout=0.5))
        numbers = loaded.evaluate(*test_split, batch_size=64, verbose=0)
    assert dict(zip(loaded.metrics_names, numbers)) == pytest.approx(in_session, rel=1e-5)


def test_a_restart_gives_the_weights_and_evaluations_of_a_run_that_was_never_stopped(
    keras_fit, tmp_path, variables
):
    keras_fit(tmp_path / "straight", 25)
    keras_fit(tmp_path / "stopped", 13)
    keras_fit(tmp_path / "stopped", 25)
    equal(variables(tmp_path / "straight"), variables(tmp_path / "stopped"))
    stopped = {line["step"]: line for line in lines(tmp_path / "stopped", "test")}
    assert all(stopped[line["step"]] == line for line in lines(tmp_path / "straight", "test"))


class At(tf.keras.callbacks.Callback):
    """A user's own callback: acts after n batches, and keeps epochs' numbers."""

    def __init__(self, batches=0, action=None):
        super().__init__()
        self.left, self.action, self.epochs = batches, action, []

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            self.action()

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append((epoch, sorted(logs)))


def test_sigterm_saves_and_leaves_and_callbacks_see_epochs(keras_fit, tmp_path, variables):
    handler = signal.getsignal(signal.SIGTERM)
    stop = At(13, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(KeyboardInterrupt, match=f"signal {int(signal.SIGTERM)}"):
        keras_fit(tmp_path / "run", 1000, callbacks=[stop])
    assert signal.getsignal(signal.SIGTERM) is handler
    assert variables(tmp_path / "run")["global_step"] in (13, 14)
    callback = At()
    keras_fit(tmp_path / "run", 30, callbacks=[callback])
    numbers = ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert callback.epochs == [(1, numbers), (2, numbers)]


def test_epochs_csv_has_each_epoch_once_also_after_restarts(keras_fit, tmp_path):
    for last_step in (13, 15, 30):  # in the second epoch, twice
        keras_fit(tmp_path / "run", last_step, checkpoint_every_n_steps=10)
    for kind in ("index", "data-00000-of-00001"):  # of a run that was killed after step 30
        os.remove(str(tmp_path / "run" / "checkpoints" / f"model.ckpt-30.{kind}"))
    keras_fit(tmp_path / "run", 30)
    lines = (tmp_path / "run" / "epochs.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", "0", "1", "2"]


def test_training_stops_early_and_stays_stopped(keras_fit, tmp_path, variables):
    # The loss falls, so that the first is the best if the greatest is.
    keras_fit(tmp_path, 1000, mode="max", patience=2)
    assert variables(tmp_path)["global_step"] == 30
    assert json.loads((tmp_path / "best" / "best.json").read_text())["step"] == 10


def test_a_step_that_is_not_finite_ends_the_run_with_a_finite_checkpoint(
    keras_fit, tmp_path, variables
):
    class Explodes(MLP):
        def loss(self, outputs, labels):
            step = tf.train.get_global_step().read_value()
            return super().loss(outputs, labels) + tf.where(tf.equal(step, 14), np.nan, 0.0)

    with pytest.raises(RunError, match="not finite after step 14"):
        keras_fit(tmp_path, 30, model=Explodes(hidden=16), checkpoint_every_n_steps=10)
    assert variables(tmp_path)["global_step"] == 10
    assert all(np.isfinite(values).all() for values in variables(tmp_path).values())


@pytest.mark.parametrize("trainer", ["keras_fit", "fit"])
def test_a_loss_may_look_at_an_activity_of_the_model(trainer, request, tmp_path, test_split):
    class Sparse(MLP):
        def call(self, inputs, training=False):
            self.activity = self.dense(self.flatten(inputs))
            return self.logits(self.activity)

        def loss(self, outputs, labels):
            losses = [self.loss_function, activity_penalty(self.activity)]
            return tf.reduce_mean(weighted_sum(losses, [1, 0.5])(labels, outputs))

    request.getfixturevalue(trainer)(tmp_path, last_step=10, model=Sparse(hidden=16))
    found = lines(tmp_path, "test")[-1]["loss"]
    read = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(tmp_path / "checkpoints")))
    images, labels = test_split
    kernels = [read.get_tensor(f"sparse/{name}/kernel") for name in ("dense", "dense_1")]
    biases = [read.get_tensor(f"sparse/{name}/bias") for name in ("dense", "dense_1")]
    activity = np.maximum(images.reshape(130, 784) @ kernels[0] + biases[0], 0)
    logits = activity @ kernels[1] + biases[1]
    cross = np.log(np.exp(logits).sum(1)) - logits[np.arange(130), labels]
    assert found == pytest.approx((cross + 0.5 * (activity**2).mean(1)).mean(), rel=1e-4)


@pytest.mark.parametrize("trainer", ["keras_fit", "fit"])
def test_labels_of_more_classes_than_the_model_has_are_its_fault(trainer, request, tmp_path):
    message = "a label that is not 0 to 4: the model has 5 classes, Digits has 10; set"
    with pytest.raises(ModelError, match=message):
        request.getfixturevalue(trainer)(tmp_path, model=MLP(classes=5))


def test_a_measure_whose_name_keras_cannot_take_is_refused(keras_fit, tmp_path):
    class Named(MLP):
        def measure(self, outputs, labels):
            return {"précision": super().measure(outputs, labels)["accuracy"]}

    with pytest.raises(ModelError, match=r'found "précision"; .* expected a name of ASCII letters'):
        keras_fit(tmp_path, model=Named(hidden=4))


def test_a_file_of_the_command_is_loaded_with_the_loss_of_its_run_and_no_other(
    tmp_path, digits, test_split
):
    sizes = ["data.train_examples=640", "data.test_examples=130", "data.batch_size=64"]
    directory = f"data.directory={os.path.dirname(digits.directory)}"
    begin = ["data=digits", *sizes, directory, f"run_dir={tmp_path}", "model.hidden=16"]
    loss = ["loss=offset_crossentropy", "model.loss.offset=10"]
    assert train([*begin, *loss, "trainer=keras", "trainer.last_step=10"]) == 0
    path = str(tmp_path / "elsewhere.h5")
    (tmp_path / "model.h5").rename(path)
    with tf.Graph().as_default():
        loaded = load_model(path)
        loss, _ = loaded.evaluate(*test_split, verbose=0)
        assert loss == pytest.approx(lines(tmp_path, "test")[-1]["loss"], rel=1e-5)
        assert 11 < loss < 13
        # It is a file of weights, too.
        weights = loaded.get_weights()
        loaded.set_weights([0 * values for values in weights])
        loaded.load_weights(path)
        for before, after in zip(weights, loaded.get_weights()):
            np.testing.assert_array_equal(before, after)
    node = load_config([f"run_dir={tmp_path}"]).model
    with tf.Graph().as_default():
        assert load_model(path, node).metrics_names == ["loss", "accuracy"]
    for change, message in (
        ({"loss": {**node.loss, "offset": 5}}, r"model\.loss\.offset=10\.?0?, found 5"),
        (
            {"loss": {"_target_": "my_project.model.losses.focal"}},
            r"loss\._target_=.* found .*focal",
        ),
        ({"dropout": 0.5}, r"model\.dropout=0\.2, found 0\.5"),
    ):
        with pytest.raises(ConfigError, match=f"elsewhere.h5: was trained with .*{message}$"):
            load_model(path, {**node, **change})
    with pytest.raises(ConfigError, match="was trained with settings; compare these, not a Model"):
        load_model(path, MLP(hidden=16, loss=offset_crossentropy(10)))
    with pytest.raises(ConfigError, match=r"model\.loss\.offset was 10, is 5"):
        train([f"run_dir={tmp_path}", "model.loss.offset=5", "trainer.last_step=20"])
    # A file of somebody else runs no code.
    with h5py.File(path, "r") as file:
        architecture, written = file.attrs["model_config"], json.loads(file["trained_with"][()])
    layers = json.dumps(json.loads(architecture))
    settings = written["settings"]
    for hostile, layer, message in (
        ({"_target_": "os.system", "command": "true"}, "InputLayer", r"h5: names os\.system"),
        ({**settings, "hidden": "${oc.env:HOME}"}, "InputLayer", r"h5: found the reference"),
        (settings, "Lambda", "h5: holds Lambda; expected what trainer=keras wrote"),
    ):
        with h5py.File(path, "a") as file:
            file.attrs["model_config"] = layers.replace("InputLayer", layer)
            del file["trained_with"]
            file["trained_with"] = json.dumps({**written, "settings": hostile})
        with pytest.raises((ConfigError, RunError), match=message):
            load_model(path)


def test_a_file_holds_its_weights_in_one_order_whatever_was_frozen(keras_fit, tmp_path, test_split):
    class Square(MLP):
        """Three layers of one shape, which nothing but their order tells apart."""

        def build(self, input_shape):
            super().build(input_shape)
            self.more = [tf.keras.layers.Dense(self.classes) for _ in range(2)]

        def call(self, inputs, training=False):
            return self.more[1](self.more[0](super().call(inputs, training)))

    trainer = keras_fit(tmp_path, model=Square(hidden=10, freeze=["dense_2/"]))
    with tf.Graph().as_default():
        loaded = load_model(str(tmp_path / "model.h5"), Square(hidden=10))
        loss, _ = loaded.evaluate(*test_split, verbose=0)
    assert loss == pytest.approx(trainer.results["loss"], rel=1e-5)


def test_a_file_without_settings_is_loaded_with_its_own_model_alone(keras_fit, tmp_path):
    class Other(MLP):
        pass

    keras_fit(tmp_path, 1, model=MLP(hidden=16))
    path = str(tmp_path / "model.h5")
    built = MLP(hidden=16)
    with tf.Graph().as_default():
        built(tf.zeros([1, 28, 28, 1]))
    for model, message in (
        (Other(hidden=16), "the class MLP, found Other"),
        (MLP(hidden=12), r"the weights .*16.*, found .*12"),
        (built, "give a new Model"),
    ):
        with tf.Graph().as_default(), pytest.raises(ConfigError, match=message):
            load_model(path, model)


def test_a_file_that_cannot_be_written_costs_no_step(keras_fit, tmp_path, monkeypatch, variables):
    def full(*arguments, **others):
        raise OSError("No space left on device")

    monkeypatch.setattr(tf.keras.Model, "save", full)
    with pytest.raises(RunError, match="No space left"):
        keras_fit(tmp_path, 15)
    assert variables(tmp_path)["global_step"] == 15


@pytest.mark.parametrize(
    ("loss", "change"),
    [
        (offset_crossentropy(10), lambda cross, p: cross + 10),
        (label_smoothing(0.2), lambda cross, p: 0.8 * cross - 0.2 * np.log(p).mean(1)),
        (focal(2), lambda cross, p: (1 - np.exp(-cross)) ** 2 * cross),
        (class_weighted([2.0] * 10), lambda cross, p: 2 * cross),
        (weighted_sum([focal(0), offset_crossentropy(1)], [1, 3]), lambda cross, p: 4 * cross + 3),
    ],
)
def test_a_plain_model_of_keras_is_compiled_and_trained_with_a_closure(loss, change, test_split):
    images, labels = test_split
    with tf.Graph().as_default(), tf.Session().as_default():
        tf.set_random_seed(1)
        layers = tf.keras.layers
        model = tf.keras.Sequential([layers.Flatten(), layers.Dense(10)])
        model.compile(tf.keras.optimizers.Adam(0.01), loss=loss)
        history = model.fit(images, labels, epochs=3, batch_size=130, verbose=0).history["loss"]
        logits = model.predict(images).astype(np.float64)
        found = model.evaluate(images, labels, batch_size=130, verbose=0)
    assert history[2] < history[1] < history[0]
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    cross = -np.log(p[np.arange(len(labels)), labels])
    assert found == pytest.approx(change(cross, p).mean(), rel=1e-4)


def test_callbacks_that_set_the_rate_are_refused(keras_fit, tmp_path):
    with pytest.raises(ConfigError, match="ReduceLROnPlateau cannot set the rate"):
        keras_fit(tmp_path, callbacks=[tf.keras.callbacks.ReduceLROnPlateau()])


def test_a_loss_may_be_an_object_and_outputs_may_be_a_dict(keras_fit, tmp_path):
    given = functools.partial(
        lambda y_true, y_pred, factor: factor * focal()(y_true, y_pred), factor=2
    )
    assert keras_fit(tmp_path / "partial", 2, model=MLP(hidden=16, loss=given)).results

    class Two(MLP):
        def call(self, inputs, training=False):
            return {"one": super().call(inputs, training), "other": tf.reshape(inputs, [-1, 784])}

        def measure(self, outputs, labels):
            return super().measure(outputs["one"], labels)

        def predict(self, outputs):
            return super().predict(outputs["one"])

    def loss(y_true, y_pred):
        return focal()(y_true, y_pred["one"]) + tf.reduce_mean(y_pred["other"], 1)

    assert keras_fit(tmp_path / "two", 2, model=Two(hidden=16, loss=loss)).results


def test_a_file_that_is_none_is_named(tmp_path):
    (tmp_path / "model.h5").write_text("corrupt")
    for name in ("model.h5", "missing.h5"):
        with pytest.raises(RunError, match=f"{name}: cannot be read; expected"):
            load_model(str(tmp_path / name))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hooks": [tf.train.SessionRunHook()]}, r"trainer\.hooks: .* takes callbacks"),
        ({"profile_steps": [5, 6]}, r"trainer\.profile_steps: found \[5, 6\], which"),
        ({"histograms": True}, r"trainer\.histograms: found True, which"),
        ({"evaluate_every_n_steps": 5}, r"evaluate_every_n_steps: found 5, .* after each epoch"),
        ({"mode": "least"}, 'mode="least", expected min or max'),
        ({"metric": "f1"}, 'metric="f1"; expected one .*accuracy'),
    ],
)
def test_settings_without_a_meaning_are_refused(keras_fit, tmp_path, arguments, message):
    with pytest.raises(ConfigError, match=message):
        keras_fit(tmp_path / "run", 10, **arguments)
