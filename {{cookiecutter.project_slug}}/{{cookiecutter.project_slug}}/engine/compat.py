"""One TensorFlow 1 interface on two runtimes: TensorFlow 1.15 and 2.x.

Every module writes `import tensorflow.compat.v1 as tf`. Importing this module first (`data` and
`model` do, in their `__init__`) makes both runtimes behave alike: graphs and sessions, resource
variables, Keras 2 layers.
"""

import warnings

with warnings.catch_warnings():
    # TensorFlow 1.15 spells dtypes in a way that NumPy 1.17 and later warn about.
    warnings.simplefilter("ignore", FutureWarning)
    import tensorflow.compat.v1 as tf

if not hasattr(tf.keras.layers.Layer, "updates"):  # Keras 3; models are written for Keras 2
    raise ImportError("TensorFlow 2.x needs tf_keras too: RUNTIME=tf2 python scripts/install.py")

# Its Python warnings are about its own insides ("deprecated, use 2.0"), on either runtime. What its
# hooks say, such as LoggingTensorHook, is for you; so is all, once a verbosity of yours is set.
LEVEL = tf.logging.INFO - 1
tf.get_logger().setLevel(LEVEL)
tf.get_logger().addFilter(
    lambda record: (
        record.levelno >= tf.logging.ERROR
        or record.module == "basic_session_run_hooks"
        or tf.get_logger().level != LEVEL
    )
)

RUNTIME = "tf2" if tf.__version__.startswith("2.") else "tf1"
if RUNTIME == "tf2":
    tf.disable_v2_behavior()
# A read is an operation of its own, so that reads and writes can be ordered.
tf.enable_resource_variables()
