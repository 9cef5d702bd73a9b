"""Several devices in step: the weights of one device, from one copy of each variable."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.engine.errors import ConfigError, DataError, ModelError, NotFiniteError
from my_project.engine.graph.measures import Ratio
from my_project.engine.graph.parts import Part, shared_out
from my_project.engine.graph.per_example import drawn_for_part, taken
from my_project.engine.graph.replicas import Replicas
from my_project.engine.graph.whole_batch import BatchNormalization, sum_over_parts
from my_project.engine.keras.trainer import KerasTrainer
from my_project.engine.loop.evaluation import Evaluation
from my_project.engine.loop.graph import build_training_graph
from my_project.engine.loop.lifecycle import check_shared_out
from my_project.engine.run.devices import replica_devices, session_config
from my_project.model import Model
from my_project.model.cnn import CNN
from my_project.model.gan import GAN
from my_project.model.mlp import MLP
from my_project.model.resnet import ResNet
from my_project.model.rnn import RNN
from my_project.train.trainer import SessionTrainer
from toy import Normed, Toy, X, Y

CPUS = ["/device:CPU:0", "/device:CPU:1", "/device:CPU:2", "/device:CPU:3"]
RANDOM = np.random.RandomState(1)
IMAGES = RANDOM.rand(8, 8, 8, 1).astype(np.float32)
DIGITS = RANDOM.randint(0, 10, 8).astype(np.int32)
WORDS = {
    "sequence": RANDOM.randint(0, 5, [8, 6]).astype(np.int32),
    "length": RANDOM.randint(1, 7, 8).astype(np.int32),
}


def steps(model, devices, features=IMAGES, labels=DIGITS, count=3, static=True):
    """All variables after some steps on one batch, and the losses before each."""
    with tf.Graph().as_default():
        tf.set_random_seed(1)
        model.replicas = Replicas(devices)
        batch = tf.nest.map_structure(tf.constant, (features, labels))
        if not static:
            unknown = tf.placeholder_with_default(len(labels), [])
            batch = tf.nest.map_structure(lambda x: x[:unknown], batch)
        train_op, loss, _ = model.build_step(*batch)
        with tf.Session(config=tf.ConfigProto(device_count={"CPU": 4})) as session:
            session.run(tf.global_variables_initializer())
            names = {variable.op.name: variable for variable in tf.global_variables()}
            losses, states = [], [session.run(names)]
            for _ in range(count):
                losses.append(session.run(loss))
                session.run(train_op)
                states.append(session.run(names))
            return states[-1], losses, states[0]


def check_alike(one, other, atol=1e-5):
    """Both hold the same variables, and numbers that differ by rounding at most."""
    assert set(one) == set(other)
    for name, value in one.items():
        assert value.dtype == other[name].dtype
        np.testing.assert_allclose(value, other[name], atol=atol, err_msg=name)


MODELS = {
    "mlp": lambda: MLP(hidden=8, dropout=0.5, clip={"global_norm": 0.1}),
    "cnn": lambda: CNN(filters=(2, 4), hidden=8),
    "rows": lambda: RNN(units=4, dropout=0.5),
    "words": lambda: RNN(units=4, vocabulary=5, embedding=3, learning_rate=0.01),
    "accumulated": lambda: MLP(hidden=8, dropout=0.5, accumulate=2, ema_decay=0.9),
    "scaled": lambda: MLP(hidden=8, loss_scale=1024.0, freeze=["dense_1"]),
}


@pytest.mark.parametrize("name", MODELS)
def test_weights_are_those_of_one_device_within_rounding(name):
    features = WORDS if name == "words" else IMAGES
    # Adam divides by the root of a square, which for a gradient near 0 makes rounding visible.
    one, losses, _ = steps(MODELS[name](), CPUS[:1], features)
    four, others, _ = steps(MODELS[name](), CPUS, features)
    check_alike(one, four, 2e-5)
    np.testing.assert_allclose(losses, others, atol=1e-5)
    assert losses[0] != losses[-1]


def synchronized():
    return ResNet(filters=(2, 4), sync=True)


@pytest.mark.parametrize("count", [2, 4])
def test_synchronized_batchnorm_has_the_weights_and_statistics_of_one_device(count):
    one, losses, _ = steps(synchronized(), CPUS[:1])
    several, others, _ = steps(synchronized(), CPUS[:count])
    check_alike(one, several, 2e-5)
    np.testing.assert_allclose(losses, others, atol=1e-5)
    apart, _, _ = steps(ResNet(filters=(2, 4)), CPUS[:count])
    name = "res_net/residual/batch_normalization/gamma"
    assert np.abs(apart[name] - one[name]).max() > 1e-4
    assert set(apart) == set(one)  # of the same names, so that a run may change to it


def test_on_one_device_it_is_keras_own_and_no_less_exact():
    # The mean is far from 0, where a difference of squares has few digits left.
    images = (30 + IMAGES).astype(np.float64)
    exact = (images - images.mean()) / np.sqrt(images.var() + 1e-3)
    found = []
    for kind in (BatchNormalization, tf.keras.layers.BatchNormalization):
        with tf.Graph().as_default(), tf.Session() as session:
            layer, pixels = kind(momentum=0.5), tf.constant(30 + IMAGES)
            outputs = [layer(pixels, training=training) for training in (True, False)]
            gradients = tf.gradients(tf.reduce_sum(outputs[0] ** 3), [layer.gamma, pixels])
            session.run(tf.global_variables_initializer())
            found.append(session.run([*outputs, *gradients]))
    np.testing.assert_allclose(found[0][0], exact, atol=3e-5)
    for ours, theirs in zip(*found):
        np.testing.assert_allclose(ours, theirs, rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("rows", [7, 2])
def test_parts_without_rows_count_nothing_in_it(rows):
    images, labels = IMAGES[:rows], DIGITS[:rows]
    one, _, _ = steps(synchronized(), CPUS[:1], images, labels)
    three, _, _ = steps(synchronized(), CPUS[:3], images, labels, static=False)
    check_alike(one, three, 2e-5)


def test_replicas_that_sum_different_values_are_an_error():
    class Other(MLP):
        calls = 0

        def call(self, inputs, training=False):
            Other.calls += 1
            return super().call(inputs) + sum_over_parts(tf.zeros([Other.calls, 1]))[0]

    with pytest.raises(ModelError, match="replicas sum different values over the parts"):
        steps(Other(hidden=4), CPUS[:2])


def test_batches_of_unknown_size_need_not_be_divided():
    one, _, _ = steps(MLP(hidden=8, classes=3, dropout=0.5), CPUS[:1], X[:7], Y[:7])
    three, _, _ = steps(MLP(hidden=8, classes=3, dropout=0.5), CPUS[:3], X[:7], Y[:7], static=False)
    check_alike(one, three)


def test_statistics_of_batchnorm_are_means_over_the_replicas():
    two, _, _ = steps(Normed(hidden=4), CPUS[:2], count=1)
    name = "normed/batch_normalization/moving_"
    np.testing.assert_allclose(two[f"{name}mean"], [0.01 * IMAGES.mean()], atol=1e-6)
    parts = IMAGES.reshape(2, -1)
    found = (two[f"{name}variance"][0] - 0.99) / 0.01
    size = parts.shape[1]  # of fused ones, the variance is corrected by n / (n - 1)
    assert found == pytest.approx(parts.var(axis=1).mean() * size / (size - 1), abs=1e-4)


@pytest.mark.parametrize(
    "make", [lambda: ResNet(filters=(2,)), lambda: GAN(latent=4, filters=2)], ids=["resnet", "gan"]
)
def test_models_with_statistics_and_several_losses_learn_on_replicas(make):
    after, _, before = steps(make(), CPUS[:2], count=1)
    still = {name for name, value in before.items() if (value == after[name]).all()}
    assert still <= {"gan/discriminator/conv_2/vector"}  # of one number, of norm 1
    assert all(np.isfinite(value).all() for value in after.values())


class Measured(MLP):
    """Two losses, one weighted by the labels, and measures of three kinds."""

    def call(self, inputs, training=False):
        return self.logits(inputs)

    def loss(self, outputs, labels):
        weights = tf.cast(labels, tf.float32)
        each = self.loss_function(labels, outputs)
        weighted = Ratio(tf.reduce_sum(each * weights), tf.reduce_sum(weights))
        return {"plain": super().loss(outputs, labels), "weighted": weighted}

    def measure(self, outputs, labels):
        right = tf.equal(tf.argmax(outputs, axis=1, output_type=tf.int32), labels)
        seen = tf.keras.metrics.Sum()
        seen.update_state(tf.ones_like(labels, tf.float32))
        ones = tf.ones_like(labels, tf.float32)
        share = Ratio(tf.reduce_sum(ones * tf.cast(labels, tf.float32)), tf.reduce_sum(ones))
        return {"right": tf.cast(right, tf.float32), "seen": seen, "share": share}


class Keeping(MLP):
    """Measures what call has kept."""

    def call(self, inputs, training=False):
        self.kept = super().call(inputs, training)
        return self.kept

    def measure(self, outputs, labels):
        return {"size": tf.reduce_mean(tf.abs(self.kept))}


@pytest.mark.parametrize("kind", [Measured, Keeping])
def test_a_measure_of_what_call_keeps_is_an_error_and_one_of_outputs_is_not(kind):
    with tf.Graph().as_default():
        features, labels = tf.constant(X[:8]), tf.constant(Y[:8])
        model = kind(classes=3)
        model.replicas = Replicas(CPUS[:2])
        outputs, loss = model.outputs_and_loss(features, labels, training=True)
        if kind is Measured:
            assert "right" in model.means(loss, outputs, labels)
            return
        with pytest.raises(ModelError, match=r"keeping.measure: takes what call keeps"):
            model.means(loss, outputs, labels)


def measured_model():
    return Measured(classes=3, optimizer=tf.train.GradientDescentOptimizer, learning_rate=0.1)


def test_a_ratio_is_that_of_the_whole_batch_and_so_is_its_gradient():
    # Of other weights in each part, the mean of their quotients would differ.
    one, losses, _ = steps(measured_model(), CPUS[:1], X[:30], Y[:30])
    three, others, _ = steps(measured_model(), CPUS[:3], X[:30], Y[:30])
    check_alike(one, three)
    numbers, other_numbers = losses[0]["weighted"], others[0]["weighted"]
    np.testing.assert_allclose(numbers[0] / numbers[1], other_numbers[0] / other_numbers[1])


@pytest.mark.parametrize("size", [16, 20])
def test_an_evaluation_has_the_same_numbers_for_any_number_of_replicas(size):
    found = []
    for count in (1, 4):
        with tf.Graph().as_default():
            tf.set_random_seed(1)
            model = measured_model()
            model.replicas = Replicas(CPUS[:count])
            # 101 examples: the last batch has 5, or 1, which is less than there are replicas.
            evaluation = Evaluation(model, Toy(batch_size=size), "test")
            with tf.Session(config=tf.ConfigProto(device_count={"CPU": count})) as session:
                session.run(tf.global_variables_initializer())
                seen = []
                numbers = evaluation.run(
                    session, fetches=[evaluation.outputs, evaluation.labels], seen=seen.append
                )
            found.append((numbers, *map(np.concatenate, zip(*seen))))
    (numbers, outputs, labels), (others, other_outputs, other_labels) = found
    assert others == pytest.approx(numbers, rel=1e-6)
    assert others["right"] == numbers["right"]
    assert others["seen"] == numbers["seen"] == 101
    np.testing.assert_allclose(outputs, other_outputs, atol=1e-6)
    np.testing.assert_array_equal(labels, other_labels)
    assert len(outputs) == 101


def test_parts_are_alike_in_size_in_order_and_none_is_without_rows():
    with tf.Graph().as_default(), tf.Session() as session:
        rows = tf.placeholder(tf.float32, [None, 2])
        sparse = tf.sparse_placeholder(tf.int64, [None, 3])
        features = {"rows": rows, "scale": tf.constant(3.0), "sparse": sparse}
        parts = shared_out((features, rows[:, 0]), 3)
        read = [(part.size, features, labels) for part, (features, labels) in parts]
        for count, sizes in ((7, [2, 2, 3]), (2, [0, 1, 1])):
            data = np.arange(2 * count, dtype=np.float32).reshape(count, 2)
            last = tf.SparseTensorValue([[0, 1], [count - 1, 0]], [5, 6], [count, 3])
            found = session.run(read, {rows: data, sparse: last})
            assert [size for size, _, _ in found] == sizes
            counted = np.concatenate([features["rows"][:size] for size, features, _ in found])
            np.testing.assert_array_equal(counted, data)
            for size, features, labels in found:
                assert len(features["rows"]) == len(labels) == max(size, 1)
                assert features["sparse"].dense_shape.tolist() == [len(labels), 3]
                assert features["scale"] == 3
            values = [features["sparse"].values.tolist() for _, features, _ in found]
            assert values == ([[5], [], [6]] if count == 7 else [[5], [5], [6]])
        with pytest.raises(DataError, match=r"found \[3, 4\] examples"):
            shared_out((tf.zeros([3]), tf.zeros([4])), 2)


def test_each_replica_computes_on_its_device_with_variables_of_the_first():
    with tf.Graph().as_default() as graph:
        model = MLP(hidden=16)
        model.replicas = Replicas(CPUS[:2])
        model.build_step(tf.constant(X[:8]), tf.constant(Y[:8]))
    operations = graph.get_operations()
    own = {op.device for op in operations if op.type == "VarHandleOp" and "Adam" not in op.name}
    assert own == {"", CPUS[0]}  # the global step is anywhere
    products = [op for op in operations if op.type == "MatMul"]
    forward = [op.device for op in products if "gradients" not in op.name]
    assert sorted(forward) == [CPUS[0]] * 2 + [CPUS[1]] * 2
    backward = [op.colocation_groups() for op in products if "gradients" in op.name]
    assert sum(b"replica_1/" in group for groups in backward for group in groups) == 4


def test_the_graph_of_one_device_names_no_device(digits):
    digits.prepare()
    with tf.Graph().as_default() as graph:
        build_training_graph(SessionTrainer(), MLP(hidden=4), digits)
    assert {op.device for op in graph.get_operations() if "MatMul" in op.type} == {""}
    names = [op.name for op in graph.get_operations()]
    assert not [name for name in names if "parts/" in name or "joined/" in name]


def test_a_run_goes_from_one_device_to_several_and_back(fit, tmp_path, variables, caplog):
    for name, stops in (("straight", [(1, 12)]), ("moved", [(1, 3), (2, 8), (1, 12)])):
        for replicas, last_step in stops:
            fit(tmp_path / name, last_step, replicas=replicas)
    check_alike(variables(tmp_path / "straight"), variables(tmp_path / "moved"), 1e-4)
    assert [text for text in caplog.messages if "building" in text] == [
        "building the model for 2 devices"
    ]


def test_weights_are_bit_equal_in_the_inner_loop_and_after_a_restart(fit, tmp_path, variables):
    for name, length, stops in (("plain", 1, [8]), ("again", 100, [5, 8])):
        for stop in stops:
            model = Normed(hidden=16, dropout=0.5, ema_decay=0.9)
            fit(tmp_path / name, stop, model, replicas=2, steps_per_loop=length)
    check_alike(variables(tmp_path / "plain"), variables(tmp_path / "again"), 0)


class Root(MLP):
    """Its loss is not finite where the fourth number of an example is above 1.9."""

    def call(self, inputs, training=False):
        return super().call(inputs, training) + 0 * tf.sqrt(1.9 - inputs[:, 3:])


def test_a_nan_in_one_replica_stops_all_before_anything_is_written(fit, tmp_path):
    with pytest.raises(NotFiniteError, match=r"after step 0; .*: replica_1/root") as caught:
        fit(tmp_path / "run", 10, Root(hidden=4, classes=3), Holed(batch_size=20), replicas=2)
    assert "nothing was written since" in str(caught.value)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


class Holed(Toy):
    """Twenty examples, of which the last alone has a fourth number above 1.9."""

    def records(self, split):
        inputs = np.minimum(X[:20], 1.0)
        inputs[19, 3] = 2.0
        return tf.data.Dataset.from_tensor_slices((inputs, Y[:20]))

    def batches(self, split, training=False, start_step=0):
        batches = self.records(split).batch(20)
        return batches.repeat() if training else batches


class Writing(Model):
    """What `write` does is done in each call."""

    def __init__(self, write, **others):
        super().__init__(**others)
        self.write = write

    def build(self, input_shape):
        self.dense = tf.keras.layers.Dense(3)
        self.seen = self.add_weight("seen", [4], trainable=False, initializer="zeros")
        self.count = self.add_weight("count", [], tf.int64, trainable=False, initializer="zeros")
        super().build(input_shape)

    def call(self, inputs, training=False):
        self.write(self, inputs)
        return self.dense(inputs)

    def loss(self, outputs, labels):
        return tf.reduce_mean(tf.square(outputs))


def write_mean(model, inputs):
    model.add_update(model.seen.assign_sub(model.seen - tf.reduce_mean(inputs, axis=0)))
    model.add_update(model.count.assign_add(1))


def write_size(model, inputs):
    model.add_update(model.count.assign_add(tf.shape(inputs, out_type=tf.int64)[0]))


def write_sum(model, inputs):
    model.add_update(model.seen.assign_add(tf.reduce_sum(inputs, axis=0)))


def write_most(model, inputs):
    model.add_update(model.seen.assign(tf.maximum(model.seen, tf.reduce_max(inputs, axis=0))))


def write_row(model, inputs):
    model.add_update(tf.scatter_update(model.seen, [0], inputs[0, :1]))


def write_once(model, inputs):
    if not model.updates:
        write_mean(model, inputs)


def write_new(model, inputs):
    model.add_update(tf.Variable(0.0, trainable=False).assign_add(1.0))


class WritingAll(Writing):
    """Runs the updates of all replicas."""

    def optimize(self, loss, updates=(), writes=()):
        return tf.group(super().optimize(loss, updates, writes), *self.updates)


def test_moving_averages_move_by_the_mean_and_what_is_alike_is_written_once():
    found, _, _ = steps(Writing(write_mean), CPUS, X[:20], Y[:20], count=1)
    np.testing.assert_allclose(found["writing/seen"], X[:20].mean(axis=0), atol=1e-6)
    assert found["writing/count"] == 1


@pytest.mark.parametrize(
    ("kind", "write", "message"),
    [
        (Writing, write_row, r"ResourceScatterUpdate\): writes what it makes of the examples"),
        (Writing, write_size, r"AssignAddVariableOp\): writes what it makes of the examples"),
        (Writing, write_sum, r"AssignAddVariableOp\): .*: write variable.assign_sub\("),
        (Writing, write_most, r"AssignVariableOp\): .*, or train with trainer.replicas=1"),
        (Writing, write_once, "replicas write different variables: .*AssignSubVariableOp"),
        (Writing, write_new, "Variable: created again for replica 1"),
        (WritingAll, write_mean, "AssignAddVariableOp.*: written by a replica for itself, too"),
    ],
)
def test_writes_that_would_differ_from_those_of_one_device_are_an_error(kind, write, message):
    with pytest.raises(ModelError, match=message):
        steps(kind(write), CPUS[:2], X[:20], Y[:20])


class Noisy(Writing):
    """`write` makes what is added to the outputs."""

    def call(self, inputs, training=False):
        return self.dense(inputs) + self.write(self, inputs)


def noise_of_a_part(model, inputs):
    return tf.random.stateless_normal([tf.shape(inputs)[0], 3], seed=[1, 2])


def noise(model, inputs):
    shape = [tf.shape(inputs)[0], 3]
    return drawn_for_part(lambda each: tf.random.stateless_normal(each, seed=[1, 2]), shape)


def test_noise_is_that_of_one_device_or_refused():
    (one, two), _, _ = zip(
        *(steps(Noisy(noise), CPUS[:n], X[:20], Y[:20], count=2) for n in (1, 2))
    )
    for name in one:
        np.testing.assert_allclose(two[name], one[name], atol=1e-5, err_msg=name)
    with pytest.raises(ModelError, match=r"draws the same numbers for each part .* drawn_for_part"):
        steps(Noisy(noise_of_a_part), CPUS[:2], X[:20], Y[:20], count=1)


def test_rows_that_are_drawn_are_the_right_ones_of_a_large_batch():
    rows = 2**16  # whose square is 0 in 32 bits

    def draw(shape):
        return tf.random.stateless_normal(shape, seed=[1, 2])

    with tf.Graph().as_default(), tf.Session() as session:
        with taken(Part(rows, rows, rows, 0.5)):
            second = drawn_for_part(draw, tf.constant([rows, 1]))
        found, whole = session.run([second, draw([2 * rows, 1])])
    np.testing.assert_array_equal(found, whole[rows:])


class Shaped(Writing):
    """Its outputs are what `write` makes, too."""

    def call(self, inputs, training=False):
        return {"rows": self.dense(inputs), "other": self.write(self, inputs)}

    def loss(self, outputs, labels):
        return tf.reduce_mean(tf.square(outputs["rows"]))


@pytest.mark.parametrize("other", [lambda _, rows: rows[:3], lambda _, rows: tf.shape(rows)[0]])
def test_an_output_that_cannot_be_joined_is_refused(other):
    with pytest.raises(ModelError, match=r"found an output .* of a part of 10 examples"):
        steps(Shaped(other), CPUS[:2], X[:20], Y[:20], count=1)


def test_settings_that_do_not_fit_are_named(fit, tmp_path, monkeypatch):
    for replicas, advice in (
        (3, r"set it to 63 \(or 66\), or set trainer.replicas=2"),
        (1000, "equally; set trainer.replicas=64"),
    ):
        with pytest.raises(ConfigError, match=rf"batch_size=64: {replicas} replicas .*{advice}$"):
            fit(tmp_path / "run", replicas=replicas)
    with pytest.raises(ConfigError, match=r"trainer.replicas: found 2; trainer=keras"):
        KerasTrainer(replicas=2)
    monkeypatch.setattr(tf.config.experimental, "list_physical_devices", lambda kind: [kind] * 3)
    with pytest.raises(ConfigError, match=r"trainer.replicas=4: TensorFlow lists 3 GPUs"):
        SessionTrainer(replicas=4).replica_devices()
    gpus = ["/device:GPU:0", "/device:GPU:1", "/device:GPU:2"]
    assert replica_devices(session_config()) == gpus
    assert replica_devices(session_config("0,2")) == gpus[:2]
    assert replica_devices(session_config(), 2) == gpus[:2]
    assert replica_devices(session_config("1")) == [""]
    config = session_config("none")
    assert replica_devices(config, 2) == CPUS[:2]
    assert config.device_count["CPU"] == 2


def test_as_many_gpus_train_as_divide_the_batch(monkeypatch, caplog):
    trainer, gpus = SessionTrainer(), []
    monkeypatch.setattr(tf.config.experimental, "list_physical_devices", lambda kind: gpus)
    for there, size, train in ((3, 128, 2), (4, 128, 4), (5, 128, 4), (6, 128, 4), (7, 128, 4)):
        gpus[:] = ["GPU"] * there
        check_shared_out(trainer, Toy(batch_size=size))
        assert len(trainer.replica_devices()) == train
    assert len(caplog.messages) == 4
    assert caplog.messages[0] == (
        "3 GPUs cannot share data.batch_size=128 equally: 2 of them train; set it to 126 (or 129) "
        "to use all"
    )
    check_shared_out(trainer, Toy(batch_size=5))
    assert trainer.replica_devices() == [f"/device:GPU:{number}" for number in range(5)]
    assert "7 GPUs" in caplog.messages[4]
    assert caplog.messages[4].endswith("5 of them train; set it to 7 to use all")
    check_shared_out(trainer, Toy(batch_size=11))
    assert trainer.replica_devices() == [""]
    assert "1 of them trains; set it to 7 (or 14)" in caplog.messages[5]
    with pytest.raises(ConfigError, match=r"128: 6 replicas .* trainer.replicas=4"):
        check_shared_out(SessionTrainer(replicas=6), Toy(batch_size=128))
