"""One case of the benchmarks of training, in a process of its own.

    training_cases.py CASE MODEL STEPS IMAGES INTRA INTER [BATCH]

Runs in a baked project (my_project), on its Python; prints its figures as a line of JSON.
"""

from __future__ import annotations

import importlib
import json
import statistics
import sys
import time
from typing import NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

BATCH_SIZE = 128
STRETCHES = 5
IMAGES = "datasets/images.npz"


class Work(NamedTuple):
    """The same work for all: Adam, batches of images of 28 x 28, 10 classes."""

    # mlp: 784-64-10; cnn, lstm (of 96 units, over rows), resnet (of 20 layers): the project's; all
    # without dropout and averages
    model: str
    steps: int  # of a stretch; the fastest of five counts, after one that does not
    images: str  # MNIST or Digits
    intra: int  # threads within an operation; 0 lets TensorFlow choose
    inter: int  # operations at a time
    batch: int = BATCH_SIZE

    def make_model(self, **others):
        from my_project.model import losses

        module, name, settings = {
            "mlp": ("mlp", "MLP", {"hidden": 64, "dropout": 0.0}),
            "cnn": ("cnn", "CNN", {"dropout": 0.0}),
            "lstm": ("rnn", "RNN", {"dropout": 0.0}),
            "resnet": ("resnet", "ResNet", {"blocks": 3}),
        }[self.model]
        make = getattr(importlib.import_module(f"my_project.model.{module}"), name)
        plain = {"classes": 10, "ema_decay": 0.0, "loss": losses.crossentropy()}
        return make(**settings, **plain, **others)

    def dataset(self):
        from my_project.data.digits import Digits
        from my_project.data.mnist import MNIST

        images = {"MNIST": MNIST, "Digits": Digits}[self.images]
        return images(batch_size=self.batch)

    def threads(self) -> tf.ConfigProto:
        return tf.ConfigProto(
            intra_op_parallelism_threads=self.intra, inter_op_parallelism_threads=self.inter
        )

    def rate(self, times: list[float], steps: float = 0) -> dict[str, float]:
        """Of the fastest stretch; times: in seconds, the start of the first and the ends of all."""
        return {"examples_per_sec": self.batch * (steps or self.steps) / min(np.diff(times))}


def write(work: Work) -> dict[str, float]:
    """All training images as arrays, for those that are not of the project."""
    dataset = work.dataset()
    dataset.prepare()
    pixels, labels = (np.fromfile(path, np.uint8) for path in dataset.files("train"))
    features = pixels[16:].reshape(-1, 28, 28, 1).astype(np.float32) / 255.0
    np.savez(IMAGES, features=features, labels=labels[8:].astype(np.int32))
    return {}


def arrays() -> tuple[np.ndarray, np.ndarray]:
    """Features float32 [count, 28, 28, 1], 0-1, and labels int32 [count]."""
    with np.load(IMAGES) as images:
        return images["features"], images["labels"]


def constant_batch(size: int) -> tuple[tf.Tensor, tf.Tensor]:
    return tuple(tf.constant(array[:size]) for array in arrays())


def batches_of_arrays(size: int) -> tf.data.Dataset:
    """Batches as TensorFlow's guide makes them."""
    examples = tf.data.Dataset.from_tensor_slices(arrays()).shuffle(10000).repeat()
    return examples.batch(size).prefetch(1)


def plain_step(model, features: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Operation, tf.Tensor]:
    """The model's step as TensorFlow has it: no check, clipping or norm; and its loss."""
    loss = model.loss(model(features, training=True), labels)
    optimizer = tf.train.AdamOptimizer(1e-3)
    return optimizer.minimize(loss, tf.train.get_or_create_global_step()), loss


