"""Models in HDF5 files: written by a run, and loaded with the loss that they were trained with.

`keras.models.load_model` takes any function for the loss that a file names, and evaluates with the
wrong one in silence. So a file of ours says what its loss was made from, and loading compares.
"""

from __future__ import annotations

import inspect
import json
import os
from typing import Any

import h5py
import numpy as np
import tensorflow.compat.v1 as tf
from omegaconf import OmegaConf

from ...model.model import Model, Nest
from ..errors import ConfigError, ModelError, RunError
from ..run.files import atomic_write
from ..settings.config import instantiate

TRAINED_WITH = "trained_with"  # attribute of a file: JSON


def inference_model(model: Model, features: Nest) -> tf.keras.Model:
    """What is saved of a model that is being trained; features: a batch, for its shapes."""
    empty = tf.nest.map_structure(lambda t: tf.keras.Input(t.shape[1:], dtype=t.dtype), features)
    outputs = model(empty, training=False)
    return tf.keras.Model(tf.nest.flatten(empty), tf.nest.flatten(outputs))


def save_model(keras_model: tf.keras.Model, model: Model, labels: Nest, path: str) -> None:
    """Writes inputs, outputs, weights (their averages, if it has some) and the loss.

    Args:
        keras_model: the `inference_model` of `model`; its session is the default one.
        labels: a batch, for its shapes.
        path: an HDF5 file, also fit for `keras_model.load_weights`.
    """
    text = json.dumps(trained_with(model, labels))
    freeze, model.freeze = model.freeze, []  # frozen weights would be the last, and read as others
    try:
        averages = model.optimization.averages
        with averages.in_place(tf.get_default_session()), atomic_write(path) as file:
            keras_model.save(file.name, include_optimizer=False, save_format="h5")
            with h5py.File(file.name, "a") as written:
                written.attrs[TRAINED_WITH] = text
    finally:
        model.freeze = freeze


def trained_with(model: Model, labels: Nest) -> dict[str, Any]:
    """What `load_model` compares: plain values for JSON.

    Raises:
        ConfigError: the loss was made from something that is none.
    """
    found = {
        "model": type(model).__name__,
        "weights": [weight.shape.as_list() for weight in model.weights],
        "loss": _loss_of(model),
        "labels": [(t.dtype.name, t.shape.as_list()[1:]) for t in tf.nest.flatten(labels)],
    }
    try:
        json.dumps(found)
    except TypeError as error:
        raise ConfigError(
            f"model.loss: model.h5 cannot say what {found['loss']} was made from ({error}); make "
            "it from numbers, texts, lists and other losses"
        ) from None
    return found


def load_model(path: str, model: Model | None = None) -> tf.keras.Model:
    """The model of a file, with its weights, its loss and its measures, in the default graph.

    It evaluates and predicts; to train on, continue the run.

    Args:
        path: model.h5 of a run.
        model: not yet built, as it was given to `fit`; default: as config.yaml beside has it.

    Raises:
        RunError: there is no such file, or no config.yaml beside it and no model.
        ConfigError: the model, its weights' shapes, its loss or an argument of that is another than
            that of the file.
    """
    try:
        with h5py.File(path, "r") as file:
            written = json.loads(file.attrs[TRAINED_WITH])
    except (OSError, KeyError):
        raise RunError(
            f"{path}: cannot be read; expected a file that trainer=keras wrote"
        ) from None
    config = os.path.join(os.path.dirname(path), "config.yaml")
    if model is None:
        if not os.path.exists(config):
            raise RunError(f"{config}: not there; hand load_model the model, as fit was given it")
        model = instantiate(OmegaConf.load(config).model)
    if model.built:
        raise ModelError(f"{model.name}: is in another graph already; make a new one to load")
    _check_equal(path, "model", type(model).__name__, written["model"])
    _check_equal(path, "loss", _loss_of(model), written["loss"])
    model.freeze = []  # see save_model; what is loaded is not trained
    made = type("Made", (), {"from_config": staticmethod(lambda config: model)})
    try:
        loaded = tf.keras.models.load_model(path, {type(model).__name__: made}, compile=False)
    except (ValueError, tf.errors.InvalidArgumentError):
        raise ConfigError(
            f"{path}: has weights {written['weights']}, which {model.name} does not take; make the "
            "model with the arguments it was trained with"
        ) from None
    shapes = [weight.shape.as_list() for weight in model.weights]
    _check_equal(path, "weights", shapes, written["weights"])  # which 1.15 would load all the same
    if len(loaded.outputs) == len(written["labels"]) == 1:
        _compile(loaded, model, *written["labels"][0])
    return loaded


def _check_equal(path: str, what: str, found: Any, expected: Any) -> None:
    if found != expected:
        raise ConfigError(
            f"{path}: was trained with the {what} {expected}, found {found}; take the former"
        )


def _compile(loaded: tf.keras.Model, model: Model, dtype: str, shape: list[int]) -> None:
    def labels(y_true: tf.Tensor) -> tf.Tensor:  # Keras makes them float32 [batch, 1]
        return tf.cast(tf.reshape(y_true, [-1, *shape]), dtype)

    def metric(name: str) -> Any:
        def measured(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
            return model.measure(y_pred, labels(y_true))[name]

        measured.__name__ = name
        return measured

    names = model.measure(loaded.outputs[0], tf.placeholder(dtype, [None, *shape]))
    loaded.compile(
        "sgd",
        loss=lambda y_true, y_pred: model.loss(y_pred, labels(y_true)),
        metrics=[metric(name) for name in names],
    )


def _loss_of(model: Model) -> Any:
    if type(model).loss is Model.loss:
        return made_from(model.loss_function)
    return made_from([type(model).loss, model.loss_function])


def made_from(loss: Any) -> Any:
    """The `_target_` and arguments of a loss, as they stand in YAML: plain values for JSON.

    A closure keeps the arguments of the function around it that it uses: Python itself does so.
    """
    if isinstance(loss, (list, tuple)):
        return [made_from(item) for item in loss]
    if isinstance(loss, tf.Tensor):
        return loss.name
    if not callable(loss):
        return np.asarray(loss).tolist()
    if not inspect.isroutine(loss):  # an object, such as those of tf.keras.losses
        arguments = loss.get_config() if hasattr(loss, "get_config") else vars(loss)
        return {"_target_": f"{type(loss).__module__}.{type(loss).__qualname__}", **arguments}
    outer = loss.__qualname__.split(".<locals>")[0]
    kept = inspect.getclosurevars(loss).nonlocals
    arguments = {name: made_from(value) for name, value in kept.items() if name != "__class__"}
    if "<lambda>" in outer:  # a name that tells it from no other
        arguments["source"] = inspect.getsource(loss).strip()
    return {"_target_": f"{loss.__module__}.{outer}", **arguments}
