"""A loss that several devices would silently make another one is refused before the first step."""

import pytest
import tensorflow.compat.v1 as tf
from my_project.engine.cluster.collective import Workers
from my_project.engine.errors import ModelError
from my_project.engine.graph.measures import Ratio
from my_project.engine.graph.workers import set_workers
from my_project.engine.loop.evaluation import Evaluation
from my_project.engine.loop.graph import build_training_graph
from my_project.engine.loop.same_loss import SameLossHook
from my_project.model.gan import GAN
from my_project.model.mlp import MLP
from my_project.model.rnn import RNN
from my_project.train.trainer import SessionTrainer
from toy import Toy


class Of(MLP):
    """Its loss is what `kind` makes of the losses of the examples; it samples if `drawn`."""

    def __init__(self, kind, drawn=False):
        super().__init__(hidden=4, classes=3, name="of")
        self.kind, self.drawn = kind, drawn

    def call(self, inputs, training=False):
        outputs = super().call(inputs, training)
        if self.drawn:
            outputs += tf.random.stateless_normal(tf.shape(outputs), [1, 2])
        return outputs

    def loss(self, outputs, labels):
        each = self.loss_function(labels, outputs)
        return self.kind(each, tf.cast(labels > 0, tf.float32))


def mean(each, mask):
    return tf.reduce_mean(each)


def total(each, mask):
    return tf.reduce_sum(each)


def root(each, mask):
    return tf.sqrt(tf.reduce_mean(tf.square(each)))


def masked(each, mask):
    return tf.reduce_sum(each * mask) / tf.reduce_sum(mask)


def ratio(each, mask):
    return Ratio(tf.reduce_sum(each * mask), tf.reduce_sum(mask))


def check_session(hook):
    with tf.Session() as session:
        session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
        hook.after_create_session(session, None)


def check(model, dataset, count=2):
    with tf.Graph().as_default():
        evaluation = Evaluation(model, dataset, "test")
        check_session(SameLossHook(model, evaluation, count))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (total, r"of\.loss: found \S+ for 16 examples, but \S+ as the mean over parts"),
        (root, r"of\.loss: .* or Ratio\(numerator, denominator\), .*trainer\.replicas=1"),
        (masked, r"of\.loss: found"),
        (lambda *x: {"mean": mean(*x), "sum": total(*x)}, r"of\.loss: found sum="),
    ],
    ids=["sum", "root", "masked", "one of several"],
)
def test_a_loss_that_is_no_mean_over_examples_is_refused_by_name(kind, message):
    with pytest.raises(ModelError, match=message) as caught:
        check(Of(kind), Toy(batch_size=20))
    assert "\n" not in str(caught.value)
    assert "drawn_for_part" not in str(caught.value)


@pytest.mark.parametrize("count", [2, 30])
def test_a_mean_and_a_ratio_of_sums_are_accepted(count):
    check(Of(lambda *x: {"mean": mean(*x), "ratio": ratio(*x)}), Toy(batch_size=20), count)


@pytest.mark.parametrize("make", [lambda: GAN(latent=4, filters=2), lambda: RNN(units=4)])
def test_models_that_draw_noise_or_have_several_losses_are_accepted(make, digits):
    digits.prepare()
    check(make(), digits)


def test_random_numbers_that_are_not_those_of_the_example_are_named():
    with pytest.raises(ModelError, match=r"draws the same numbers for each part .* drawn_for_part"):
        check(Of(mean, drawn=True), Toy(batch_size=20))


def test_a_run_of_one_device_may_have_any_loss_and_cannot_resume_on_two(fit, tmp_path):
    fit(tmp_path / "run", 2, Of(masked), Toy(batch_size=20))
    with pytest.raises(ModelError, match=r"of\.loss: found"):
        fit(tmp_path / "run", 4, Of(masked), Toy(batch_size=20), replicas=2)


def test_workers_check_it_each_by_itself():
    with tf.Graph().as_default():
        set_workers(Workers(1, 2))
        graph = build_training_graph(SessionTrainer(), Of(root), Toy(batch_size=20))
        (hook,) = graph.checks
        with pytest.raises(ModelError, match=r"of\.loss: found"):
            check_session(hook)
