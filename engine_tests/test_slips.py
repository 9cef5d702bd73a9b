"""Slips in one's own classes are named, and what looks like one has the right numbers."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.engine.errors import ConfigError, DataError, ModelError, RunError
from my_project.engine.input.elements import iterate
from my_project.engine.input.numpy_slices import numpy_slices
from my_project.engine.input.predict_files import PredictFiles
from my_project.engine.keras.trainer import KerasTrainer
from my_project.engine.tools.contact_sheet import contact_sheet
from my_project.engine.tools.predictions import write_predictions
from my_project.engine.tools.restored import Restored
from my_project.engine.tools.results import evaluate_run
from my_project.engine.tools.saved_model import write_saved_model
from my_project.engine.tools.table import configs_of_runs
from my_project.model.classifier import Classifier
from my_project.model.mlp import MLP
from my_project.model.model import Model
from my_project.train.__main__ import train
from my_project.train.hooks.best import read_best
from my_project.train.hooks.every import EveryHook
from my_project.train.trainer import SessionTrainer
from toy import Toy, Y


class Loaded:
    """A trained model in a graph of its own, as `Restored` gives it to commands."""

    step, class_names = 5, ()

    def __init__(self, model, dataset, run_dir):
        self.model, self.dataset = model, dataset
        self.checkpoint = tf.train.latest_checkpoint(f"{run_dir}/checkpoints")
        self.config = SimpleNamespace(
            run_dir=run_dir, trainer=SimpleNamespace(allow_changes=[], limit_batches=0)
        )
        self.record = {}
        self.session_config = SessionTrainer().session_config

    def graph(self):
        return tf.Graph().as_default()

    prepare = Restored.prepare
    session = Restored.session
    _restore = Restored._restore


@pytest.mark.parametrize("name", ["part_0", "part_10"])
def test_a_layer_called_as_the_part_of_a_variable_resumes(fit, tmp_path, variables, name):
    class Parts(Classifier):
        def build(self, input_shape):
            self.hidden = tf.keras.layers.Dense(8, name=name)
            self.logits = tf.keras.layers.Dense(self.classes)
            super().build(input_shape)

        def call(self, inputs, training=False):
            return self.logits(self.hidden(inputs))

    for steps in (5, 10):
        fit(tmp_path / "resumed", steps, Parts(classes=3), Toy(batch_size=10))
    fit(tmp_path / "straight", 10, Parts(classes=3), Toy(batch_size=10))
    resumed, straight = variables(tmp_path / "resumed"), variables(tmp_path / "straight")
    assert f"parts/{name}/kernel" in straight
    for key, value in straight.items():
        np.testing.assert_array_equal(resumed[key], value, key)


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_records_that_shuffle_are_refused(fit, tmp_path, share):
    class Shuffles(Toy):
        def records(self, split):
            return super().records(split).shuffle(101)

    dataset = Shuffles(batch_size=10, validation_share=share)
    with pytest.raises(DataError, match=r"Shuffles\.records: found a shuffle, .*shuffle=False"):
        fit(tmp_path / "run", 5, MLP(classes=3), dataset)


def test_files_that_are_listed_in_any_order_are_refused(fit, tmp_path):
    (tmp_path / "a.txt").write_text("1\n")

    class Lists(Toy):
        def records(self, split):
            return tf.data.Dataset.list_files(f"{tmp_path}/*.txt")

    with pytest.raises(DataError, match="found a shuffle"):
        fit(tmp_path / "run", 5, MLP(classes=3), Lists(batch_size=1))


@pytest.mark.parametrize("fraction", [0.0, 0.25])
def test_records_without_an_end_are_refused(fit, tmp_path, fraction):
    class Repeats(Toy):
        def records(self, split):
            return super().records(split).repeat()

    with pytest.raises(DataError, match=r"Repeats\.records: found a \w+ split without an end"):
        fit(tmp_path / "run", 5, MLP(classes=3), Repeats(batch_size=10, memory_fraction=fraction))


def test_features_of_another_number_than_the_labels_are_refused_in_evaluation(fit, tmp_path):
    class Grid(Toy):
        def convert(self, x, y):
            return {"grid": tf.ones([10, 4]), "x": x}, y

    class First(MLP):
        def call(self, inputs, training=False):
            return super().call(inputs["x"], training)

    message = r"Grid\.convert: found \[10, 20, 20\] examples"
    with pytest.raises(DataError, match=message):
        fit(tmp_path / "run", 5, First(classes=3), Grid(batch_size=20))


@pytest.mark.parametrize("batch_size", [7, 32, 101])
def test_a_measure_of_some_of_the_examples_is_the_mean_of_all_of_these(tmp_path, fit, batch_size):
    class Masked(MLP):
        def measure(self, outputs, labels):
            hits = super().measure(outputs, labels)["accuracy"]
            return {"ones": tf.boolean_mask(hits, tf.equal(labels, 1)), "all": hits}

    run_dir = str(tmp_path / "run")
    fit(run_dir, 5, Masked(classes=3, hidden=8), Toy(batch_size=10))
    loaded = Loaded(Masked(classes=3, hidden=8), Toy(batch_size=batch_size), run_dir)
    row = evaluate_run(loaded, "test")
    matrix = np.array(row["confusion"])
    assert row["ones"] == pytest.approx(matrix[1, 1] / matrix[1].sum(), abs=1e-6)
    assert row["all"] == pytest.approx(np.trace(matrix) / 101, abs=1e-6)


@pytest.mark.parametrize("trainer", [SessionTrainer, KerasTrainer])
@pytest.mark.parametrize(
    ("predict", "found"),
    [
        (lambda outputs: outputs, "<tf.Tensor"),
        (lambda outputs: None, "None"),
        (lambda outputs: {}, "{}"),
        (lambda outputs: {"class": 3}, r"{'class': 3}"),
    ],
)
def test_predictions_that_are_no_dict_of_tensors_are_refused_before_training(
    tmp_path, predict, found, trainer
):
    class Wrong(MLP):
        def predict(self, outputs):
            return predict(outputs)

    message = f"wrong.predict: found {found}.*, expected a dict name -> tensor"
    with pytest.raises(ModelError, match=message) as caught:
        trainer(str(tmp_path / "run"), last_step=5).fit(Wrong(classes=3), Toy(batch_size=10))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("features", "found"),
    [
        (lambda x: {"sequence": x, "length": x[:, 0]}, r"{'\w+': 'float32 \(10"),
        (lambda x: (x, x), r"\('float32 \(10, 4\)', 'float32 "),
        (lambda x: tf.sparse.from_dense(x), "float32 "),
    ],
)
def test_the_mlp_refuses_features_that_are_not_one_array(fit, tmp_path, features, found):
    class Other(Toy):
        def convert(self, x, y):
            return features(x), y

    message = rf"mlp: found features {found}.*, expected one array \["
    refused(fit, tmp_path / "run", ModelError, message, dataset=Other(batch_size=10))


class Bare(MLP):
    """Casts its features by itself."""

    def call(self, inputs, training=False):
        return self.logits(tf.cast(inputs, tf.float32))


@pytest.mark.parametrize("model", [MLP, Bare])
def test_an_imaginary_part_is_not_dropped_in_silence(fit, tmp_path, model):
    class Complex(Toy):
        def convert(self, x, y):
            return tf.complex(x, x), y

    message = f"{model.__name__.lower()}: .* drops the imaginary part of .*; take both"
    refused(fit, tmp_path / "run", ModelError, message, model(classes=3), Complex(batch_size=10))


def test_predictions_that_do_not_take_the_outputs_are_refused(fit, tmp_path):
    class Two(MLP):
        def call(self, inputs, training=False):
            return {"one": super().call(inputs, training)}

        def loss(self, outputs, labels):
            return super().loss(outputs["one"], labels)

        def measure(self, outputs, labels):
            return {}

    message = "two.predict: found outputs that are a dict, which it does not take; write one"
    refused(fit, tmp_path / "run", ModelError, message, Two(classes=3))


def test_a_prediction_that_is_none_of_each_example_is_refused(fit, tmp_path):
    class Known(MLP):
        def predict(self, outputs):
            return {**super().predict(outputs), "known": tf.range(3)}

    class Lines(Toy):
        def records(self, split):
            raise AssertionError

        def from_file(self, path):
            return tf.zeros([4])

    run_dir = str(tmp_path / "run")
    fit(run_dir, 5, Known(classes=3, hidden=8), Toy(batch_size=10))
    for name in "abcd":
        (tmp_path / name).write_text("")
    dataset = Lines(batch_size=10)
    files = PredictFiles(dataset, [str(tmp_path / name) for name in "abcd"])
    loaded = Loaded(Known(classes=3, hidden=8), dataset, run_dir)
    message = r"known\.predict: known is of shape \(3,\), expected \[batch, \.\.\.\] .* of 4"
    with pytest.raises(ModelError, match=message):
        write_predictions(loaded, files, str(tmp_path / "predictions.jsonl"))
    assert not (tmp_path / "predictions.jsonl").exists()


def test_labels_with_fractions_are_no_classes(fit, tmp_path):
    class Floats(Toy):
        def convert(self, x, y):
            return x, tf.cast(y, tf.float32) * (0.5 if self.halves else 1.0)

    Floats.halves = False
    assert fit(tmp_path / "whole", 5, MLP(classes=3), Floats(batch_size=10))
    Floats.halves = True
    with pytest.raises(ModelError, match=r"labels that are no integers, .* another loss"):
        fit(tmp_path / "run", 5, MLP(classes=3), Floats(batch_size=10))


def test_one_hot_labels_are_refused_with_what_to_do(fit, tmp_path):
    class OneHot(Toy):
        def convert(self, x, y):
            return x, tf.one_hot(y, 3)

    with pytest.raises(ModelError, match=r"found labels \(.*3\), .* tf\.argmax\(labels, 1\)"):
        fit(tmp_path / "run", 5, MLP(classes=3), OneHot(batch_size=10))


def test_a_number_that_is_no_loss_needs_to_know_what_is_better(fit, tmp_path):
    model = MLP(classes=3, hidden=8)
    with pytest.raises(ConfigError, match=r'mode="", expected min or max, .* accuracy'):
        fit(tmp_path / "run", 5, model, Toy(batch_size=10), metric="accuracy")
    model = MLP(classes=3, hidden=8)
    every = {"evaluate_every_n_steps": 5, "metric": "accuracy", "mode": "max"}
    fit(tmp_path / "run", 40, model, Toy(batch_size=10), **every)
    with open(tmp_path / "run" / "metrics.jsonl") as file:
        rows = [row for row in map(json.loads, file) if row["split"] == "test"]
    assert read_best(str(tmp_path / "run" / "best"))["value"] == max(r["accuracy"] for r in rows)


def test_a_training_that_a_hook_ends_is_evaluated_where_it_ends(fit, tmp_path):
    class Stop(EveryHook):
        def after_run(self, run_context, run_values):
            super().after_run(run_context, run_values)
            if self.step >= 13:
                run_context.request_stop()

        def act(self, session, step, values):
            pass

    fit(tmp_path / "run", 40, MLP(classes=3), Toy(batch_size=10), hooks=[Stop(every_n_steps=1)])
    with open(tmp_path / "run" / "metrics.jsonl") as file:
        rows = [row for row in map(json.loads, file) if row["split"] == "test"]
    assert [row["step"] for row in rows] == [13]
    assert read_best(str(tmp_path / "run" / "best"))["step"] == 13


class Words(Toy):
    """A lookup table in `convert`."""

    def records(self, split):
        return tf.data.Dataset.from_tensor_slices((np.array([b"a", b"b", b"c"])[Y], Y))

    def convert(self, words, y):
        keys, values = tf.constant(["a", "b"]), tf.constant([0, 1], tf.int64)
        initializer = tf.lookup.KeyValueTensorInitializer(keys, values)
        table = tf.lookup.StaticHashTable(initializer, 2)
        return tf.one_hot(table.lookup(words), 3), y


def test_a_dataset_with_a_lookup_table_is_shown_and_exported(fit, tmp_path):
    run_dir = str(tmp_path / "run")
    fit(run_dir, 5, MLP(classes=3, hidden=8), Words(batch_size=10))
    assert len(contact_sheet(Words(batch_size=10), "train", 4).axes) == 4
    loaded = Loaded(MLP(classes=3, hidden=8), Words(batch_size=10), run_dir)
    assert "probabilities" in write_saved_model(loaded, str(tmp_path / "export"))


def test_a_dataset_that_got_more_records_is_counted_again(fit, tmp_path):
    class Grows(Toy):
        rows = 60

        def records(self, split):
            return super().records(split).take(self.rows)

    dataset = Grows(batch_size=10)
    for dataset.rows, steps in ((60, 5), (100, 10)):
        fit(tmp_path / str(steps), steps, MLP(classes=3, hidden=8), dataset)
        assert dataset.count("train") == dataset.rows


def test_a_variable_that_is_called_average_is_none_of_another(fit, tmp_path, variables):
    class Average(Classifier):
        def build(self, input_shape):
            self.average = self.add_weight("average", [4, self.classes])
            super().build(input_shape)

        def call(self, inputs, training=False):
            return tf.matmul(inputs, self.average)

    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    fit(first, 5, Average(classes=3), Toy(batch_size=10))
    warm = Average(classes=3, warm_start={"checkpoint": first}, learning_rate=0.0)
    fit(second, 1, warm, Toy(batch_size=10))
    name = "average/average"
    np.testing.assert_array_equal(variables(first)[name], variables(second)[name])


def test_a_sweep_over_losses_has_the_setting_and_the_number(tmp_path, digits_directory):
    data = ["data=digits", f"data.directory={digits_directory}", "data.batch_size=64"]
    data += ["data.train_examples=640", "data.test_examples=130", "model.hidden=16"]
    run_dir = tmp_path / "sweep"
    typed = [*data, "trainer.last_step=3", "loss=focal,crossentropy", f"run_dir={run_dir}"]
    assert train(["-m", *typed]) == 0
    with open(run_dir / "results.csv") as file:
        rows = list(csv.DictReader(file))
    assert {row["loss"] for row in rows} == {"focal", "crossentropy"}
    assert all(float(row["test loss"]) > 0 for row in rows)
    one, other = (row["run"] for row in rows)
    (run_dir / "broken" / "checkpoints").mkdir(parents=True)
    found = configs_of_runs([f"run_dir={run_dir}/*"], "evaluate")
    assert sorted(config.run_dir for config in found) == sorted([one, other])


def test_another_seed_or_batch_size_is_refused_from_python_too(fit, tmp_path):
    def resume(steps, batch_size=10, data_seed=1, **others):
        dataset = Toy(batch_size=batch_size, seed=data_seed)
        return fit(tmp_path / "run", steps, MLP(classes=3, hidden=8), dataset, **others)

    resume(5)
    for changed, found in (
        ({"seed": 7}, "seed was 1, is 7"),
        ({"data_seed": 7}, r"data\.seed was 1, is 7"),
        (
            {"batch_size": 20},
            r"data\.batch_size was 10, is 20; .*allow_changes=\[data\.batch_size\]",
        ),
    ):
        with pytest.raises(RunError, match=found):
            resume(10, **changed)
    resume(10)
    resume(12, batch_size=np.int64(10))
    resume(13, batch_size=np.int64(10))
    resume(15, batch_size=20, allow_changes=["data.batch_size"])
    resume(20, batch_size=20)


class Column(Toy):
    """The first number, of which labels are made as `made` says."""

    made = staticmethod(lambda y: y)

    def convert(self, x, y):
        return x, self.made(y)


class Line(Model):
    """A regression: outputs [batch, 1]."""

    def build(self, input_shape):
        self.dense = tf.keras.layers.Dense(1)
        super().build(input_shape)

    def call(self, inputs, training=False):
        return self.dense(inputs)

    def loss(self, outputs, labels):
        return tf.reduce_mean(tf.square(outputs - labels))

    def predict(self, outputs):
        return {"value": outputs}


def refused(fit, path, error, message, model=None, dataset=None):
    with pytest.raises(error, match=message) as caught:
        fit(path, 5, model or MLP(classes=3, hidden=4), dataset or Toy(batch_size=10))
    assert "\n" not in str(caught.value)


def test_labels_of_unknown_rank_are_refused(fit, tmp_path):
    class Unknown(Column):
        made = staticmethod(lambda y: tf.py_func(lambda x: np.float32(x), [y], tf.float32))

    message = r"Unknown\.convert: found a tensor of unknown rank, .*set_shape"
    refused(fit, tmp_path / "run", DataError, message, Line(), Unknown(batch_size=10))


@pytest.mark.parametrize(
    ("made", "error", "message"),
    [
        (tf.as_string, ModelError, "labels of type string, expected the number of a class"),
        (lambda y: tf.cast(y, tf.float32) + 1, DataError, "record .*: expected labels .*, found 3"),
        (lambda y: tf.cast(y, tf.float32) / tf.cast(y, tf.float32), DataError, "found -?nan"),
        (lambda y: tf.cast(y, tf.int64) + 2**32, DataError, "found 429496729"),
    ],
)
def test_a_label_that_is_no_class_is_named_with_its_record(fit, tmp_path, made, error, message):
    class Wrong(Column):
        pass

    Wrong.made = staticmethod(made)
    refused(fit, tmp_path / "run", error, message, None, Wrong(batch_size=10))


def test_text_where_numbers_are_needed_is_one_line(fit, tmp_path):
    class Text(Toy):
        def convert(self, x, y):
            return tf.as_string(x), y

    message = "TensorFlow cannot: .*Cast string to float is not supported; let convert return"
    refused(fit, tmp_path / "run", ModelError, message, None, Text(batch_size=10))


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (lambda hits: {"f1": (tf.reduce_sum(hits), tf.reduce_sum(hits))}, "f1 is a pair.*Ratio"),
        (lambda hits: {"recall": hits[:3]}, r"recall is \(3,\), expected \[batch\] or a single"),
        (lambda hits: {"confusion": hits}, "the name confusion is taken"),
        (lambda hits: {"nothing": None}, "nothing is None; expected a tensor"),
    ],
)
def test_a_measure_that_is_none_is_refused(fit, tmp_path, measure, message):
    class Measured(MLP):
        def measure(self, outputs, labels):
            return measure(super().measure(outputs, labels)["accuracy"])

    refused(fit, tmp_path / "run", ModelError, message, Measured(classes=3, hidden=4))


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda labels, outputs: None, "loss is None, expected a tensor"),
        (lambda labels, outputs: labels, "expected a tensor with a single float"),
    ],
)
def test_a_loss_that_is_none_or_an_integer_is_refused(fit, tmp_path, loss, message):
    refused(fit, tmp_path / "run", ModelError, message, MLP(classes=3, hidden=4, loss=loss))


def test_text_of_any_language_is_a_slice():
    words = np.array(["Köln", "日本", "a"])
    found = [record["t"].decode() for record in iterate(lambda: numpy_slices({"t": words}))]
    assert found == [*words]


@pytest.mark.parametrize("dtype", [">i2", ">f4", "<f8", ">u1", ">c8", "bool"])
def test_a_slice_is_of_the_same_number_in_either_byte_order(dtype):
    numbers = np.arange(6).astype(dtype)
    assert [*iterate(lambda: numpy_slices(numbers))] == numbers.tolist()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([1, "a"], object), r"found an array of object, expected .*astype\(\"float32"),
        (np.array(["2020-01-01"], "M8[D]"), r"found an array of datetime64\[D\], expected numbers"),
        ([1, 2], r"found 1, expected arrays \[records, ...\]; make one of a list, as by"),
        ({"x": np.float32(3)}, "found .*3.*, expected arrays"),
    ],
)
def test_slices_of_what_is_no_number_or_text_are_refused(array, message):
    with tf.Graph().as_default(), pytest.raises(DataError, match=f"numpy_slices: {message}"):
        numpy_slices(array)


@pytest.mark.parametrize(
    "settings", [{"last_step": 40.0}, {"last_step": "40"}, {"hooks": tf.train.SessionRunHook()}]
)
def test_settings_of_another_type_are_refused_in_python_too(settings):
    with pytest.raises(ConfigError, match=f"trainer.{next(iter(settings))}: found"):
        SessionTrainer(**settings)


@pytest.mark.parametrize("arguments", [(MLP, Toy()), (tf.keras.Sequential(), Toy()), (MLP(), None)])
def test_what_is_no_model_or_dataset_is_named(arguments):
    with pytest.raises(ModelError, match=r"fit: found .*, expected a (Model|Dataset) that"):
        SessionTrainer().fit(*arguments)
