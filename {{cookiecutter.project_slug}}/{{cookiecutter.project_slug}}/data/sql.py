"""Rows of an SQLite database, by a query."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import tensorflow.compat.v1 as tf

from ..engine.errors import DataError
from ..engine.input.batches import check_names_split
from .dataset import Dataset

LARGEST = 3.4028234e38  # of float32


class SQLite(Dataset):
    """The rows that a query gives: numbers, the last of them the label.

    Features: float32 [batch, columns - 1]. Labels: int32 [batch].

    Args:
        path: of the database.
        query: a SELECT, whose ORDER BY makes the order the same each time; {split} in it, a
            table's name or a value, stands for train or test.
        classes: the number of different labels.
        others: batch_size, seed and more: see `Dataset`.
    """

    def __init__(self, path: str, query: str, classes: int, **others: Any) -> None:
        super().__init__(**others)
        check_names_split(self, SQLite, query=query)
        self.path = path
        self.query = query.strip().rstrip(";") + "\n"  # which ends a comment
        self.classes = classes

    def prepare(self) -> None:
        """Checks all rows, since TensorFlow reads NULL and text as 0; raises DataError."""
        for split in self.splits:
            query, columns = self.query.replace("{split}", split), self.columns(split)
            names = [f"c{number}" for number in range(len(columns))]  # theirs may hold spaces
            wrong = [f"typeof({name}) NOT IN ('integer', 'real')" for name in names]
            wrong.append(f"typeof({names[-1]}) <> 'integer'")
            wrong.append(f"{names[-1]} NOT BETWEEN 0 AND {self.classes - 1}")
            wrong += [f"abs({name}) > {LARGEST}" for name in names]
            rows = f"WITH found({', '.join(names)}) AS ({query}) SELECT * FROM found"
            _, found = self.ask(f"{rows} WHERE {' OR '.join(wrong)} LIMIT 1")
            if found:
                number = self.ask(query)[1].index(found[0]) + 1
                row = ", ".join(f"{name}={value!r}" for name, value in zip(columns, found[0]))
                raise DataError(
                    f"{self.path}: row {number} of the {split} split has {row}; expected finite "
                    f"numbers, the last a label from 0 to {self.classes - 1}"
                )

    def columns(self, split: str) -> list[str]:
        """What the query calls its columns; raises DataError if there are fewer than two."""
        columns, _ = self.ask(f"SELECT * FROM ({self.query.replace('{split}', split)}) LIMIT 0")
        if len(columns) < 2:
            raise DataError(f"data.query: found the columns {columns}, expected features and label")
        return columns

    def ask(self, query: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """The names of a query's columns, and its rows; raises DataError."""
        address = f"{Path(self.path).absolute().as_uri()}?mode=ro"  # else a missing one is made
        try:
            with contextlib.closing(sqlite3.connect(address, uri=True)) as connection:
                connection.set_authorizer(_same_each_time)
                cursor = connection.execute(query)
                return [name for name, *_ in cursor.description], cursor.fetchall()
        except sqlite3.Error as error:
            advice = "fix data.path or data.query"
            if "locked" in str(error):
                advice = "another program writes; try again when it is done"
            elif "not authorized" in str(error):
                advice = "rows must be the same each time: order by a column; training shuffles"
            elif _is_wal(self.path):
                advice = (
                    "it is in WAL mode, which needs a directory that may be written: copy it to "
                    "one, or there set PRAGMA journal_mode=DELETE"
                )
            raise DataError(f"{self.path}: {error}; {advice}") from None

    def describe_bad_record(self, path: str, number: int, problem: str) -> str:
        """The error about a row; TensorFlow's SQLite may know less than Python's."""
        if "Prepare()" not in problem:
            return super().describe_bad_record(path, number, problem)
        return (
            f"{path}: the SQLite in TensorFlow, which is older than Python's, cannot read it: "
            f"{problem}; copy the rows into plain tables of another file, or simplify data.query"
        )

    def files(self, split: str) -> list[str]:
        """The database."""
        return [self.path]

    def bytes_in_memory(self, split: str) -> int | None:
        return 8 * len(self.columns(split)) * self.count(split)  # not the bytes of the file

    def records(self, split: str) -> tf.data.Dataset:
        """One number for each column."""
        types = (tf.float64,) * (len(self.columns(split)) - 1) + (tf.int32,)
        query = self.query.replace("{split}", split)
        return tf.data.experimental.SqlDataset("sqlite", self.path, query, types)

    def convert(self, *row: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Columns [batch] -> float32 [batch, columns - 1] and int32 [batch]."""
        return tf.cast(tf.stack(row[:-1], axis=1), tf.float32), row[-1]


def _same_each_time(action: int, _: Any, function: str | None, *others: Any) -> int:
    """Denies what draws rows by chance, others in each epoch."""
    draws = action == sqlite3.SQLITE_FUNCTION and function in ("random", "randomblob")
    return sqlite3.SQLITE_DENY if draws else sqlite3.SQLITE_OK


def _is_wal(path: str) -> bool:
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return file.read(20)[18:] == b"\2\2"
    return False