class InGraph:
    """Steps on a constant batch, in a loop inside the graph: what there is to compute."""

    def __init__(self, work: Work, guarded: bool = False) -> None:
        with tf.Graph().as_default():
            model, batch = work.make_model(), constant_batch(work.batch)
            optimizer = tf.train.AdamOptimizer(1e-3)
            global_step = tf.train.get_or_create_global_step()

            def step() -> tf.Operation:
                if guarded:
                    return model.build_step(*batch)[0]
                loss = model.loss(model(batch[0], training=True), batch[1])
                return optimizer.minimize(loss, global_step)

            def body(done: tf.Tensor) -> tf.Tensor:
                with tf.control_dependencies([step()]):
                    return done + 1

            step()  # makes the variables
            self.count = tf.placeholder(tf.int64, [])
            self.loop = tf.while_loop(
                lambda done: done < self.count,
                body,
                [tf.constant(0, tf.int64)],
                parallel_iterations=1,
            )
            self.session = tf.Session(config=work.threads())
            self.session.run(tf.global_variables_initializer())
            self.secs(min(work.steps, 200))

    def secs(self, steps: int) -> float:
        start = time.perf_counter()
        self.session.run(self.loop, {self.count: steps})
        return time.perf_counter() - start


def limit(work: Work) -> dict[str, float]:
    """The compute limit."""
    loop = InGraph(work)
    return work.rate([0, *np.cumsum([loop.secs(work.steps) for _ in range(STRETCHES)])])


