"""Writes small files for each setting of conf/data/ that reads files: `python write_datasets.py`

The environment of a baked project runs this file, in the project, so it is written for Python 3.7.
"""

import os
import sqlite3
import sys

import numpy as np
from matplotlib import pyplot

sys.path.insert(0, os.getcwd())

from my_project.data.tfrecord import write_tfrecords
from my_project.engine.input.draw_digits import write_digits

RANDOM = np.random.RandomState(1)

os.makedirs("datasets/arrays")
os.makedirs("datasets/table")
database = sqlite3.connect("datasets/examples.sqlite")
for split, count in ("train", 300), ("test", 70):
    features, labels = RANDOM.rand(count, 2), np.arange(count) % 2
    np.save(f"datasets/arrays/{split}_features.npy", features)
    np.save(f"datasets/arrays/{split}_labels.npy", np.arange(count) % 10)
    rows = [(*x_y, label) for x_y, label in zip(features.tolist(), labels.tolist())]  # noqa: B905
    database.execute(f"CREATE TABLE {split} (x REAL, y REAL, label INTEGER)")
    database.executemany(f"INSERT INTO {split} VALUES (?, ?, ?)", rows)
    with open(f"datasets/table/{split}.csv", "w") as file:
        file.write("x,y,label\n" + "".join(f"{x},{y},{label}\n" for x, y, label in rows))
    images = RANDOM.randint(0, 256, [count, 28, 28, 1]).astype(np.uint8)
    examples = ({"image": image, "label": n % 10} for n, image in enumerate(images))
    write_tfrecords("datasets/tfrecord", split, examples)
    for number, image in enumerate(images):
        folder = f"datasets/images/{split}/{number % 10}"
        os.makedirs(folder, exist_ok=True)
        pyplot.imsave(f"{folder}/{number}.png", image[..., 0])
database.commit()
if not os.path.exists("datasets/mnist"):
    write_digits("datasets/mnist", 300, 70, 1)
