"""The recurrent network: rows of images, and sequences whose padding changes nothing."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.engine.errors import ModelError
from my_project.model.rnn import RNN
from toy import FirstWords

LENGTH = np.ones([2], np.int32)


def test_it_learns_digits_from_their_rows(fit, tmp_path, variables):
    model = RNN(units=32, learning_rate=0.01)
    assert fit(tmp_path / "run", last_step=120, model=model)["accuracy"] > 0.6
    saved = variables(tmp_path / "run")  # of the same names on both runtimes
    assert saved["rnn/recurrent"].shape == (32, 4 * 32)
    assert saved["rnn/dense/kernel"].shape == (28, 4 * 32)


def test_it_remembers_the_first_word_over_sequences_of_different_lengths(fit, tmp_path):
    model = RNN(units=16, vocabulary=5, embedding=4, classes=5, learning_rate=0.02)
    results = fit(tmp_path / "run", last_step=150, model=model, dataset=FirstWords(batch_size=64))
    assert results["accuracy"] > 0.9  # 0.2 without memory


def test_the_weights_are_the_same_with_and_without_the_loop_in_the_graph(fit, tmp_path, variables):
    for name, steps in (("plain", 1), ("loop", 100)):
        model = RNN(units=8, vocabulary=5, embedding=4, classes=5)
        dataset = FirstWords(batch_size=64)
        fit(tmp_path / name, last_step=12, model=model, dataset=dataset, steps_per_loop=steps)
    plain, loop = variables(tmp_path / "plain"), variables(tmp_path / "loop")
    assert "rnn/embedding/embeddings" in plain
    for name in plain:
        np.testing.assert_array_equal(plain[name], loop[name], err_msg=name)


@pytest.mark.parametrize("kind", ["words", "numbers"])
def test_padding_changes_nothing(kind):
    random = np.random.RandomState(0)
    length = np.array([2, 5, 1], np.int32)
    if kind == "words":
        sequence = random.randint(0, 7, [3, 9]).astype(np.int32)
        model = RNN(units=8, vocabulary=7)
    else:
        sequence = random.randn(3, 9, 4).astype(np.float32)
        model = RNN(units=8)
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.placeholder(sequence.dtype, [None, None, *sequence.shape[2:]])
        logits = model({"sequence": inputs, "length": tf.constant(length)})
        session.run(tf.global_variables_initializer())
        whole = session.run(logits, {inputs: sequence})
        shorter = session.run(logits, {inputs: sequence[:, :5]})
        other = sequence.copy()
        other[0, 2:], other[2, 1:] = other[1, 2:], other[1, 1:]
        refilled = session.run(logits, {inputs: other})
        other[0, 1] = other[0, 1] + 1 - 2 * (other[0, 1] == 6)
        changed = session.run(logits, {inputs: other})
    np.testing.assert_allclose(shorter, whole, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(refilled, whole)
    assert np.abs(changed[0] - whole[0]).max() > 1e-4


def test_a_batch_of_empty_sequences_alone_is_as_one_among_others(fit, tmp_path):
    class Empty(FirstWords):
        def convert(self, record):
            nothing = {"sequence": record["sequence"][:, :0], "length": 0 * record["length"]}
            return nothing, record["sequence"][:, 0]

    model = RNN(units=8, vocabulary=5, classes=5)
    assert np.isfinite(fit(tmp_path / "run", 3, model, Empty(batch_size=64))["loss"])
    with tf.Graph().as_default(), tf.Session() as session:
        model = RNN(units=8)
        alone = model({"sequence": tf.zeros([2, 0, 4]), "length": 0 * LENGTH})
        among = model({"sequence": tf.ones([2, 3, 4]), "length": 0 * LENGTH})
        session.run(tf.global_variables_initializer())
        np.testing.assert_array_equal(*session.run([alone, among]))


def test_one_step_is_the_lstm_of_the_papers():
    sequence = np.random.RandomState(0).randn(1, 1, 3).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        model = RNN(units=2, classes=2)
        features = {"sequence": tf.constant(sequence), "length": tf.constant([1])}
        logits = model(features)
        session.run(tf.global_variables_initializer())
        found, kernel, out, bias = session.run(
            [logits, model.gates.kernel, model.logits.kernel, model.logits.bias]
        )
    enter, _, leave, new = np.split(sequence[0] @ kernel, 4, axis=1)

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    state = sigmoid(leave) * np.tanh(sigmoid(enter) * np.tanh(new))
    np.testing.assert_allclose(found, state @ out + bias, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("features", "vocabulary", "message"),
    [
        (np.zeros([2, 784], np.float32), 0, r"784\), expected images"),
        (2 * (np.zeros([2, 784], np.float32),), 0, r"784\)'\), expected images"),
        ({"length": LENGTH}, 0, "{'length': .*, expected images"),
        (
            {"sequence": np.zeros([2, 3], np.int32), "length": LENGTH},
            0,
            "int32 with model.vocabulary=0",
        ),
        (
            {"sequence": np.zeros([2, 3, 1], np.float32), "length": LENGTH},
            9,
            "float32 with model.vocabulary=9",
        ),
    ],
)
def test_features_of_another_kind_are_an_error(features, vocabulary, message):
    with tf.Graph().as_default(), pytest.raises(ModelError, match=message):
        RNN(vocabulary=vocabulary)(tf.nest.map_structure(tf.constant, features))
