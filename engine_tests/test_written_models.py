"""What people write in models: lookup tables, feature columns, weights that are loaded in build."""

import contextlib

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.data.dataset import Dataset
from my_project.engine.compat import RUNTIME
from my_project.engine.errors import DataError, ModelError
from my_project.engine.keras.trainer import KerasTrainer
from my_project.engine.tools.examples import predicted
from my_project.engine.tools.saved_model import predict_with, write_saved_model
from my_project.model import Classifier, Model
from my_project.train.trainer import SessionTrainer

WORDS = np.array([b"red", b"green", b"blue", b"gray"] * 10)
BAGS = np.array([[1, 2], [3, -1], [-1, -1], [0, 4]] * 10)
LABELS = np.array([0, 1, 2, 3] * 10, np.int32)


class Words(Dataset):
    """A word, and a sparse bag of numbers 0 to 4."""

    def count(self, split):
        return 40

    def files(self, split):
        return []

    def records(self, split):
        return tf.data.Dataset.from_tensor_slices((WORDS, BAGS, LABELS))

    def convert(self, words, bags, labels):
        present = tf.where(bags >= 0)
        shape = tf.shape(bags, out_type=tf.int64)
        sparse = tf.SparseTensor(present, tf.gather_nd(bags, present), shape)
        return {"word": words, "bag": sparse}, labels


class Columns(Classifier):
    """Feature columns with a vocabulary list, of which each call makes a table."""

    def build(self, input_shape):
        column = tf.feature_column
        words = column.categorical_column_with_vocabulary_list("word", ["red", "green", "blue"])
        bags = column.categorical_column_with_identity("bag", 5)
        self.columns = tf.keras.layers.DenseFeatures(
            [column.indicator_column(words), column.embedding_column(bags, 2)]
        )
        self.logits = tf.keras.layers.Dense(self.classes)
        super().build(input_shape)

    def call(self, inputs, training=False):
        return self.logits(self.columns(inputs))


class Table(Classifier):
    """A table that is made once, in build."""

    def build(self, input_shape):
        keys, values = tf.constant(["red", "green", "blue"]), tf.constant([0, 1, 2], tf.int64)
        initializer = tf.lookup.KeyValueTensorInitializer(keys, values)
        self.table = tf.lookup.StaticHashTable(initializer, 3)
        self.logits = tf.keras.layers.Embedding(4, self.classes)
        super().build(input_shape)

    def call(self, inputs, training=False):
        return self.logits(self.table.lookup(inputs["word"]))


class Restored:
    """A model in a graph of its own, with the weights of a run."""

    session_config = tf.ConfigProto()

    def __init__(self, model, dataset, checkpoint):
        self.model, self.dataset, self.checkpoint = model, dataset, checkpoint

    def prepare(self, split):
        return split

    def graph(self):
        return tf.Graph().as_default()

    @contextlib.contextmanager
    def session(self):
        with tf.Session() as session:
            session.run(tf.tables_initializer())
            tf.train.Saver().restore(session, self.checkpoint)
            yield session


@pytest.mark.parametrize(("make", "in_loop"), [(Columns, False), (Table, True)])
def test_a_model_with_a_lookup_table_trains_evaluates_and_is_exported(
    tmp_path, make, in_loop, caplog
):
    caplog.set_level("INFO")
    dataset = Words(batch_size=8, memory_fraction=0.0)
    fit = SessionTrainer(run_dir=str(tmp_path / "run"), last_step=60, log_every_n_steps=30)
    results = fit.fit(make(classes=4, learning_rate=0.3), dataset)
    assert results["accuracy"] == 1
    if RUNTIME == "tf1":  # on 2.x the layer keeps its table
        assert ("makes a lookup table in call" in caplog.text) != in_loop
    checkpoint = tf.train.latest_checkpoint(str(tmp_path / "run/checkpoints"))
    directory = str(tmp_path / "served")
    write_saved_model(Restored(make(classes=4), dataset, checkpoint), directory)
    features = {"word": WORDS[:4]}
    present = np.argwhere(BAGS[:4] >= 0)
    features["bag"] = tf.SparseTensorValue(present, BAGS[:4][BAGS[:4] >= 0], [4, 2])
    assert predict_with(directory, features)["class"].tolist() == [0, 1, 2, 3]
    examples = predicted(Restored(make(classes=4), dataset, checkpoint), "test")
    assert [each.prediction["class"] for each in examples] == LABELS.tolist()
    assert [each.labels for each in examples] == LABELS.tolist()
    assert examples[3].features["bag"].tolist() == [0, 4]  # dense


MATRIX = np.arange(784 * 3, dtype=np.float32).reshape(784, 3) / 1000


