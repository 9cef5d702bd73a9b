"""Models in HDF5 files: written by a run, and loaded with the loss that they were trained with.

`keras.models.load_model` takes any function for the loss that a file names, and silently evaluates
with the wrong one. So a file of ours holds the settings that its model is made from.
"""

from __future__ import annotations

import json
from typing import Any

import h5py
import tensorflow.compat.v1 as tf
from omegaconf import OmegaConf

from ...model.model import Model
from ..errors import ConfigError, RunError
from ..graph.measures import measured, total
from ..graph.step import Nest
from ..run.files import atomic_write
from ..settings.targets import check_trusted, instantiate
from ..tools.table import flat

TRAINED_WITH = "trained_with"  # JSON; not an attribute, which HDF5 limits to 64 KB


def save_model(
    keras_model: tf.keras.Model, model: Model, labels: Nest, settings: Any, path: str
) -> None:
    """Writes what `load_model` and `keras.Model.load_weights` read; averages of weights, if any.

    Args:
        keras_model: from features to outputs of `model`; its session is the default one.
        labels: a batch, for its types and shapes.
        settings: those of `model`, plain values; None if it was made without.
    """
    shapes = [(t.dtype.name, t.shape.as_list()[1:]) for t in tf.nest.flatten(labels)]
    freeze, model.freeze = model.freeze, []  # frozen weights would be the last, and read as others
    trained_with = {"settings": settings, "labels": shapes, **_description(model)}
    averages = model.optimization.averages
    try:
        with averages.in_place(tf.get_default_session()), atomic_write(path) as file:
            keras_model.save(file.name, include_optimizer=False, save_format="h5")
            with h5py.File(file.name, "a") as written:
                written[TRAINED_WITH] = json.dumps(trained_with)
    finally:
        model.freeze = freeze


def load_model(path: str, model: Model | dict[str, Any] | None = None) -> tf.keras.Model:
    """The model of model.h5, compiled with its loss and measures that are means, in this graph.

    Args:
        path: the file.
        model: settings to compare, as `model:` in config.yaml. Of a run without settings, the
            `Model` as `fit` was given it, not built; its class and the shapes of its weights are
            compared, its loss and its other arguments cannot be.

    Raises:
        RunError: there is no such file.
        ConfigError: the file was trained with other settings, or with another model.
    """
    try:
        with h5py.File(path, "r") as file:
            architecture, written = file.attrs["model_config"], json.loads(file[TRAINED_WITH][()])
    except (OSError, KeyError):
        raise RunError(f"{path}: cannot be read; expected what trainer=keras wrote") from None
    if written["settings"]:
        model = _from_settings(path, written["settings"], model)
    elif not isinstance(model, Model) or model.built:
        raise ConfigError(f"{path}: was trained without settings; give a new Model")
    model.freeze = []  # see save_model; what is loaded is not trained
    _check_architecture(path, json.loads(architecture), written["class"])
    loaded = tf.keras.models.model_from_json(architecture, {written["class"]: lambda **_: model})
    for what, found in _description(model).items():
        if found != written[what]:
            raise ConfigError(f"{path}: was trained with the {what} {written[what]}, found {found}")
    loaded.load_weights(path)
    if len(loaded.outputs) == len(written["labels"]) == 1:
        _compile(loaded, model, *written["labels"][0])
    return loaded


def _from_settings(path: str, settings: dict[str, Any], given: Any) -> Model:
    if isinstance(given, Model):
        raise ConfigError(f"{path}: was trained with settings; compare these, not a Model")
    before, now = flat(settings), flat(given or settings)
    for key in {**before, **now}:
        if before.get(key) != now.get(key):
            was = f"model.{key}={before.get(key)}"
            raise ConfigError(f"{path}: was trained with {was}, found {now.get(key)}")
    check_trusted(settings, path, given)
    return instantiate(OmegaConf.create(settings))


def _check_architecture(path: str, node: Any, own: str) -> None:
    """Raises RunError where it holds more than inputs and our model: other layers may be code."""
    for child in node.values() if isinstance(node, dict) else node:
        if isinstance(child, (dict, list)):
            _check_architecture(path, child, own)
    if isinstance(node, dict):
        known = {own, "Model", "Functional", "InputLayer", "TensorShape", "__tuple__"}
        if "module" in node or node.get("class_name", own) not in known:
            found = node.get("class_name", node.get("module"))
            raise RunError(f"{path}: holds {found}; expected what trainer=keras wrote")


def _description(model: Model) -> dict[str, Any]:
    shapes = [weight.shape.as_list() for weight in model.weights]
    return {"class": type(model).__name__, "weights": shapes}


def _compile(loaded: tf.keras.Model, model: Model, dtype: str, shape: list[int]) -> None:
    def labels(y_true: tf.Tensor) -> tf.Tensor:  # Keras makes them float32 [batch, 1]
        return tf.cast(tf.reshape(y_true, [-1, *shape]), dtype)

    metrics = []
    measures, _ = measured(model, loaded.outputs[0], labels(tf.zeros([1, *shape])), reset=True)
    for name in [name for name in measures if isinstance(measures[name], tf.Tensor)]:
        metrics.append(lambda true, pred, name=name: model.measure(pred, labels(true))[name])
        metrics[-1].__name__ = name
    loaded.compile(
        optimizer="sgd",
        loss=lambda y_true, y_pred: total(model.loss(y_pred, labels(y_true))),
        metrics=metrics,
    )
