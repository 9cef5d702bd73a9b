"""Draws images with a trained GAN, writes some as a PNG, and asks a trained classifier about them.

    cd my_project
    PYTHONPATH=. .venv/bin/python .../benchmarks/judge_gan.py my_project RUN_OF_GAN RUN_OF_CNN [PNG]

Prints the classifier's mean confidence (its largest probability) in 1,000 drawn images, and how
many it takes for each class.
"""

import importlib
import sys

import numpy as np
import tensorflow.compat.v1 as tf

package, gan, cnn, *png = sys.argv[1:]
config = importlib.import_module(f"{package}.train.config")


def predictions(run_dir, features):
    """What the newest checkpoint of a run predicts for features [batch, ...]."""
    model = config.instantiate(config.load_config([f"run_dir={run_dir}"]).model)
    with tf.Graph().as_default(), tf.Session() as session:
        predicted = model.predict(model(tf.constant(features), training=False))
        newest = tf.train.latest_checkpoint(f"{run_dir}/checkpoints")
        tf.train.Saver(model.variables).restore(session, newest)
        return session.run(predicted)


def write_png(path, images):
    """Writes 8 × 16 images [128, rows, columns, 1], 0–1."""
    rows, columns = images.shape[1:3]
    grid = images.reshape(8, 16, rows, columns).transpose(0, 2, 1, 3)
    pixels = np.uint8(255 * grid.reshape(8 * rows, 16 * columns, 1))
    with tf.Graph().as_default(), tf.Session() as session, open(path, "wb") as file:
        file.write(session.run(tf.image.encode_png(pixels)))


images = predictions(gan, np.zeros([1000, 28, 28, 1], np.float32))["images"]
judged = predictions(cnn, images)
print(f"mean confidence {judged['probabilities'].max(axis=1).mean():.3f}")
print("classes", np.bincount(judged["class"], minlength=10).tolist())
if png:
    write_png(png[0], images[:128])
