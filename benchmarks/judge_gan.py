"""Draws images with a trained GAN, writes some as a PNG, and asks a trained classifier about them.

    cd my_project
    PYTHONPATH=. .venv/bin/python .../benchmarks/judge_gan.py my_project RUN_OF_GAN RUN_OF_CNN [PNG]

Prints the classifier's mean confidence (its largest probability) in 1,000 drawn images, and how
many it takes for each class; the same for 1,000 real ones, which is what can be reached.
"""

import importlib
import sys

import numpy as np
import tensorflow.compat.v1 as tf

package, gan, cnn, *png = sys.argv[1:]
load_config = importlib.import_module(f"{package}.train.config").load_config
restored = importlib.import_module(f"{package}.train.restored")


def predictions(run_dir, images=None):
    """What the newest checkpoint of a run predicts for images, default the first of its test."""
    run = restored.Restored(load_config([f"run_dir={run_dir}"]))
    with run.graph():
        if images is None:
            run.dataset.batch_size = 1000
            run.dataset.prepare()
            images, _ = tf.data.make_one_shot_iterator(run.dataset.batches("test")).get_next()
        predicted = run.model.predict(run.model(tf.convert_to_tensor(images), training=False))
        with run.session() as session:
            return session.run({**predicted, "features": images})


def judge(name, images):
    judged = predictions(cnn, images)
    classes = np.bincount(judged["class"], minlength=10).tolist()
    print(f"{name}: mean confidence {judged['probabilities'].max(axis=1).mean():.3f}, {classes}")


found = predictions(gan)
judge("real", found["features"])
judge("drawn", found["images"])
if png:
    rows, columns = found["images"].shape[1:3]
    grid = found["images"][:128].reshape(8, 16, rows, columns).transpose(0, 2, 1, 3)
    pixels = np.uint8(255 * grid.reshape(8 * rows, 16 * columns, 1))
    with tf.Graph().as_default(), tf.Session() as session, open(png[0], "wb") as file:
        file.write(session.run(tf.image.encode_png(pixels)))
