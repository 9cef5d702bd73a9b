"""A generative adversarial network: two networks, two losses and two optimizers in one step."""

from __future__ import annotations

import functools
from typing import Any, Callable, Sequence

import tensorflow.compat.v1 as tf

from ..engine.errors import ModelError, check_at_least
from ..engine.graph.contract import image_shape
from ..engine.graph.dropout import completed_steps
from ..engine.graph.optimize import Optimization, guard
from ..engine.graph.per_example import drawn_for_part
from .dcgan import Discriminator, Generator
from .model import Losses, Model, Nest


class GAN(Model):
    """Learns to generate images like those it sees: Goodfellow et al. 2014.

    Args:
        latent: random numbers that an image is generated from.
        filters: the width of both networks; see `dcgan`.
        spectral_norm: whether to divide the discriminator's kernels by their norm.
        discriminator_updates: for each update of the generator.
        learning_rate, optimizer: of both networks; see `Optimization`.
        freeze, warm_start, name: see `Model`.
        optimization: the rest of it, with the schedule.
    """

    def __init__(
        self,
        latent: int = 64,
        filters: int = 32,
        spectral_norm: bool = True,
        discriminator_updates: int = 1,
        learning_rate: float = 2e-4,
        optimizer: Callable[..., Any] = functools.partial(tf.train.AdamOptimizer, beta1=0.5),
        freeze: Sequence[str] = (),
        warm_start: dict[str, Any] | None = None,
        name: str | None = None,
        **optimization: Any,
    ) -> None:
        optimization.update(learning_rate=learning_rate, optimizer=optimizer)
        super().__init__(freeze, warm_start, name, **optimization)
        check_at_least(
            1, "model", discriminator_updates=discriminator_updates, latent=latent, filters=filters
        )
        optimization["schedule"] = self.optimization.schedule
        self.discriminator_optimization = Optimization(**optimization)
        # Evaluation and export put these in place, of both networks or of none.
        self.discriminator_optimization.averages = self.optimization.averages
        self.latent = latent
        self.filters = filters
        self.spectral_norm = spectral_norm
        self.discriminator_updates = discriminator_updates

    def build(self, input_shape: tf.TensorShape) -> None:
        shape = image_shape(self, input_shape)
        if shape[0] % 4 or shape[1] % 4:
            raise ModelError(f"{self.name}: found {shape}, expected sizes divisible by 4")
        self.generator = Generator(shape, self.filters, name="generator")
        self.discriminator = Discriminator(self.filters, self.spectral_norm, name="discriminator")
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool = False) -> Nest:
        """Images [batch, ...] -> n generated "images", and the logits for "real" and "drawn"."""
        noise = self._noise(tf.shape(inputs)[0], completed_steps() if training else -1)
        drawn = self.generator(noise, training=training)
        # In one call, so that the spectral norms are updated once.
        logits = self.discriminator(tf.concat([inputs, drawn], axis=0), training=training)
        real, fake = tf.split(logits, 2)
        if training:
            tf.summary.image("samples", self.generator.samples(self._noise(64, -1)), max_outputs=1)
        return {"images": drawn, "real": real, "drawn": fake}

    def loss(self, outputs: Nest, labels: tf.Tensor) -> Losses:
        """The non-saturating losses, mean cross-entropies in nats."""
        real, drawn = outputs["real"], outputs["drawn"]
        return {
            "generator": tf.reduce_mean(tf.nn.softplus(-drawn)),
            "discriminator": tf.reduce_mean(tf.nn.softplus(-real) + tf.nn.softplus(drawn)),
        }

    def measure(self, outputs: Nest, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        """Whether the discriminator is right: bool [batch]."""
        return {"right_on_real": outputs["real"] > 0, "right_on_drawn": outputs["drawn"] < 0}

    def predict(self, outputs: Nest) -> dict[str, tf.Tensor]:
        """images: float32 [batch, rows, columns, channels], 0–1; the same for each batch."""
        return {"images": outputs["images"]}

    def optimize(self, loss: Losses, updates: Any = (), writes: Any = ()) -> tf.Operation:
        """One update of the discriminator, of the generator when it is due, and of the step."""
        generator = self.optimization.gradients(loss["generator"], self._trained(self.generator))
        discriminator = self.discriminator_optimization.gradients(
            loss["discriminator"], self._trained(self.discriminator)
        )
        step = tf.train.get_or_create_global_step()
        # One guard for both: neither is updated unless all gradients are known and finite.
        with guard([generator, discriminator], updates, writes):
            due = tf.equal((step.read_value() + 1) % self.discriminator_updates, 0)
            both = tf.group(
                self.discriminator_optimization.apply(discriminator),
                tf.cond(due, lambda: self.optimization.apply(generator), tf.no_op),
            )
        with tf.control_dependencies([both]):
            return step.assign_add(1).op

    def _trained(self, part: tf.keras.layers.Layer) -> list[tf.Variable]:
        return [v for v in part.trainable_variables if not self.is_frozen(v)]

    def _noise(self, count: Any, step: Any) -> tf.Tensor:
        """Normal float32 [count, latent], the same for the same step."""
        key = [tf.cast(number, tf.int64) for number in (tf.get_default_graph().seed or 0, step)]
        return drawn_for_part(
            lambda shape: tf.random.stateless_normal(shape, seed=tf.stack(key)),
            [count, self.latent],
        )
