"""A picture of many examples, to see whether the data are what they should be."""

from __future__ import annotations

import itertools
import math
import textwrap
from typing import Any, Iterator, Sequence

import numpy as np
import tensorflow.compat.v1 as tf
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...data.dataset import Dataset
from ..input.elements import dense, iterate, native
from ..input.sizes import check_not_empty, lengths
from ..run.files import atomic_write

NUMBERS = "biuf"  # kinds of NumPy's types; all others are shown as text


def contact_sheet(dataset: Dataset, split: str, count: int) -> Figure:
    """The first examples of a split, as a model sees them, each below its label.

    Where records have `padding`, with a histogram of all records' lengths.

    Args:
        dataset: prepared.
        split: one of its splits; training examples are in training order, augmented.
        count: of examples; fewer if the split holds no more.
    """
    count = min(count, dataset.count(split))
    check_not_empty(dataset, split, count)
    examples = list(itertools.islice(_examples(dataset, split), count))
    return pictures(examples, lengths(dataset, split) if dataset.padding is not None else ())


def write_picture(figure: Figure, path: str) -> None:
    """Writes a PNG."""
    with atomic_write(path) as file:
        figure.savefig(file, format="png", bbox_inches="tight")


def pictures(examples: Sequence[tuple[Any, str]], histogram: Sequence[int] = ()) -> Figure:
    """A picture for each example, below its title.

    Images and other matrices are shown as pictures, vectors as curves, strings as text; of several
    features the largest.

    Args:
        examples: (features, title), the features of one example: arrays without a batch.
        histogram: lengths, drawn as a histogram below.
    """
    parts = [map(np.asarray, tf.nest.flatten(features)) for features, _ in examples]
    arrays = [max(arrays, key=np.size) for arrays in parts]
    columns = max(math.ceil(math.sqrt(len(arrays))), 1)
    rows = math.ceil(len(arrays) / columns)
    below = 3 if len(histogram) else 0
    figure = Figure(figsize=(1.2 * columns + 1, 1.4 * (rows + below)))
    grid = figure.add_gridspec(max(rows + below, 1), columns, hspace=0.5)
    # One scale for all: a picture that is too dark or too bright is seen.
    numbers = [array for array in arrays if array.dtype.kind in NUMBERS]
    low = min((np.min(array, initial=0) for array in numbers), default=0)
    high = max((np.max(array, initial=1) for array in numbers), default=1)
    for place, array, (_, title) in zip(grid, arrays, examples):
        axes = figure.add_subplot(place)
        axes.set_axis_off()
        axes.set_title(title, fontsize=8)
        _draw(axes, array, low, high)
    if below:
        axes = figure.add_subplot(grid[rows + 1 :, :])
        axes.hist(histogram, bins=50)
        axes.set(xlabel="length", ylabel="records")
    return figure


def _examples(dataset: Dataset, split: str) -> Iterator[tuple[Any, str]]:
    """The features of each example, and its labels as text."""
    training, names = split == dataset.training_split, getattr(dataset, "class_names", None)
    for features, labels in iterate(lambda: dataset.batches(split, training).map(native(dense))):
        for index in range(len(tf.nest.flatten(features)[0])):
            parts = (np.asarray(array[index]) for array in tf.nest.flatten(labels))
            values = [part.item() for part in parts if part.size == 1]
            label = ", ".join(names[value] if names else _text(value)[:8] for value in values)
            yield tf.nest.map_structure(lambda array, i=index: array[i], features), label


def _text(value: Any) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.replace("$", r"\$")  # what is between two would be a formula


def _draw(axes: Axes, array: np.ndarray, low: float, high: float) -> None:
    array = np.squeeze(array)
    if array.dtype.kind not in NUMBERS:
        lines = textwrap.fill(" ".join(map(_text, array.ravel())), 16, max_lines=8)
        axes.text(0.5, 0.5, lines, fontsize=6, ha="center", va="center")
    elif array.ndim < 2:
        axes.plot(np.atleast_1d(array), ".-", linewidth=1)
    elif array.ndim == 3 and array.shape[-1] in (3, 4):
        axes.imshow((array - low) / (high - low))
    else:  # of more than two dimensions, the first matrix
        matrix = array.reshape(-1, *array.shape[-2:])[0]
        aspect = "auto" if max(matrix.shape) > 4 * min(matrix.shape) else "equal"
        axes.imshow(matrix, cmap="gray", vmin=low, vmax=high, aspect=aspect)
