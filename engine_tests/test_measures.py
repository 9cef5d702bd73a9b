"""Numbers that are no means of examples: the same over a split, whatever the batch size."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.data.dataset import Dataset
from my_project.engine.errors import ModelError
from my_project.engine.input import footprint
from my_project.engine.input.batches import evaluation_batches
from my_project.engine.loop.evaluation import Evaluation
from my_project.engine.run.metrics import read_metrics
from my_project.model import Model, Ratio
from my_project.model.mlp import MLP
from my_project.train.trainer import SessionTrainer
from toy import Toy

RANDOM = np.random.RandomState(0)
SCORES = RANDOM.rand(230).astype(np.float32)
LABELS = (SCORES + 0.5 * RANDOM.rand(230) > 0.7).astype(np.int32)
TOKENS = RANDOM.rand(230, 6).astype(np.float32)
LENGTHS = RANDOM.randint(1, 7, 230).astype(np.int32)
LENGTHS[:50] = 1  # so that batches weigh differently


class Scores(Dataset):
    """A score for each example, and its tokens."""

    splits = ("train", "test")

    def count(self, split):
        return 230

    def files(self, split):
        return []

    def records(self, split):
        return tf.data.Dataset.from_tensor_slices((SCORES, TOKENS, LENGTHS, LABELS))

    def convert(self, scores, tokens, lengths, labels):
        return {"score": scores, "tokens": tokens, "length": lengths}, labels


def positives(outputs):
    return tf.cast(outputs["score"] > 0.6, tf.int32)


class Judge(Model):
    """Scores as they are, times a weight that is 1."""

    def build(self, input_shape):
        self.weight = self.add_weight("weight", [], initializer="ones")
        super().build(input_shape)

    def call(self, inputs, training=False):
        return {**inputs, "score": self.weight * inputs["score"]}

    def loss(self, outputs, labels):
        mask = tf.sequence_mask(outputs["length"], 6, dtype=tf.float32)
        return Ratio(self.weight * tf.reduce_sum(mask * outputs["tokens"]), tf.reduce_sum(mask))

    def measure(self, outputs, labels):
        positive = positives(outputs)
        hits = tf.reduce_sum(positive * labels)
        classes = tf.one_hot(labels, 3), tf.one_hot(positive, 3)
        both = tf.reduce_sum(classes[0] * classes[1], 0)
        union = tf.reduce_sum(tf.maximum(*classes), 0)
        recall = tf.keras.metrics.Recall()
        recall.update_state(labels, positive)
        return {
            "accuracy": tf.equal(positive, labels),
            "f1": Ratio(2 * hits, tf.reduce_sum(positive) + tf.reduce_sum(labels)),
            "iou": Ratio(both, union),  # of three classes, of which one is absent
            "class_accuracy": Ratio(both, tf.reduce_sum(classes[0], 0)),
            "never": Ratio(tf.constant(0), tf.constant(0)),
            "precision": tf.metrics.precision(labels, positive),
            "recall": recall,
            "auc": tf.metrics.auc(labels, outputs["score"], num_thresholds=2000)[1],
            "keras_auc": tf.keras.metrics.AUC(num_thresholds=2000)(labels, outputs["score"]),
            "mean_iou": tf.metrics.mean_iou(labels, positive, 2)[0],
        }


def expected(chosen=slice(None)):
    """The same numbers by NumPy."""
    scores, labels, lengths = SCORES[chosen], LABELS[chosen], LENGTHS[chosen]
    positive = (scores > 0.6).astype(int)
    hits = (positive * labels).sum()
    mask = np.arange(6) < lengths[:, np.newaxis]
    pairs = scores[labels == 1][:, np.newaxis] - scores[labels == 0]
    ious = [
        ((labels == c) & (positive == c)).sum() / ((labels == c) | (positive == c)).sum()
        for c in (0, 1)
    ]
    auc = (pairs > 0).mean() + (pairs == 0).mean() / 2
    return {
        "loss": (TOKENS[chosen] * mask).sum() / mask.sum(),
        "accuracy": (positive == labels).mean(),
        "f1": 2 * hits / (positive.sum() + labels.sum()),
        "iou": np.mean(ious),
        "class_accuracy": np.mean([(positive == c)[labels == c].mean() for c in (0, 1)]),
        "never": 0.0,
        "precision": hits / positive.sum(),
        "recall": hits / labels.sum(),
        "auc": auc,
        "keras_auc": auc,
        "mean_iou": np.mean(ious),
    }


@pytest.mark.parametrize("batch_size", [7, 64, 500])
def test_numbers_of_a_split_are_those_of_numpy_and_each_evaluation_starts_again(batch_size):
    with tf.Graph().as_default(), tf.Session() as session:
        evaluation = Evaluation(Judge(), Scores(batch_size=batch_size), "test")
        session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
        first, second = evaluation.run(session), evaluation.run(session)
        kept = [variable.op.name for variable in tf.global_variables()]
    assert first == second
    assert list(first) == evaluation.names == list(expected())
    assert first == pytest.approx(expected(), abs=1e-3)
    exact = {name: value for name, value in first.items() if "auc" not in name}
    assert exact == pytest.approx({name: expected()[name] for name in exact}, rel=1e-5)
    assert kept == ["judge/weight"]  # what a metric counts is in no checkpoint


class Filled(Toy):
    """The same, filled up with padding: a batch may take many times what its records do."""

    padding = (0.0, 0)


@pytest.mark.parametrize(("kind", "limit"), [(Toy, 0), (Toy, 3), (Filled, 0)])
def test_what_decode_makes_is_kept_for_the_next_evaluation_where_it_fits(kind, limit):
    decoded = []

    class Decoded(kind):
        def decode(self, x, y):
            def look(x):
                decoded.append(x)
                return x

            return tf.ensure_shape(tf.py_func(look, [x], x.dtype, stateful=False), x.shape), y

    counts, found = [], []
    for memory_fraction in (0.25, 0.0):
        decoded.clear()
        with tf.Graph().as_default(), tf.Session() as session:
            dataset = Decoded(batch_size=8, memory_fraction=memory_fraction)
            model = MLP(hidden=4, classes=3)
            evaluation = Evaluation(model, dataset, "test", limit, again=True)
            session.run(tf.global_variables_initializer())
            for number, variable in enumerate(model.trainable_variables, 1):
                weights = np.arange(variable.shape.num_elements()).reshape(variable.shape)
                variable.load(np.sin(number + weights), session)
            found += [evaluation.run(session) for _ in range(3)]
            counts.append(len(decoded))
            answers = iter([False, False, True])
            assert evaluation.run(session, lambda given=answers: next(given)) == {}
            found.append(evaluation.run(session))
    assert found == [found[0]] * 8
    assert limit or counts == [101 if kind is Toy else 3 * 101, 3 * 101]


def test_what_is_kept_fits_next_to_what_training_holds(monkeypatch):
    class Decoded(Toy):
        def decode(self, x, y):
            return x, y

    each = Decoded().bytes_in_memory("test")
    assert Decoded().bytes_in_memory("train") == each
    for share, kept in ((1.5, 0), (2.5, -(-101 // 8))):
        monkeypatch.setattr(footprint, "memory_limit", lambda share=share: share * each)
        dataset = Decoded(batch_size=8, memory_fraction=1.0)
        assert dataset.in_memory("train")
        with tf.Graph().as_default():
            assert evaluation_batches(dataset, "test", again=True)[1] == kept
            assert evaluation_batches(dataset, "test")[1] == 0


def test_a_line_about_training_is_of_its_batch_alone():
    with tf.Graph().as_default(), tf.Session() as session:
        features = {"score": tf.placeholder(tf.float32, [None])}
        features["tokens"] = tf.placeholder(tf.float32, [None, 6])
        features["length"] = tf.placeholder(tf.int32, [None])
        labels, model = tf.placeholder(tf.int32, [None]), Judge()
        outputs, loss = model.outputs_and_loss(features, labels, training=True)
        means = model.means(loss, outputs, labels)
        session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
        for chosen in (slice(0, 60), slice(60, 90), slice(0, 60)):
            arrays = {"score": SCORES, "tokens": TOKENS, "length": LENGTHS}
            feed = {features[name]: array[chosen] for name, array in arrays.items()}
            found = session.run(means, {**feed, labels: LABELS[chosen]})
            assert found == pytest.approx(expected(chosen), abs=3e-3)


@pytest.mark.parametrize("trainer", ["session", "keras"])
def test_they_are_reported_while_training_too(tmp_path, trainer):
    from my_project.engine.keras.trainer import KerasTrainer

    kind = {"session": SessionTrainer, "keras": KerasTrainer}[trainer]
    every = {} if trainer == "keras" else {"evaluate_every_n_steps": 4}
    model = Judge(learning_rate=0.0)
    fit = kind(run_dir=str(tmp_path / "run"), last_step=8, log_every_n_steps=4, **every)
    results = fit.fit(model, Scores(batch_size=50))
    assert results == pytest.approx(expected(), abs=1e-3)
    lines = read_metrics(str(tmp_path / "run/metrics.jsonl"))
    assert [line["recall"] for line in lines if line["split"] == "test"][-1] == results["recall"]
    if trainer == "session":
        assert {line["auc"] for line in lines if line["split"] == "train"} != {results["auc"]}


def test_parts_of_a_loss_may_be_sums_and_regularization_is_added_to_each():
    class Parts(Judge):
        def build(self, input_shape):
            super().build(input_shape)
            self.add_loss(lambda: 0.5 * self.weight)

        def loss(self, outputs, labels):
            if self.one:
                return super().loss(outputs, labels)
            square = tf.reduce_mean(tf.square(outputs["score"]))
            return {"tokens": super().loss(outputs, labels), "square": square}

    tokens, square = expected()["loss"], np.mean(SCORES**2)
    for one in (True, False):
        with tf.Graph().as_default(), tf.Session() as session:
            model = Parts()
            model.one = one
            evaluation = Evaluation(model, Scores(batch_size=60), "test")
            session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
            found = evaluation.run(session)
        if one:
            assert found["loss"] == pytest.approx(tokens + 0.5)
        else:
            parts = {name: found[name] for name in ("tokens", "square", "regularization", "loss")}
            assert parts == pytest.approx(
                {
                    "tokens": tokens,
                    "square": square,
                    "regularization": 0.5,
                    "loss": sum(parts.values()) - parts["loss"],
                }
            )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0.5, "error is 0.5; expected a tensor"),
        (np.float32(0.5), "error is 0.5; expected a tensor"),
        (None, "error is None; expected a tensor"),
        ({"a": 1}, "expected a tensor"),
        (lambda o, t: tf.as_string(t), "expected a tensor"),
        (lambda o, t: Ratio(o["score"], tf.constant(1)), r"found a Ratio of \(.*\) and \(\)"),
        (lambda o, t: tf.metrics.mean_iou(t, positives(o), 2)[1], r"error is .*\(2, 2\)"),
    ],
)
def test_what_is_no_number_of_examples_is_refused_by_name(value, message):
    class Wrong(Judge):
        def measure(self, outputs, labels):
            return {"error": value(outputs, labels) if callable(value) else value}

    with tf.Graph().as_default(), pytest.raises(ModelError, match=f"wrong.measure: .*{message}"):
        Evaluation(Wrong(), Scores(batch_size=60), "test")


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (lambda o, t: o["score"], "found <tf.Tensor.*, expected a dict name -> number"),
        (lambda o, t: [o["score"]], r"found \[<tf.Tensor.*, expected a dict name -> number"),
        (lambda o, t: None, "found None, expected a dict name -> number"),
        (lambda o, t: {"auc": tf.keras.metrics.AUC()}, "auc is a metric that got no examples"),
        (lambda o, t: {"mean": tf.keras.metrics.Mean()}, r"mean is .*; call its update_state\("),
    ],
)
def test_what_is_no_dict_and_a_metric_that_is_not_updated_are_refused(found, message):
    class Wrong(Judge):
        def measure(self, outputs, labels):
            return found(outputs, labels)

    with tf.Graph().as_default(), pytest.raises(ModelError, match=f"wrong.measure: {message}"):
        Evaluation(Wrong(), Scores(batch_size=60), "test")


@pytest.mark.parametrize("name", ["step", "split", "loss", "learning_rate", "run"])
def test_a_measure_with_the_name_of_something_else_is_refused(name):
    class Named(Judge):
        def measure(self, outputs, labels):
            return {name: outputs["score"]}

    with tf.Graph().as_default(), pytest.raises(ModelError, match=f"the name {name} is taken"):
        Evaluation(Named(), Scores(batch_size=60), "test")
