"""Tables: CSV files whose first line names the columns."""

from __future__ import annotations

import contextlib
import csv
import glob
import itertools
import re
from typing import Any, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from ..engine.errors import ConfigError, DataError
from ..engine.input.bad_records import valid_labels
from ..engine.input.batches import check_names_split
from .dataset import Dataset

STARTS = {
    b"\x1f\x8b": "is compressed (gzip)",
    b"PK\x03\x04": "is an archive or a spreadsheet (zip)",
    b"\xff\xfe": "is UTF-16",
    b"\xfe\xff": "is UTF-16",
}


class Table(Dataset):
    """Rows of CSV files, with numbers in the columns of the features and of the label.

    The first line is UTF-8; columns that are not asked for may hold any bytes. A cell may be
    quoted, but holds no line break (RFC 4180 without those). Empty lines are skipped.
    Features: float32 [batch, columns]. Labels: int32 [batch], below `classes`.

    Args:
        pattern: of the files' paths, with `*` and `?`; {split} stands for train or test.
        features: names of columns; a number is a name, too, and pixel* all columns of such a name.
        label: the name of the column of the label.
        classes: the number of different labels.
        delimiter: the character between two cells, of ASCII; a tab may be typed as \\t.
        others: batch_size, seed and more: see `Dataset`.
    """

    def __init__(
        self,
        pattern: str,
        features: Sequence[str],
        label: str,
        classes: int,
        delimiter: str = ",",
        **others: Any,
    ) -> None:
        super().__init__(**others)
        check_names_split(self, Table, pattern=pattern)
        self.pattern = pattern
        self.features = [str(name) for name in features]
        self.label_column = str(label)
        self.classes = classes
        #: What `*` in their names stands for, as `prepare` finds it, in the order of that file.
        self.table_columns = [] if "*" in "".join(self.features) else self.features
        self._predicts = False  # then there need be no column of labels
        if not self.features or self.label_column in self.features:
            raise ConfigError(
                f"data: found features={self.features} and label={self.label_column}, expected "
                "columns of features, none of them that of the label"
            )
        self.delimiter = "\t" if delimiter == "\\t" else delimiter
        if not re.fullmatch(r"[\x00-\x7f]", self.delimiter) or self.delimiter in '"\r\n':
            raise ConfigError(
                f"data.delimiter: found {delimiter!r}, expected one character of ASCII, such as , "
                r"or \t (a tab); write columns that several blanks separate with commas"
            )

    def prepare(self) -> None:
        """Checks that all files have the columns, in the same order; raises DataError."""
        first_files, *others = [self.files(split) for split in self.splits]
        if first_files in others and not self._predicts:  # as by `files` of a subclass
            raise DataError(
                f"{first_files[0]}: is of {' and '.join(self.splits)}, expected files of each "
                "alone; let `files` divide them, or take data.validation_share and one split"
            )
        paths = [path for split in self.splits for path in self.files(split)]
        first = self.header(paths[0])
        self.table_columns = self.features_in(first)
        for path in paths:
            header = self.header(path)
            columns = self.columns(header)
            missing = [column for column in columns if column not in header]
            twice = [column for column in columns if header.count(column) > 1]
            if missing or twice or header != first:
                expected = f"each of {twice} once" if twice else f"{missing or first}"
                raise DataError(
                    f"{path}: the first line names {header}; expected {expected}, in the same "
                    "order in all files; set data.features, data.label and data.delimiter, or put "
                    "a line of names first"
                )

    def columns(self, header: list[str]) -> list[str]:
        """The columns of the features, then that of the label, if it must be there or is."""
        without = self._predicts and self.label_column not in header
        return [*self.features_in(header), *([] if without else [self.label_column])]

    def features_in(self, header: list[str]) -> list[str]:
        """The columns of the features: those that `prepare` found, else those of this header."""
        columns = []
        for name in self.features:
            pattern = re.compile(re.escape(name).replace(r"\*", ".*"))
            found = [] if name in header else list(filter(pattern.fullmatch, header))
            columns += [column for column in found if column != self.label_column] or [name]
        return self.table_columns or columns

    def header(self, path: str) -> list[str]:
        """The names in the first line of a file; raises DataError if it is not text."""
        try:
            with open(path, "rb") as file:
                line = file.readline()  # not all of it: only its names need be UTF-8
            problem = next((found for start, found in STARTS.items() if line.startswith(start)), "")
            if not problem and b"\r" in line.rstrip(b"\r\n"):
                problem = "lines end with CR alone"
            if line.count(b'"') % 2:
                problem = problem or "a name in the first line holds a line break"
            if problem or not line:
                raise ValueError(problem or "the file is empty")
            return next(csv.reader([line.decode("utf-8-sig")], delimiter=self.delimiter), [])
        except (OSError, ValueError, csv.Error) as error:
            reason = getattr(error, "strerror", None) or error
            raise DataError(
                f"{path}: {reason}; expected CSV in UTF-8 whose first line names the columns, "
                "lines that end with LF, not compressed; write it so"
            ) from None

    def files(self, split: str) -> list[str]:
        """The paths that match the pattern, sorted; raises DataError if there are none."""
        pattern = self.pattern.replace("{split}", split)
        paths = sorted(glob.glob(pattern.replace("[", "[[]")))
        if not paths:
            raise DataError(f"{pattern}: no file matches; put CSV files there or set data.pattern")
        return paths

    def read(self, path: tf.Tensor) -> tf.data.Dataset:
        """The lines of one file, without the first."""
        return tf.data.TextLineDataset(path).skip(1)

    def keep(self, lines: tf.Tensor) -> tf.Tensor:
        """Lines that are not empty: string [batch] -> bool [batch]."""
        return tf.not_equal(lines, "")

    def convert(self, lines: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """String [batch] -> float32 [batch, columns] and int32 [batch]."""
        header = self.header(self.files(self.training_split)[0])
        columns = self.columns(header)
        kinds = dict.fromkeys(columns, tf.zeros([0], tf.float32))
        if self.label_column in columns:
            kinds[self.label_column] = tf.zeros([0], tf.int32)
        # Other columns may hold any text, or none.
        defaults = [kinds.get(column, tf.constant([""])) for column in header]
        cells = dict(zip(header, tf.io.decode_csv(lines, defaults, self.delimiter)))
        features = tf.stack([cells[column] for column in self.features_in(header)], axis=1)
        labels = cells.get(self.label_column, tf.zeros(tf.shape(lines), tf.int32))
        return features, valid_labels(labels, self.classes)

    def describe_bad_record(self, path: str, number: int, problem: str) -> str:
        """The error about a line, such as `Field 2 in record 0 is not a valid float: x`."""
        for index, column in enumerate(self.header(path)):
            problem = problem.replace(f"Field {index} ", f"column {column!r} ")
        problem = problem.replace(" in record 0", "")
        if "NaN" in problem:  # which one, the batch does not say
            with open(path, encoding="utf-8-sig", errors="replace") as file:
                line = next(itertools.islice(file, number, None), "")
            row = dict(zip(self.header(path), next(csv.reader([line], delimiter=self.delimiter))))
            cells = [f"{name}={row[name]}" for name in self.features_in(list(row))]
            with contextlib.suppress(ValueError):  # the convert of a subclass may read text
                bad = [cell for cell in cells if not np.isfinite(np.float32(cell.split("=")[-1]))]
                expected = "expected finite numbers, at most 3.4e38"
                problem = f"found {', '.join(bad)}, {expected}" if bad else problem
        return f"{path}: row {number + 1}: {problem}; fix the file"
