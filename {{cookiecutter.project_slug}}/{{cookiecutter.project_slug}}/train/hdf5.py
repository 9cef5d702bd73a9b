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

from ..errors import ConfigError, RunError
from ..model.model import Model, Nest
from .config import instantiate

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
    trained_with = {
        "loss": _loss_of(model),
        "labels": [(t.dtype.name, t.shape.as_list()[1:]) for t in tf.nest.flatten(labels)],
    }
    with model.optimization.averages.in_place(tf.get_default_session()):
        keras_model.save(path + ".new", include_optimizer=False, save_format="h5")
    with h5py.File(path + ".new", "a") as file:
        file.attrs[TRAINED_WITH] = json.dumps(trained_with)
    os.replace(path + ".new", path)


def load_model(path: str, model: Model | None = None) -> tf.keras.Model:
    """The model of a file, with its weights, its loss and its measures, in the default graph.

    It evaluates and predicts; to train on, continue the run.

    Args:
        path: model.h5 of a run.
        model: not yet built, as it was given to `fit`; default: as config.yaml beside has it.

    Raises:
        RunError: there is no such file, or no config.yaml beside it and no model.
        ConfigError: the model's loss, or an argument of it, is another than that of the file.
    """
    try:
        with h5py.File(path, "r") as file:
            trained_with = json.loads(file.attrs[TRAINED_WITH])
    except (OSError, KeyError):
        raise RunError(
            f"{path}: cannot be read; expected a file that trainer=keras wrote"
        ) from None
    config = os.path.join(os.path.dirname(path), "config.yaml")
    if model is None:
        if not os.path.exists(config):
            raise RunError(f"{config}: not there; hand load_model the model, as fit was given it")
        model = instantiate(OmegaConf.load(config).model)
    found, expected = _loss_of(model), trained_with["loss"]
    if found != expected:
        raise ConfigError(
            f"{path}: was trained with the loss {expected}, found {found}; load it with the former"
        )
    made = type("Made", (), {"from_config": staticmethod(lambda config: model)})
    loaded = tf.keras.models.load_model(path, {type(model).__name__: made}, compile=False)
    if len(loaded.outputs) == len(trained_with["labels"]) == 1:
        _compile(loaded, model, *trained_with["labels"][0])
    return loaded


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
        return {"_target_": f"{type(loss).__module__}.{type(loss).__qualname__}"}
    outer = loss.__qualname__.split(".<locals>")[0]
    kept = inspect.getclosurevars(loss).nonlocals
    arguments = {name: made_from(value) for name, value in kept.items() if name != "__class__"}
    return {"_target_": f"{loss.__module__}.{outer}", **arguments}
