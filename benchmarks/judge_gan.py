"""Measures how confident a trained classifier is of the digits that a trained GAN generates.

    cd my_project                               baked with examples=all
    .venv/bin/python .../benchmarks/judge_gan.py --png gan.png
    .venv/bin/python .../benchmarks/judge_gan.py --quick    short runs, a smoke test
    .venv/bin/python .../benchmarks/judge_gan.py --gan runs/x --cnn runs/y

Runs in a baked project, on its Python, and trains both unless runs are given. Prints the mean
confidence (the largest probability) of the classifier on 1,000 generated images, and how many it
assigns to each class; the same for 1,000 test images, as the upper limit.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys

import numpy as np
import tensorflow.compat.v1 as tf

PROJECT = os.getcwd()
sys.path.insert(0, PROJECT)
package = os.path.basename(PROJECT)
load_config = importlib.import_module(f"{package}.engine.settings.config").load_config
restored = importlib.import_module(f"{package}.engine.tools.restored")

IMAGES = 1000
GAN = ["model=gan", "data.batch_size=64", "trainer.last_step=10000"]
CNN = ["model=cnn", "trainer.last_epoch=5"]
QUICK = ["data=digits", "data.train_examples=640", f"data.test_examples={IMAGES}"]
QUICK += ["trainer.last_epoch=0", "trainer.last_step=10"]


def trained(run_dir: str, settings: list[str]) -> str:
    """Trains with these settings, or resumes that run, and returns the run directory."""
    command = [sys.executable, "-m", f"{package}.train", f"run_dir={run_dir}", *settings]
    if subprocess.call(command):
        sys.exit(f"error: {run_dir} was not trained")
    return run_dir


def predictions(run_dir: str, images: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """What a run predicts for images; default: the first test images, returned as "features"."""
    run = restored.Restored(load_config([f"run_dir={run_dir}"]))
    with run.graph():
        if images is None:
            run.dataset.batch_size = IMAGES
            run.dataset.prepare()
            images, _ = tf.data.make_one_shot_iterator(run.dataset.batches("test")).get_next()
        features = tf.convert_to_tensor(images)
        predicted = run.model.predict(run.model(features, training=False))
        with run.session() as session:
            return session.run({**predicted, "features": features})


def picture(images: np.ndarray) -> bytes:
    """The first 128 images, float32 [batch, rows, columns, 1], 0–1, as a PNG of 8 × 16."""
    rows, columns = images.shape[1:3]
    grid = images[:128].reshape(8, 16, rows, columns).transpose(0, 2, 1, 3)
    pixels = np.uint8(255 * grid.reshape(8 * rows, 16 * columns, 1))
    with tf.Graph().as_default(), tf.Session() as session:
        return session.run(tf.image.encode_png(pixels, compression=9))


def main() -> int:
    parser = argparse.ArgumentParser(description="Judge the images of a GAN by a classifier.")
    parser.add_argument("--gan", help="its run directory; default: trains runs/gan")
    parser.add_argument("--cnn", help="the classifier's; default: trains runs/judge")
    parser.add_argument("--png", default="", help="where to draw 128 images; default: nowhere")
    parser.add_argument("--quick", action="store_true", help="short runs on drawn digits")
    options = parser.parse_args()
    quick = QUICK if options.quick else []
    cnn = options.cnn or trained("runs/judge", [*CNN, *quick])
    found = predictions(options.gan or trained("runs/gan", [*GAN, *quick]))
    for name, images in (("real", found["features"]), ("drawn", found["images"])):
        judged = predictions(cnn, images)
        confidence = judged["probabilities"].max(axis=1).mean()
        classes = np.bincount(judged["class"], minlength=10).tolist()
        print(f"{name}: mean confidence {confidence:.3f}, classes {classes}")
    if options.png:
        with open(options.png, "wb") as file:
            file.write(picture(found["images"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
