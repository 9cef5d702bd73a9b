"""A trained model as a SavedModel: for TensorFlow Serving, or any other program."""

from __future__ import annotations

import os
import shutil
import uuid
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from ..errors import RunError
from ..graph.contract import predictions_of
from ..input.elements import CPU
from .compare import difference, tolerance
from .restored import Restored
from .table import flat

SIGNATURE = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY


def write_saved_model(restored: Restored, directory: str) -> str:
    """Writes a model that takes features and gives predictions, and loads it again to compare.

    Args:
        restored: what to write; its dataset is prepared and gives the batch to compare.
        directory: must not exist; it gets its name only after the comparison.

    Returns:
        What the signature takes and gives, and the largest difference, for people.

    Raises:
        RunError: the loaded model predicts something else, or the files cannot be written.
    """
    dataset = restored.dataset
    # In a graph of its own, so that the SavedModel has nothing of the dataset in it.
    with tf.Graph().as_default(), tf.Session(config=CPU) as session:
        batches = dataset.batches(dataset.evaluation_split)
        iterator = tf.data.make_initializable_iterator(batches)
        batch, _ = iterator.get_next()
        session.run(tf.tables_initializer())
        session.run(iterator.initializer)
        features = session.run(_named(batch))

    new = f"{directory}.{uuid.uuid4().hex}.part"  # no other export's
    try:
        os.makedirs(new)
        with restored.graph():
            nest = tf.nest.map_structure(_placeholder, batch)
            inputs = _named(nest)
            outputs = flat(predictions_of(restored.model, restored.model(nest, training=False)))
            with restored.session() as session:
                expected = session.run(outputs, {inputs[name]: features[name] for name in inputs})
                # Where it is loaded, lookup tables are initialized, too.
                tables = tf.tables_initializer()
                tf.saved_model.simple_save(session, new, inputs, outputs, legacy_init_op=tables)
        found = predict_with(new, features, restored.session_config)
        apart = {name: difference(found[name], expected[name]) for name in outputs}
        limits = {name: tolerance(restored.session_config, expected[name].dtype) for name in apart}
        different = [f"{name} by {apart[name]:.1e}" for name in apart if apart[name] > limits[name]]
        if different:
            raise RunError(
                f"{directory}: loaded again, the model predicts another {', '.join(different)} of "
                f"the largest number, expected at most {max(limits.values()):.0e}; its call or "
                "predict may depend on something that is not a variable"
            )
        os.rename(new, directory)
    except (OSError, tf.errors.ResourceExhaustedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunError(f"{directory}: cannot be written ({reason}); set directory") from None
    finally:
        shutil.rmtree(new, ignore_errors=True)
    takes = ", ".join(f"{name} {array.dtype.name} {array.shape}" for name, array in inputs.items())
    text = f"{SIGNATURE} takes {takes} and gives {', '.join(outputs)}"
    return f"{text}; loaded again, the largest difference is {max(apart.values()):.1e}"


def predict_with(
    directory: str, features: dict[str, Any], config: tf.ConfigProto = CPU
) -> dict[str, np.ndarray]:
    """What a SavedModel predicts, in a graph of its own: name -> array [batch, ...]."""
    with tf.Graph().as_default(), tf.Session(config=config) as session:
        loaded = tf.saved_model.load(session, [tf.saved_model.SERVING], directory)
        signature = loaded.signature_def[SIGNATURE]
        feeds: dict[str, Any] = {}
        for name, array in features.items():
            sparse = signature.inputs[name].coo_sparse
            if isinstance(array, tf.SparseTensorValue):
                feeds[sparse.indices_tensor_name] = array.indices
                feeds[sparse.values_tensor_name] = array.values
                feeds[sparse.dense_shape_tensor_name] = array.dense_shape
            else:
                feeds[signature.inputs[name].name] = array
        outputs = {name: output.name for name, output in signature.outputs.items()}
        return session.run(outputs, feeds)


def _named(features: Any) -> dict[str, Any]:
    return flat(features, "" if isinstance(features, dict) else "features")


def _placeholder(tensor: Any) -> Any:
    if not isinstance(tensor, tf.SparseTensor):
        return tf.placeholder(tensor.dtype, tensor.shape)
    rank = tensor.shape.rank
    return tf.SparseTensor(
        indices=tf.placeholder(tf.int64, [None, rank]),
        values=tf.placeholder(tensor.dtype, [None]),
        dense_shape=tf.placeholder(tf.int64, [rank]),
    )
