"""Workers in step, here in threads of one process: the weights and numbers of one device."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.engine.cluster.cluster import Cluster, Task
from my_project.engine.cluster.collective import Workers
from my_project.engine.cluster.evaluation import SharedEvaluation
from my_project.engine.cluster.exchange import Exchange
from my_project.engine.cluster.role import Role
from my_project.engine.cluster.together import Together
from my_project.engine.errors import DataError, ModelError, RunError
from my_project.engine.graph.measures import Ratio
from my_project.engine.graph.workers import set_workers, workers_of
from my_project.engine.loop.evaluation import Evaluation
from my_project.engine.loop.graph import build_training_graph
from my_project.engine.loop.inner_loop import InnerLoop
from my_project.engine.loop.stream_position import training_iterator
from my_project.model import Model
from my_project.model.gan import GAN
from my_project.model.mlp import MLP
from my_project.model.resnet import ResNet
from my_project.model.rnn import RNN
from my_project.train.trainer import SessionTrainer
from toy import FirstWords, Normed, Toy, X, Y, free_address

LIMIT_SECS = 60.0


def differences(one, other):
    """The largest of each variable; both have the same names."""
    assert one.keys() == other.keys()
    return {name: float(np.abs(one[name] - other[name]).max(initial=0)) for name in one}


@pytest.fixture
def in_step(tmp_path):
    """in_step(number, build, run) -> what run(session, what build made) returned in each worker."""

    def in_step(number, build, run):
        tasks = tuple(Task("worker", index, free_address()) for index in range(number))
        graphs, roles, found = [], [], [None] * number
        config = tf.ConfigProto(intra_op_parallelism_threads=1)
        for index, task in enumerate(tasks if number > 1 else ()):
            roles.append(Role(Cluster(tasks, task), config, str(tmp_path), 1.0))
            with tf.Graph().as_default(), roles[-1].placed():
                tf.set_random_seed(1)
                set_workers(Workers(index, number))
                graphs.append((tf.get_default_graph(), build()))
        if number == 1:
            with tf.Graph().as_default(), tf.Session(config=config) as session:
                tf.set_random_seed(1)
                return [run(session, build())]

        def work(index):
            graph, built = graphs[index]
            filtered = roles[index].filtered(config)
            with tf.Session(roles[index].server.target, graph=graph, config=filtered) as session:
                found[index] = run(session, built)

        threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(number)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT_SECS)
        assert not any(thread.is_alive() for thread in threads), "a worker waits for another"
        return found

    return in_step


class Weighted(RNN):
    """The loss is a mean of examples that count as much as they are long."""

    def loss(self, outputs, labels):
        each = self.loss_function(labels, outputs)
        weights = tf.cast(labels, tf.float32)
        return Ratio(tf.reduce_sum(each * weights), tf.reduce_sum(weights))


MODELS = {
    "mlp": lambda: MLP(hidden=16, dropout=0.5, accumulate=2, ema_decay=0.9),
    "normed": lambda: Normed(hidden=4),
    "words": lambda: Weighted(units=4, vocabulary=5, embedding=4, classes=5, dropout=0.5),
    "gan": lambda: GAN(latent=4, filters=2, discriminator_updates=2),
    "resnet": lambda: ResNet(filters=(2, 4), sync=True),
    "scaled": lambda: MLP(hidden=16, dropout=0.5, loss_scale=128.0),
}


class Steps:
    """What trains a model: the step in the open, its numbers, the loop; no more, to be quick."""

    def __init__(self, model, dataset):
        workers, iterator = workers_of(), training_iterator(dataset)
        workers.begin_step()
        with workers.share(iterator.get_next(), dataset.batch_size) as batch:
            step, loss, outputs = model.build_step(*batch)
            self.numbers = model.means(loss, outputs, batch[1])
        self.train_op = tf.group(step, *self.numbers.values())

        def another():
            with workers.share(iterator.get_next(), dataset.batch_size) as batch:
                return model.build_step(*batch)[0]

        self.loop = InnerLoop(another, max_steps=1000)
        self.variables = {v.op.name: v for v in tf.global_variables()}
        self.index = workers.index
        self._start = [tf.global_variables_initializer(), tf.local_variables_initializer()]
        self._tables = tf.tables_initializer()

    def start(self, session):
        session.run(self._start)
        session.run(self._tables)

    def run_loop(self, session, steps):
        return session.run(self.loop._loop, {self.loop._limit: steps})


def test_a_measure_of_some_examples_is_that_of_the_whole_batch(in_step):
    values = [np.float32([1, 2]), np.float32([])]  # of one worker's examples none counts

    def build():
        workers = workers_of()
        mine = tf.placeholder_with_default(values[workers.index], [None])
        return workers.numbers({"some": mine, "all": tf.constant(float(workers.index))})

    found = in_step(2, build, lambda session, numbers: session.run(numbers))
    assert found == [{"some": 1.5, "all": 0.5}] * 2


@pytest.mark.parametrize("name", MODELS)
def test_each_worker_has_the_weights_of_one_device_and_the_numbers_of_the_whole_batch(
    in_step, digits, name
):
    digits.prepare()

    def build():
        return Steps(MODELS[name](), FirstWords(batch_size=64) if name == "words" else digits)

    def run(session, steps):
        steps.start(session)
        numbers = []
        for _ in range(2):  # in the open, and in the loop
            numbers.append(session.run([steps.train_op, steps.numbers])[1])
            assert steps.run_loop(session, 2) == 2
        return numbers, session.run(steps.variables)

    found = in_step(2, build, run)
    assert found[0][1]["global_step"] == 6
    assert max(differences(found[0][1], found[1][1]).values()) == 0
    assert found[0][0] == found[1][0]
    if name == "gan":  # its BatchNorm normalizes by the statistics of each part
        return
    ((alone, weights),) = in_step(1, build, run)
    differs = differences(weights, found[0][1])
    if name == "normed":
        assert differs["normed/batch_normalization/moving_mean"] < 2e-5
        return
    assert max(differs.values()) < 2e-5
    for one, other in zip(alone, found[0][0]):
        assert other == pytest.approx(one, rel=1e-3, abs=1e-6)


def test_a_worker_that_asks_ends_the_loop_of_all_after_the_same_step(in_step):
    def run(session, steps):
        steps.start(session)
        if steps.index == 1:
            session.run(steps.loop.stop_op)
        return steps.run_loop(session, 1000)

    assert in_step(2, lambda: Steps(MLP(hidden=4, classes=3), Toy(batch_size=20)), run) == [1, 1]


class Few(Toy):
    """Batches of 20 of the first 40 examples, in their order."""

    def batches(self, split, training=False, start_step=0):
        return tf.data.Dataset.from_tensor_slices((X[:40], Y[:40])).batch(20, True).repeat()


class Root(MLP):
    """Its loss is not finite where the fourth number of an example is above 1.9."""

    def call(self, inputs, training=False):
        return super().call(inputs, training) + 1e-3 * tf.sqrt(1.9 - inputs[:, 3:])


def test_a_nan_in_one_workers_part_stops_all_before_anything_is_written(in_step):
    assert (X[:40, 3] > 1.9).any()

    def build():
        return Steps(Root(hidden=4, classes=3), Few(batch_size=20))

    def run(session, steps):
        steps.start(session)
        for _ in range(3):
            before = session.run(steps.variables)
            try:
                session.run(steps.train_op)
            except tf.errors.InvalidArgumentError as error:
                return before, session.run(steps.variables), error.message
        raise AssertionError("no step has failed")

    found = in_step(2, build, run)
    for before, after, message in found:
        assert "Tensor had NaN" in message
        assert max(differences(before, after).values()) == 0
    assert found[0][0]["global_step"] == found[1][0]["global_step"] <= 1


class Unknown(Few):
    """Their size is not known before they are made."""

    def batches(self, split, training=False, start_step=0):
        return tf.data.Dataset.from_tensor_slices((X[:40], Y[:40])).batch(20).repeat()


@pytest.mark.parametrize(("kind", "size"), [(Unknown, 20), (Few, 30)])
def test_batches_that_workers_cannot_share_are_named(kind, size):
    message = rf"{kind.__name__}.batches: found .* expected {size} examples .* drop_remainder=True"
    with tf.Graph().as_default():
        set_workers(Workers(1, 2))
        with pytest.raises(DataError, match=message):
            build_training_graph(SessionTrainer(), MLP(classes=3), kind(batch_size=size))


class Streaming(MLP):
    """Measures the number of examples seen, too, which is no sum of batches."""

    def measure(self, outputs, labels):
        seen = tf.keras.metrics.Sum()
        seen.update_state(tf.ones_like(labels, tf.float32))
        return {**super().measure(outputs, labels), "seen": seen}


@pytest.mark.parametrize("number", [2, 3])
def test_a_shared_evaluation_has_the_numbers_of_one_bit_for_bit(in_step, number):
    def build():
        plain = MLP(hidden=4, classes=3)
        models = [plain, Streaming(hidden=4, classes=3)]
        evaluations = [Evaluation(model, Toy(batch_size=8), "test") for model in models]
        start = [tf.global_variables_initializer(), tf.local_variables_initializer()]
        workers = workers_of()
        return evaluations, start, workers.number > 1 and Exchange(workers)

    def run(session, built):
        evaluations, start, exchange = built
        session.run(start)
        watch = SimpleNamespace(whole=True)
        if exchange:
            evaluations = [SharedEvaluation(each, exchange, watch) for each in evaluations]
        numbers = [each.run(session) for each in evaluations]
        if exchange:
            assert watch.whole
            stopped = evaluations[0].run(session, lambda: exchange.index == 1)
            assert stopped == {}
        return numbers

    (alone,) = in_step(1, build, run)
    assert alone[1]["seen"] == 101
    assert in_step(number, build, run) == [alone] * number


def test_what_a_worker_finds_wrong_in_its_share_all_raise(in_step):
    def build():
        evaluation = Evaluation(Root(hidden=4, classes=3), Toy(batch_size=8), "test")
        start = [tf.global_variables_initializer(), tf.local_variables_initializer()]
        return evaluation, start, Exchange(workers_of())

    def run(session, built):
        evaluation, start, exchange = built
        session.run(start)
        shared = SharedEvaluation(evaluation, exchange, SimpleNamespace(whole=True))
        with pytest.raises(RunError) as error:
            shared.run(session)
        return str(error.value)

    first, other = in_step(2, build, run)
    assert first == other
    assert "loss is nan on examples" in first


@pytest.mark.parametrize("other", [None, 2])
def test_a_worker_with_other_values_of_variables_is_named(in_step, other):
    tasks = tuple(Task("worker", index, f"host{index}:1") for index in range(3))

    def build():
        workers = workers_of()
        value = 1.0 if workers.index == other else 0.0
        made = tf.get_variable("made", [4], initializer=tf.constant_initializer(value))
        nothing = SimpleNamespace()
        exchange = Exchange(workers)
        return made, Together(tasks, exchange, nothing, nothing, nothing, [made], lambda: nothing)

    def run(session, built):
        made, together = built
        session.run(made.initializer)
        try:
            together.compare(session)
        except RunError as error:
            return str(error)
        return ""

    found = in_step(3, build, run)
    assert len(set(found)) == 1
    named = "worker 2 (host2:1): found other values of variables than those of worker 0 (host0:1)"
    assert found[0].startswith(named if other else "")
    assert bool(found[0]) == bool(other)


def test_bytes_of_any_number_reach_all(in_step):
    def texts(index):
        return [b"", bytes([index]), b"%d" % index * 100000 * index, b"ab" * 252]

    def run(session, exchange):
        own = texts(exchange.index)
        return [exchange.gather(session, each) for each in own]

    expected = [list(each) for each in zip(*(texts(index) for index in range(3)))]
    assert in_step(3, lambda: Exchange(workers_of()), run) == [expected] * 3


class Writing(Model):
    """What `write` does is done in each call."""

    def __init__(self, write, **others):
        super().__init__(**others)
        self.write = write

    def build(self, input_shape):
        self.dense = tf.keras.layers.Dense(3)
        self.seen = self.add_weight("seen", [4], trainable=False, initializer="zeros")
        self.twice = self.add_weight("twice", [4], trainable=False, initializer="zeros")
        super().build(input_shape)

    def call(self, inputs, training=False):
        if training:
            self.write(self, inputs)
        return self.dense(inputs)

    def loss(self, outputs, labels):
        return tf.reduce_mean(tf.square(outputs))


def writes_row(model, inputs):
    model.add_update(tf.scatter_update(model.seen, [0], inputs[0, :1]))


def writes_in_turn(model, inputs):
    first = model.seen.assign_sub(model.seen - tf.reduce_mean(inputs, axis=0))
    with tf.control_dependencies([first]):
        model.add_update(model.twice.assign_sub(model.twice - model.seen.read_value() * 2))
    model.add_update(first)


def alone(model):
    """A train op that does not know of the other workers."""
    return lambda loss, updates, writes: tf.group(
        tf.train.GradientDescentOptimizer(0.1).minimize(loss, tf.train.get_global_step()),
        tf.debugging.check_numerics(loss, "the loss"),
        *updates,
    )


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: Writing(writes_row), r"ScatterUpdate\): writes what it makes of the examples"),
        (lambda: Writing(writes_in_turn), "another write of the same step depends on it"),
        (lambda: Writing(lambda model, inputs: None), "one worker's part of the batch alone"),
    ],
)
def test_a_model_whose_workers_would_differ_is_an_error(model, message):
    with tf.Graph().as_default():
        workers, made = Workers(0, 2), model()
        set_workers(workers)
        if "alone" in message:
            made.optimize = alone(made)
        batch = tf.constant(X[:20]), tf.constant(Y[:20])
        with pytest.raises(ModelError, match=message), workers.share(batch, 20) as part:
            made.build_step(*part)
