"""Files to predict from: they become features in the way that those of training did."""

from __future__ import annotations

import glob
import logging
import os
from typing import Any, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from ..errors import DataError
from .elements import batched, decoded, native, to_batch
from .images import is_image
from .source import Source
from .split import all_elements

logger = logging.getLogger(__name__)


class PredictFiles:
    """Files that are not the dataset's own, which need not be there.

    A dataset with a method `from_file(path)`, path string [] -> the features of one example,
    defines by that how they are read: those of images do. All others must have `read`; their files
    go through `read`, `keep`, `decode` and `convert`, as in training.

    Args:
        source: the dataset that the model was trained on.
        paths: files and directories. Of a directory's files `from_file` gets the images, or all if
            there are none.

    Raises:
        DataError: there is no such file, or no way from it to features.
    """

    def __init__(self, source: Source, paths: Sequence[str]) -> None:
        self._source = source
        self._from_file = getattr(source, "from_file", None)
        self.files = [file for path in paths for file in self._files(path)]
        if not self.files:
            raise DataError("found no file to predict; name files or directories, as photo.png")
        #: What is wrong with a file that gives no example.
        self.problem = "is corrupt, or not an image" if self._from_file else "holds no record"
        if self._from_file:
            return
        if source.overrides("records") or not source.overrides("read"):
            name = type(source).__name__
            raise DataError(
                f"{self.files[0]}: {name} makes its records of several files, or of none, so that "
                f"one file is no example; write {name}.from_file(path), path string [] -> the "
                "features of one example, as convert makes them"
            )
        own, split = source.files, source.evaluation_split
        if source.validation_share:  # which takes a part of the training files: not of these
            source.validation_share, source.splits = 0.0, (*source.splits, split)
        vars(source)["files"] = lambda name: self.files if name == split else own(name)
        if "_predicts" in vars(source):  # a table, which then needs no column of labels
            vars(source)["_predicts"] = True
        try:
            source.prepare()  # which may compute something of the training data, such as their mean
        except DataError as error:
            vars(source)["files"] = lambda name: self.files
            before = _texts(source)
            source.prepare()
            found = [name for name, text in _texts(source).items() if before.get(name) != text]
            if found:
                raise DataError(
                    f"{type(source).__name__}.prepare finds {', '.join(found)} in the training "
                    f"data, which are needed therefore: {error}"
                ) from None

    def batches(self) -> tf.data.Dataset:
        """Batches of (id, features), id int64 [batch]; what `from_file` cannot read is skipped."""
        source = self._source
        if self._from_file:
            files = tf.data.Dataset.from_tensor_slices(list(map(os.fsencode, self.files)))
            ids = tf.data.Dataset.range(0, len(self.files) * 2**32, 2**32)
            read = native(lambda number, path: (number, self._from_file(path)))
            examples = tf.data.Dataset.zip((ids, files)).map(read, source.parallel_calls)
            return examples.apply(tf.data.experimental.ignore_errors()).batch(source.batch_size)
        elements = decoded(source, all_elements(source, source.evaluation_split))
        convert = native(lambda ids, record: (ids, self._features(record)))
        return batched(source, elements, drop_remainder=False).map(convert).prefetch(2)

    def _features(self, record: Any) -> Any:
        try:
            return to_batch(self._source, record)[0]
        except KeyError as error:  # a `convert` of your own, where there is no column of labels
            name = type(self._source).__name__
            if error.args != (getattr(self._source, "label_column", None),):
                raise
            raise DataError(f"{name}.convert: the files have no {error}; add it to them") from None

    def place(self, number: int) -> dict[str, Any]:
        """Where the example of an id is from: its file, and which of its records it is."""
        file = {"file": self.files[number >> 32]}
        return file if self._from_file else {**file, "record": number % 2**32 + 1}

    def _files(self, path: str) -> list[str]:
        if os.path.isfile(path):
            return [path]
        inside = sorted(glob.glob(os.path.join(glob.escape(path), "**"), recursive=True))
        files = [file for file in inside if os.path.isfile(file)]
        if not files:
            raise DataError(f"{path}: there is no such file, and no directory with files")
        images = list(filter(is_image, files)) if self._from_file else []
        if images and len(images) < len(files):
            others = sorted(set(files) - set(images))
            text = "%s: %d files that are no images by name are left out: %s"
            logger.warning(text, path, len(others), ", ".join(map(os.path.basename, others[:9])))
        return images or files


def _texts(source: Source) -> dict[str, str]:
    """The attributes of a dataset as texts, to see which ones change."""
    texts = {}
    for name, value in vars(source).items():
        text = repr(value.tolist() if isinstance(value, np.ndarray) else value)
        if name != "_remembered" and " at 0x" not in text:  # an object without a text of its own
            texts[name] = text
    return texts
