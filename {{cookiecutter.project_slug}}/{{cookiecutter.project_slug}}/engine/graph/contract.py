"""What a model takes and what it predicts: refused in one line where it does not fit."""

from __future__ import annotations

from typing import Any, Iterable

import tensorflow.compat.v1 as tf

from ..errors import ModelError, explained


def floats(model: Any, features: Any) -> tf.Tensor:
    """Features [batch, ...] as float32; raises ModelError unless they are one array."""
    if not isinstance(features, tf.Tensor):
        found = tf.nest.map_structure(lambda x: f"{x.dtype.name} {x.shape}", features)
        raise ModelError(
            f"{model.name}: found features {found}, expected one array [batch, ...]; "
            "choose another model or data, or let convert return one array"
        )
    return tf.cast(features, tf.float32)


def image_shape(model: tf.keras.layers.Layer, features: Any, any_size: bool = False) -> list[int]:
    """The rows, columns and channels of features of that shape; raises ModelError for others.

    any_size: whether rows and columns need not be known.
    """
    if not isinstance(features, tf.TensorShape) or features.rank != 4:
        raise ModelError(
            f"{model.name}: found features {tf.nest.map_structure(str, features)}, expected images "
            "[batch, rows, columns, channels]; choose another model or data"
        )
    if None in features.as_list()[3 if any_size else 1 :]:
        raise ModelError(
            f"{model.name}: found images of the shape {features}, expected "
            f"{'channels' if any_size else 'rows, columns and channels'} that are known; resize "
            "them in decode, or call set_shape in convert"
        )
    return features.as_list()[1:]


def check_imaginary(model: str, made: Iterable[tf.Operation]) -> None:
    """Raises ModelError where complex numbers become real ones, as a cast lets them."""
    for op in made:
        if op.type == "Cast" and op.inputs[0].dtype.is_complex > op.outputs[0].dtype.is_complex:
            raise ModelError(
                f"{model}: {op.name} drops the imaginary part of {op.inputs[0].name}; take both, "
                "as by tf.stack([tf.math.real(x), tf.math.imag(x)], -1), or tf.abs or tf.math.real"
            )


def predictions_of(model: Any, outputs: Any) -> dict[str, Any]:
    """What `model.predict` returned; raises ModelError unless it is a dict of tensors."""
    what = f"{model.name}.predict"
    try:
        with explained(what, ModelError):
            found = model.predict(outputs)
    except (TypeError, ValueError) as error:
        if isinstance(outputs, tf.Tensor):
            raise
        raise ModelError(
            f"{what}: found outputs that are a {type(outputs).__name__}, which it does not take; "
            'write one for them, which returns a dict name -> tensor, such as {"class": ...}'
        ) from error
    tensors = tf.nest.flatten([*found.values()]) if isinstance(found, dict) else []
    kinds = (tf.Tensor, tf.SparseTensor)
    if not tensors or not all(isinstance(each, kinds) for each in tensors):
        raise ModelError(
            f"{what}: found {found!r:.80}, expected a dict name -> tensor "
            '[batch, ...], such as {"outputs": outputs}'
        )
    return found