def guards(work: Work) -> dict[str, float]:
    """What checks, clipping and norms add to the plain step, in % of it.

    In turns, in one process: the median of pairs, since a machine's speed drifts.
    """
    plain, guarded = InGraph(work), InGraph(work, guarded=True)
    steps = max(work.steps // 4, 1)
    pairs = [guarded.secs(steps) / plain.secs(steps) for _ in range(4 * STRETCHES + 1)]
    return {"percent": 100 * (statistics.median(pairs) - 1)}


def fit(work: Work, hooks=(), model=None, **settings) -> list[float]:
    """Trains as users do; returns when the first stretch and the five that count ended."""
    from my_project.train.hooks.every import EveryHook
    from my_project.train.trainer import SessionTrainer

    settings = {"evaluate_every_n_steps": 0, **settings}  # peers do not evaluate, either
    times = []

    class Watch(EveryHook):
        def act(self, session, step, values):
            times.append(time.perf_counter())

    ends = [work.steps * (1 + stretch) for stretch in range(STRETCHES + 1)]
    SessionTrainer(
        run_dir=f"runs/{time.time()}",
        last_step=ends[-1] + 1,
        hooks=[*hooks, Watch(always=ends)],
        intra_op_threads=work.intra,
        inter_op_threads=work.inter,
        **settings,
    ).fit(model or work.make_model(), work.dataset())
    return times


def ours(work: Work) -> dict[str, float]:
    """The session trainer with its hooks at their usual intervals, evaluation at the end."""
    return work.rate(fit(work))


def share(work: Work) -> dict[str, float]:
    """The speed of training as a share of the limit, as it comes and inside the loop alone.

    In turns, in one process, since a machine's speed drifts; the fastest stretch of each counts.
    """
    from my_project.train.hooks.every import EveryHook

    steps = max(work.steps // 2, 1)
    limit = InGraph(work)

    class Turns(EveryHook):
        def begin(self) -> None:
            super().begin()
            self.start, self.own, self.least = 0.0, [], []

        def act(self, session, step, values) -> None:
            if self.start:
                self.own.append(time.perf_counter() - self.start)
            self.least.append(limit.secs(steps))
            self.start = time.perf_counter()

    def found(**settings) -> float:
        turns = Turns(steps)
        fit(work, [turns], **settings)
        return min(turns.least) / min(turns.own)

    off = {f"{what}_every_n_steps": 0 for what in ("log", "summary", "checkpoint")}
    return {"whole": found(), "in_loop": found(steps_per_loop=10**6, **off)}


def evaluating(work: Work) -> dict[str, float]:
    """The same, evaluating the whole test split every 500 steps."""
    return work.rate(fit(work, evaluate_every_n_steps=500))


def float16(work: Work) -> dict[str, float]:
    """The same in mixed precision."""
    return work.rate(fit(work, model=work.make_model(loss_scale=128.0)))


def xla(work: Work) -> dict[str, float]:
    """The same, compiled for the GPU."""
    return work.rate(fit(work, xla=True))


def plain(work: Work) -> dict[str, float]:
    """The same with a session.run for each step."""
    return work.rate(fit(work, steps_per_loop=1))


class Count(tf.train.SessionRunHook):
    """Records when each stretch ends, and costs nothing in between."""

    def __init__(self, work: Work) -> None:
        self.steps, self.done, self.times = work.steps, 0, []

    def after_run(self, run_context, run_values) -> None:
        self.done += 1
        if self.done % self.steps == 0:
            self.times.append(time.perf_counter())
            if len(self.times) == STRETCHES + 1:
                run_context.request_stop()


def in_monitored_session(work: Work, batches: tf.data.Dataset) -> dict[str, float]:
    """The plain step in a MonitoredTrainingSession as it is, a session.run for each."""
    batch = tf.data.make_one_shot_iterator(batches).get_next()
    train_op, loss = plain_step(work.make_model(), *batch)
    tf.summary.scalar("loss", loss)
    count = Count(work)
    with tf.train.MonitoredTrainingSession(
        checkpoint_dir=f"runs/{time.time()}", hooks=[count], config=work.threads()
    ) as session:
        while not session.should_stop():
            session.run(train_op)
    return work.rate(count.times)


def script(work: Work) -> dict[str, float]:
    """A script of 2018: a Python function for each example."""
    from data_cases import py_func

    return in_monitored_session(work, py_func(work.images))


def monitored(work: Work) -> dict[str, float]:
    """The same with batches of arrays."""
    return in_monitored_session(work, batches_of_arrays(work.batch))


def keras_model(keras, model: str):
    """The project's model, as a user of Keras would write it."""
    layers, relu = keras.layers, keras.activations.relu
    hidden = inputs = keras.Input([28, 28, 1])

    def conv(filters: int, size: int, stride: int = 1):
        decay = keras.regularizers.l2(0.5e-4)
        options = {"padding": "same", "use_bias": False, "kernel_regularizer": decay}
        return layers.Conv2D(filters, size, stride, **options)

    def active(hidden):
        return layers.Activation(relu)(layers.BatchNormalization()(hidden))

    if model == "cnn":
        for filters in (16, 32):
            hidden = layers.Conv2D(filters, 3, padding="same", activation="relu")(hidden)
            hidden = layers.MaxPooling2D()(hidden)
    if model in ("mlp", "cnn"):
        units = {"mlp": 64, "cnn": 128}[model]
        hidden = layers.Dense(units, activation="relu")(layers.Flatten()(hidden))
    if model == "lstm":
        hidden = layers.LSTM(96)(layers.Reshape([28, 28])(hidden))
    if model == "resnet":
        hidden = conv(16, 3, 2)(hidden)
        blocks = [(16, 1)] * 3 + [(32, 2), (32, 1), (32, 1), (64, 2), (64, 1), (64, 1)]
        for filters, stride in blocks:
            before = active(hidden)
            shortcut = conv(filters, 1, stride)(before) if stride > 1 else hidden
            added = conv(filters, 3)(active(conv(filters, 3, stride)(before)))
            hidden = layers.add([added, shortcut])
        hidden = layers.GlobalAveragePooling2D()(active(hidden))
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(hidden))


def keras(work: Work) -> dict[str, float]:
    """Keras' fit on arrays, as it is shipped and as its tutorials have it."""
    import tensorflow  # not compat.v1: 2.x is to be what it is

    made = keras_model(tensorflow.keras, work.model)
    made.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    features, labels = (array[: work.steps * work.batch] for array in arrays())
    epochs = max(work.steps * work.batch // len(labels), 1)  # of a stretch
    times = []

    class Watch(tensorflow.keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if (epoch + 1) % epochs == 0:
                times.append(time.perf_counter())

    watch, every = Watch(), epochs * (STRETCHES + 1)
    made.fit(features, labels, batch_size=work.batch, epochs=every, verbose=2, callbacks=[watch])
    return work.rate(times, epochs * len(labels) / work.batch)


def estimator(work: Work) -> dict[str, float]:
    """tf.estimator with its usual settings, and batches as its guide makes them."""

    def model_fn(features, labels, mode):
        train_op, loss = plain_step(work.make_model(), features, labels)
        return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train_op)

    count = Count(work)
    config = tf.estimator.RunConfig(session_config=work.threads())
    made = tf.estimator.Estimator(model_fn, "runs/estimator", config)
    made.train(lambda: batches_of_arrays(work.batch), [count])
    return work.rate(count.times)


def tensorpack(work: Work) -> dict[str, float]:
    """tensorpack's SimpleTrainer and usual callbacks, batches cut from arrays by a thread."""
    import tensorpack

    features, labels = arrays()

    class Batches(tensorpack.dataflow.DataFlow):
        def __iter__(self):
            while True:
                order = np.random.permutation(len(labels))
                for start in range(0, len(order) - BATCH_SIZE + 1, BATCH_SIZE):
                    chosen = order[start : start + BATCH_SIZE]
                    yield [features[chosen], labels[chosen]]

    class Description(tensorpack.ModelDesc):
        def inputs(self):
            image = tf.TensorSpec([None, 28, 28, 1], tf.float32, "image")
            return [image, tf.TensorSpec([None], tf.int32, "label")]

        def build_graph(self, image, label):
            model = work.make_model()
            return model.loss(model(image, training=True), label)

        def optimizer(self):
            return tf.train.AdamOptimizer(1e-3)

    times = []

    class Watch(tensorpack.Callback):
        def _trigger_epoch(self):
            times.append(time.perf_counter())

    tensorpack.logger.set_logger_dir("runs/tensorpack", action="d")
    config = tensorpack.TrainConfig(
        model=Description(),
        data=tensorpack.QueueInput(Batches()),
        callbacks=[Watch(), tensorpack.ModelSaver()],
        steps_per_epoch=work.steps,
        max_epoch=STRETCHES + 1,
        session_config=work.threads(),
    )
    tensorpack.launch_train_with_config(config, tensorpack.SimpleTrainer())
    return work.rate(times)


def hooks(work: Work) -> dict[str, float]:
    """Microseconds of a step in the inner loop and by session.run, and what each hook adds.

    Each hook alone, acting at every step.
    """
    from my_project.engine.loop.progress import ProgressHook

    class Bar(ProgressHook):
        def __init__(self) -> None:
            super().__init__("training/loss:0", BATCH_SIZE, 10**9, every_n_secs=1e-9)

    off = {"log_every_n_steps": 0, "summary_every_n_steps": 0, "checkpoint_every_n_steps": 0}

    def micros(steps: int = work.steps, inner: int = 1, **settings) -> float:
        times = fit(work._replace(steps=steps), steps_per_loop=inner, **{**off, **settings})
        return 1e6 * min(np.diff(times)) / steps

    found = {"in_graph": micros(inner=10**6), "session_run": micros()}
    for name, steps in (("log", work.steps), ("summary", work.steps), ("checkpoint", 20)):
        found[name] = micros(steps, **{f"{name}_every_n_steps": 1}) - found["session_run"]
    found["evaluation"] = micros(5, evaluate_every_n_steps=1) - found["session_run"]
    with open("progress.txt", "w") as sys.stderr:
        sys.stderr.isatty = lambda: True
        found["progress"] = micros(hooks=[Bar()]) - found["session_run"]
    sys.stderr = sys.__stderr__
    return found


def memory(work: Work) -> dict[str, float]:
    """How memory grows in 100 evaluations, after the first 20 of them, in MiB."""
    import psutil
    from my_project.train.hooks.every import EveryHook

    mib = []

    class Watch(EveryHook):
        def act(self, session, step, values):
            mib.append(psutil.Process().memory_info().rss / 2**20)

    total = (STRETCHES + 1) * work.steps
    fit(work, [Watch(total // 100)], evaluate_every_n_steps=total // 100)
    return {"steps": total, "mib_at_20": mib[19], "growth_mib": max(mib[20:]) - mib[19]}


if __name__ == "__main__":
    case, model, steps, images, *threads = sys.argv[1:]
    if case != "keras":
        importlib.import_module("my_project.data")  # both TensorFlows then behave alike
    sys.stdout, printed = sys.stderr, sys.stdout  # for what others print
    work = Work(model, int(steps), images, *map(int, threads))
    print(json.dumps(globals()[case](work)), file=printed)
