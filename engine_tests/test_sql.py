"""SQLite: rows of a query, in its order, and what is refused."""

import contextlib
import os
import sqlite3

import numpy as np
import pytest
from my_project.data.sql import SQLite
from my_project.engine.errors import ConfigError, DataError
from my_project.engine.input.source import splits_of
from my_project.engine.settings.config import instantiate, load_config
from my_project.model.mlp import MLP

ROWS = [(number, -number / 2, number % 3) for number in range(20)]
QUERY = "SELECT x, y, label FROM {split} ORDER BY x DESC;"


@pytest.fixture
def path(tmp_path):
    """A database; `train` has 20 rows, and `test` has 7."""
    path = str(tmp_path / "small.sqlite")
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for split, rows in {"train": ROWS, "test": ROWS[:7]}.items():
            connection.execute(f"CREATE TABLE {split} (x, y, label)")
            connection.executemany(f"INSERT INTO {split} VALUES (?, ?, ?)", rows)
    return path


@pytest.fixture
def sqlite(path):
    """sqlite(**arguments): the dataset of that database."""

    def sqlite(query=QUERY, path=path, **arguments):
        made = SQLite(path, query, **{"classes": 3, "batch_size": 4, **arguments})
        made.prepare()
        return made

    return sqlite


def test_rows_come_in_the_order_of_the_query(sqlite, batches):
    (features, labels), (last, _) = batches(sqlite(), "test")
    assert features.tolist() == [[6, -3], [5, -2.5], [4, -2], [3, -1.5]]
    assert (features.dtype, labels.dtype) == (np.float32, np.int32)
    assert labels.tolist() == [0, 2, 1, 0]
    assert len(last) == 3


@pytest.mark.parametrize("memory_fraction", [0.0, 0.25])
def test_an_epoch_holds_each_row_once_and_resumes_after_a_restart(
    sqlite, batches, same, memory_fraction
):
    dataset = sqlite(memory_fraction=memory_fraction)
    straight = batches(dataset, count=10, training=True)
    assert sorted(x for features, _ in straight[:5] for x in features[:, 0]) == [*range(20)]
    stop = {"start_step" if memory_fraction else "saved_after": 3}
    assert same(straight[3:], batches(dataset, count=7, training=True, **stop))


def test_a_model_learns_from_a_database(sqlite, fit, tmp_path):
    results = fit(tmp_path / "run", 20, MLP(hidden=8, classes=3), sqlite())
    assert np.isfinite(results["loss"])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((None, 1, 1), r"row 21 of the train split has x=None, y=1, label=1; expected finite"),
        ((3.5, float("inf"), 1), r"row 17 .* y=inf"),
        ((50, "abc", 1), r"row 1 of the train split has x=50, y='abc'"),
        ((4.5, 1, 3), r"row 16 .* label=3; .* the last a label from 0 to 2"),
        ((5.5, 1, -1), r"row 15 .* label=-1"),
        ((6.5, 1, 1.5), r"row 14 .* label=1\.5"),
        ((7.5, 1, b"\x01"), r"row 13 .* label=b'"),
        ((7.5, 1, None), r"row 13 .* label=None"),
    ],
)
def test_a_row_that_is_not_all_numbers_or_has_no_class_is_named(sqlite, path, row, message):
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO train VALUES (?, ?, ?)", row)
    with pytest.raises(DataError, match=rf"small\.sqlite: {message}") as caught:
        sqlite()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT x, z, label FROM {split}", "no such column: z"),
        ("SELECT x, label FROM absent_{split}", "no such table: absent_train"),
        ("SELECT x, FROM {split}", 'near "FROM": syntax error'),
        ("DROP TABLE {split}", 'near "DROP": syntax error'),
        ("SELECT x, label FROM {split} ORDER BY random()", "random; rows must be the same"),
        ("SELECT label FROM {split}", r"found the columns \['label'\], expected features and"),
    ],
)
def test_a_query_that_gives_no_rows_or_others_each_time_is_refused(sqlite, query, message):
    with pytest.raises(DataError, match=message):
        sqlite(query)


def test_a_query_may_end_with_a_comment(sqlite, batches):
    dataset = sqlite("SELECT x, y, label\nFROM {split}\nORDER BY x -- as they came")
    assert batches(dataset, "test")[0][0][:, 0].tolist() == [0, 1, 2, 3]


def test_a_database_that_cannot_be_opened_now_is_not_blamed_on_the_query(sqlite, path, monkeypatch):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    monkeypatch.setattr(sqlite3, "connect", lambda *_, **__: sqlite3.Connection("/none/none"))
    with pytest.raises(DataError, match=r"small\.sqlite: unable .* WAL mode, which needs"):
        sqlite()

    def locked(*_, **__):
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(sqlite3, "connect", locked)
    with pytest.raises(DataError, match=r"database is locked; another program writes; try again"):
        sqlite()


def test_what_the_sqlite_of_tensorflow_cannot_read_is_said_so(sqlite):
    text = sqlite().describe_bad_record("a.sqlite", 1, 'Prepare() failed: near "STRICT"')
    assert text.startswith("a.sqlite: the SQLite in TensorFlow")
    assert "remove" not in text


def test_a_path_without_a_database_is_refused_and_none_is_made(sqlite, tmp_path):
    with pytest.raises(DataError, match=r"none\.sqlite: unable to open database file"):
        sqlite(path=str(tmp_path / "none.sqlite"))
    assert not os.path.exists(tmp_path / "none.sqlite")
    (tmp_path / "text.sqlite").write_text("no database, but a text of some length" * 9)
    with pytest.raises(DataError, match=r"text\.sqlite: file is not a database"):
        sqlite(path=str(tmp_path / "text.sqlite"))


def test_its_settings_make_it():
    assert isinstance(instantiate(load_config(["data=sql"]).data), SQLite)


def test_one_query_for_all_splits_is_refused_or_split_by_a_share(path):
    query = "SELECT x, y, label FROM train"
    with pytest.raises(ConfigError, match=r"found no \{split\} in it, so that train"):
        SQLite(path, query, 3)
    dataset = SQLite(path, query, 3, validation_share=0.4)
    dataset.prepare()
    assert splits_of(dataset) == ("train", "validation")
    assert dataset.count("train") + dataset.count("validation") == 20
    assert 0 < dataset.count("validation") < 20