def test_weights_that_build_loads_are_those_that_a_new_run_starts_with(fit, tmp_path, variables):
    path = str(tmp_path / "base.h5")
    with tf.Graph().as_default(), tf.Session():
        base = tf.keras.Sequential([tf.keras.layers.Dense(3, input_shape=(784,))])
        base.set_weights([MATRIX, np.ones(3, np.float32)])
        base.save_weights(path)

    class Pretrained(Classifier):
        def build(self, input_shape):
            self.base = tf.keras.Sequential([tf.keras.layers.Dense(3, input_shape=(784,))])
            self.base.load_weights(path)
            self.embed = tf.keras.layers.Embedding(3, 4, weights=[2 * np.ones([3, 4])])
            self.logits = tf.keras.layers.Dense(self.classes)
            super().build(input_shape)

        def call(self, inputs, training=False):
            hidden = self.base(tf.reshape(inputs, [-1, 784]), training=training)
            embedded = self.embed(tf.argmax(hidden, 1))
            return self.logits(tf.concat([hidden, embedded], 1))

    for step, rate in ((1, 0.0), (2, 0.01), (3, 0.01)):
        fit(tmp_path / "run", last_step=step, model=Pretrained(learning_rate=rate, ema_decay=0.9))
        values = variables(tmp_path / "run")
        kernel = values["pretrained/dense/kernel"]
        table = values["pretrained/embedding/embeddings"]
        assert np.array_equal(kernel, MATRIX) == (step == 1)
        assert np.array_equal(table, np.full([3, 4], 2.0)) == (step == 1)


def test_layers_made_in_init_have_the_same_names_in_a_second_model_of_a_process():
    class Early(Model):
        def __init__(self, **others):
            super().__init__(**others)
            self.dense = tf.keras.layers.Dense(2)
            self.other = tf.keras.layers.Dense(1)

        def call(self, inputs, training=False):
            return self.other(self.dense(inputs))

    names = []
    for model in (Early(), Early(), Early()):
        with tf.Graph().as_default():
            model(tf.zeros([2, 3]))
            names.append([variable.op.name for variable in model.variables])
    assert names[0] == names[1] == names[2]
    assert names[0][0] == "early/dense/kernel"


def test_ragged_features_are_refused_with_what_to_do(fit, tmp_path):
    class RaggedWords(Words):
        def convert(self, words, bags, labels):
            return tf.RaggedTensor.from_tensor(bags, padding=-1), labels

    with pytest.raises(DataError, match=r"RaggedWords\.convert: found a RaggedTensor, .*padding"):
        fit(tmp_path / "run", 5, Table(classes=4), RaggedWords(batch_size=10))


class Functional(Classifier):
    """A functional model that build makes, as those of tf.keras.applications."""

    def build(self, input_shape):
        layers = tf.keras.layers
        size = tf.keras.regularizers.l2(0.01)
        pixels = layers.Input(input_shape[1:])
        hidden = layers.Dense(8, kernel_regularizer=size, activity_regularizer=size)(pixels)
        self.network = tf.keras.Model(pixels, layers.BatchNormalization()(hidden))
        self.logits = layers.Dense(self.classes)
        super().build(input_shape)

    def call(self, inputs, training=False):
        return self.logits(self.network(inputs, training=training))


class Subclassed(Classifier):
    """The same of layers, one after the other."""

    def build(self, input_shape):
        layers = tf.keras.layers
        size = tf.keras.regularizers.l2(0.01)
        self.hidden = layers.Dense(8, kernel_regularizer=size, activity_regularizer=size)
        self.norm = layers.BatchNormalization()
        self.logits = layers.Dense(self.classes)
        super().build(input_shape)

    def call(self, inputs, training=False):
        return self.logits(self.norm(self.hidden(inputs), training=training))


@pytest.mark.parametrize("trainer", [SessionTrainer, KerasTrainer])
def test_a_functional_model_trains_as_its_layers_do(trainer, tmp_path, variables):
    class Numbers(Words):
        def convert(self, words, bags, labels):
            return tf.cast(bags, tf.float32), labels

    found = []
    for model in (Functional, Subclassed):
        run_dir = str(tmp_path / model.__name__)
        trainer(run_dir=run_dir, last_step=5).fit(
            model(classes=4, name="model"), Numbers(batch_size=10)
        )
        found.append(variables(run_dir))
    moving = [name for name in found[0] if name.endswith("moving_mean")]
    assert len(moving) == 1
    assert np.abs(found[0][moving[0]]).max() > 0
    assert set(found[0]) == set(found[1])
    for name, value in found[0].items():
        np.testing.assert_array_equal(value, found[1][name], name)


def test_a_metric_that_is_added_in_call_is_named_with_what_to_do():
    class Added(Classifier):
        def build(self, input_shape):
            self.dense = tf.keras.layers.Dense(10)
            super().build(input_shape)

        def call(self, inputs, training=False):
            logits = self.dense(inputs)
            self.add_metric(logits, name="size", aggregation="mean")
            return logits

    with tf.Graph().as_default(), pytest.raises(ModelError, match=r"metrics size; make .* measure"):
        Added().build_step(tf.zeros([2, 3]), tf.constant([0, 1]))
