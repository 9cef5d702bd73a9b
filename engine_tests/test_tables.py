"""CSV files: what their cells become, in which order, and what is refused."""

import json

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.data.tables import Table
from my_project.engine.errors import ConfigError, DataError, NotFiniteError
from my_project.engine.input.bad_records import find_bad_record, locate_bad_record
from my_project.engine.input.elements import iterate
from my_project.engine.input.predict_files import PredictFiles
from my_project.engine.input.source import splits_of
from my_project.engine.settings.config import instantiate, load_config
from my_project.evaluate import evaluate
from my_project.model.mlp import MLP
from my_project.train.__main__ import train

FILES = {
    "train1.csv": 'x,"a name",label,y\r\n0,"quoted, text",1,0.5\r\n1,,0,1.5\r\n\r\n2,t,1,2.5\r\n',
    "train2.csv": "x,a name,label,y\n3,t,0,-1e3\n4,t,1,4.5",
    "test1.csv": "\ufeffx,a name,label,y\n9,t,1,9.5\n",
}


@pytest.fixture
def table(tmp_path):
    """table(**arguments): a Table over the files above, which lie in tmp_path."""
    for name, text in FILES.items():
        (tmp_path / name).write_bytes(text.encode())

    def table(**arguments):
        columns = {"features": ["y", "x"], "label": "label", "classes": 2, "batch_size": 2}
        made = Table(str(tmp_path / "{split}*.csv"), **{**columns, **arguments})
        made.prepare()
        return made

    return table


def test_the_named_columns_of_all_files_come_in_order(table, batches):
    (first, labels), second, (last, _) = batches(table(), "train")
    assert first.tolist() == [[0.5, 0], [1.5, 1]]
    assert (first.dtype, labels.dtype) == (np.float32, np.int32)
    assert labels.tolist() == [1, 0]
    assert second[0].tolist() == [[2.5, 2], [-1000, 3]]
    assert last.tolist() == [[4.5, 4]]
    assert batches(table(), "test")[0][0].tolist() == [[9.5, 9]]


@pytest.mark.parametrize("memory_fraction", [0.0, 0.25])
def test_an_epoch_holds_each_row_once_and_resumes_after_a_restart(
    table, batches, same, memory_fraction
):
    dataset = table(memory_fraction=memory_fraction, batch_size=1)
    straight = batches(dataset, count=10, training=True)
    assert sorted(features[0, 1] for features, _ in straight[:5]) == [0, 1, 2, 3, 4]
    stop = {"start_step" if memory_fraction else "saved_after": 3}
    assert same(straight[3:], batches(dataset, count=7, training=True, **stop))


def test_a_model_learns_from_a_table(table, fit, tmp_path):
    results = fit(tmp_path / "run", 20, MLP(hidden=8, classes=2), table())
    assert np.isfinite(results["loss"])


def test_another_delimiter_separates_cells(table, batches, tmp_path):
    for name in FILES:
        (tmp_path / name).write_text("x;y;label\n1;2;0\n3;4;1\n")
    found = batches(table(delimiter=";"), "test")
    assert found[0][0].tolist() == [[2, 1], [4, 3]]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1,t,abc,2.5", "column 'label' is not a valid int32: abc"),
        ("1,t,1,", "column 'y' is required but missing"),
        ("1,t,1", "Expect 4 fields but have 3"),
        ("1,t,1,2.5,6", "Expect 4 fields but have 5"),
        ("1,t,2,2.5", "expected labels from 0 to 1, found 2"),
    ],
)
def test_a_cell_that_is_not_a_number_is_named_with_file_row_and_column(
    table, tmp_path, row, message
):
    with open(tmp_path / "train2.csv", "a") as file:
        file.write(f"\n\n{row}\n")
    with pytest.raises(DataError, match=rf"train2\.csv: row 5: {message}.*; fix the file"):
        find_bad_record(table(), "train")


def test_a_column_that_is_not_there_is_named_with_those_that_are(table):
    message = r"train1\.csv: .*'x', 'a name', 'label', 'y'\]; expected \['z'\], in"
    with pytest.raises(DataError, match=message):
        table(features=["x", "z"])


def test_a_star_stands_for_all_columns_of_such_a_name(table, batches, tmp_path):
    for name in FILES:
        (tmp_path / name).write_text("label,pixel0,pixel1,pixel.,other\n1,2,3,4,5\n")

    def read(*features):
        return batches(table(features=list(features)), "test")[0][0].tolist()

    assert read("pixel*") == [[2, 3, 4]]
    assert read("other", "pixel.", "*1") == [[5, 4, 3]]
    assert read("*") == [[2, 3, 4, 5]]  # the label is not a feature
    with pytest.raises(DataError, match=r"expected \['image\*'\]"):
        table(features=["image*"])


def test_a_file_with_columns_in_another_order_is_refused(table, tmp_path):
    (tmp_path / "train2.csv").write_text("y,x,label,a name\n")
    message = r"train2\.csv: .*'y', 'x', .*; expected \['x', 'a name', 'label', 'y'\]"
    with pytest.raises(DataError, match=message):
        table()


def test_a_pattern_that_matches_no_file_is_refused(table):
    dataset = table()
    dataset.pattern = "nowhere/{split}*.csv"
    with pytest.raises(DataError, match=r"nowhere/train\*\.csv: no file matches"):
        dataset.prepare()


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"\xff\xfex\0", "is UTF-16"),
        (b"x,\xf6,label,y\n", "codec can't decode byte 0xf6"),
        (b"\x1f\x8b\x08\r\0", r"is compressed \(gzip\)"),
        (b"PK\x03\x04", "is an archive or a spreadsheet"),
        (b"x,a name,label,y\r1,t,1,1\r", "lines end with CR alone"),
        (b"", "the file is empty"),
        (b'x,a name,label,"y\n"\n1,t,1,1\n', "a name in the first line holds a line break"),
    ],
)
def test_what_is_not_plain_csv_is_refused_by_what_it_is(table, tmp_path, contents, message):
    (tmp_path / "train1.csv").write_bytes(contents)
    with pytest.raises(DataError, match=rf"train1\.csv: .*{message}.*; expected CSV in UTF-8"):
        table()


def test_a_file_of_a_header_alone_is_named(table, fit, tmp_path):
    for number in (1, 2):
        (tmp_path / f"train{number}.csv").write_text("x,a name,label,y\n")
    with pytest.raises(DataError, match=r"train1\.csv and .*: the train split holds no records"):
        fit(tmp_path / "run", 20, MLP(hidden=8, classes=2), table())


def test_columns_that_are_not_asked_for_may_hold_any_bytes(table, batches, tmp_path):
    (tmp_path / "test1.csv").write_bytes(b"x,a name,label,y\n9,caf\xe9,1,9.5\n")
    assert batches(table(), "test")[0][0].tolist() == [[9.5, 9]]


def test_a_name_that_is_there_twice_is_refused_and_a_number_is_a_name(table, batches, tmp_path):
    for name in FILES:
        (tmp_path / name).write_text("0,1,2,1\n3,4,0,5\n")
    with pytest.raises(DataError, match=r"expected each of \['1'\] once"):
        table(features=[0, 1], label=2)
    assert batches(table(features=[0], label="2"), "test")[0][0].tolist() == [[3]]


def test_a_folder_may_have_brackets_in_its_name(table, batches, tmp_path):
    (tmp_path / "[2019]").mkdir()
    for name in FILES:
        (tmp_path / name).rename(tmp_path / "[2019]" / name)
    dataset = Table(f"{tmp_path}/[2019]/{{split}}*.csv", ["x"], "label", 2)
    assert batches(dataset, "test")[0][0].tolist() == [[9]]


@pytest.mark.parametrize("delimiter", ["\\t", "\t"])
def test_a_tab_separates_cells(table, batches, tmp_path, delimiter):
    for name in FILES:
        (tmp_path / name).write_text("x\ty\tlabel\n1\t2\t0\n")
    assert batches(table(delimiter=delimiter), "test")[0][0].tolist() == [[2, 1]]


@pytest.mark.parametrize("delimiter", ["", "§", "   ", "\n", '"'])
def test_what_cannot_separate_cells_is_refused(table, delimiter):
    with pytest.raises(ConfigError, match="expected one character of ASCII"):
        table(delimiter=delimiter)


def test_its_settings_make_it():
    assert isinstance(instantiate(load_config(["data=tables"]).data), Table)


def test_a_table_with_files_of_its_own_splits_them_by_itself(tmp_path):
    class Folds(Table):
        def files(self, split):
            return [self.pattern.replace("*", "1" if split == "test" else "0")]

    class Same(Table):
        def files(self, split):
            return super().files(split)[:1]

    for fold in (0, 1):
        (tmp_path / f"{fold}.csv").write_text(f"x,label\n{fold},0\n")
    table = Folds(f"{tmp_path}/*.csv", features=["x"], label="label", classes=1)
    table.prepare()
    assert table.splits == ("train", "test")
    assert table.files("test") == [f"{tmp_path}/1.csv"]
    with pytest.raises(DataError, match=r"0\.csv: is of train and test, expected files of each"):
        Same(f"{tmp_path}/*.csv", features=["x"], label="label", classes=1).prepare()


def test_one_file_is_trained_on_and_evaluated_in_parts_of_it(tmp_path, fit, batches):
    rows = "".join(f"{x},{x % 2}\n" for x in range(200))
    path = tmp_path / "all.csv"
    path.write_text(f"x,label\n{rows}")
    arguments = {"features": ["x"], "label": "label", "classes": 2, "batch_size": 8}
    with pytest.raises(ConfigError, match=r"all\.csv: found no \{split\} .*validation_share"):
        Table(str(path), **arguments)
    dataset = Table(str(path), validation_share=0.25, **arguments)
    fit(tmp_path / "run", 3, MLP(hidden=4, classes=2), dataset)
    parts = [
        np.concatenate([x for x, _ in batches(dataset, split)]) for split in splits_of(dataset)
    ]
    assert sorted(np.concatenate(parts)[:, 0]) == [*range(200)]
    assert 30 < len(parts[1]) < 70
    inputs = PredictFiles(Table(str(path), validation_share=0.25, **arguments), [str(path)])
    with tf.Graph().as_default(), tf.Session() as session:
        iterator = tf.data.make_initializable_iterator(inputs.batches())
        following = iterator.get_next()
        session.run(iterator.initializer)
        assert sum(len(session.run(following)[0]) for _ in range(25)) == 200


@pytest.mark.parametrize(
    ("cell", "shown"), [("nan", "y=nan"), ("-inf", "y=-inf"), ("1e400", "y=1e400")]
)
def test_a_number_that_is_not_finite_is_named_with_its_column(table, fit, tmp_path, cell, shown):
    with open(tmp_path / "train2.csv", "a") as file:
        file.write(f"\n\n1,t,1,{cell}\n")
    with pytest.raises(
        NotFiniteError, match=rf"train2\.csv: row 5: found {shown}, expected finite"
    ):
        fit(tmp_path / "run", 20, MLP(hidden=8, classes=2), table(batch_size=4))


def test_a_nan_that_is_in_no_cell_leaves_the_message_as_it_is(table, tmp_path):
    for text in ("1,t,1,2\n", "1,t,1,red\n"):
        (tmp_path / "train1.csv").write_text(f"x,a name,label,y\n{text}")
        found = table().describe_bad_record(str(tmp_path / "train1.csv"), 1, "features hold NaN")
        assert found.endswith("train1.csv: row 2: features hold NaN; fix the file")


@pytest.mark.parametrize("share", [0.0, 0.25])
@pytest.mark.parametrize(
    "header", ["x1,x2,x3,label", "x3,label,x2,x1", "id,x1,x2,x3,label", "x2,x3,x1"]
)
def test_columns_of_other_files_are_found_by_name(tmp_path, header, share):
    rows = "".join(f"{n},{n + 1},{n + 2},{n % 2}\n" for n in range(40))
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_text(f"x1,x2,x3,label\n{rows}")
    values = {"x1": 1, "x2": 2, "x3": 3, "label": 0, "id": 9}
    row = ",".join(str(values[name]) for name in header.split(","))
    (tmp_path / "new.csv").write_text(f"{header}\n{row}\n")
    arguments = {"features": ["x*"], "label": "label", "classes": 2, "batch_size": 8}
    table = Table(f"{tmp_path}/{{split}}.csv", validation_share=share, **arguments)
    inputs = PredictFiles(table, [f"{tmp_path}/new.csv"])
    assert [features.tolist() for _, features in iterate(inputs.batches)] == [[[1, 2, 3]]]
    # Without the training data, as a run knows them.
    table = Table("gone/{split}.csv", validation_share=share, **arguments)
    table.table_columns = ["x1", "x2", "x3"]
    inputs = PredictFiles(table, [f"{tmp_path}/new.csv"])
    assert [features.tolist() for _, features in iterate(inputs.batches)] == [[[1, 2, 3]]]


def test_a_bad_cell_of_other_files_is_named_with_a_share_for_validation_too(tmp_path):
    (tmp_path / "train.csv").write_text("x,label\n" + "1,0\n" * 40)
    (tmp_path / "new.csv").write_text("x,label\n1,0\nred,0\n")
    arguments = {"features": ["x"], "label": "label", "classes": 2, "validation_share": 0.2}
    table = Table(f"{tmp_path}/train.csv", **arguments)
    inputs = PredictFiles(table, [f"{tmp_path}/new.csv"])
    message = r"new\.csv: row 3: column 'x' is not a valid float: red"
    with pytest.raises(DataError, match=message), locate_bad_record(table, table.evaluation_split):
        list(iterate(inputs.batches))


def test_a_run_evaluates_a_table_whose_columns_changed_places_by_their_names(tmp_path):
    for folder, header in (("a", "x1,x2,label"), ("b", "x2,label,x1")):
        (tmp_path / folder).mkdir()
        for split in ("train", "test"):
            rows = [{"x1": n % 2, "x2": n % 5, "label": n % 2} for n in range(40)]
            lines = [",".join(str(row[name]) for name in header.split(",")) for row in rows]
            (tmp_path / folder / f"{split}.csv").write_text("\n".join([header, *lines]))
    pattern, run_dir = "data.pattern={}/{{split}}.csv", f"run_dir={tmp_path}/run"
    words = ["data=tables", pattern.format(tmp_path / "a"), "data.features=[x*]"]
    assert train([*words, run_dir, "data.batch_size=8", "trainer.last_step=30"]) == 0
    for folder in "ab":
        file = f"file={tmp_path}/{folder}.json"
        assert evaluate([run_dir, pattern.format(tmp_path / folder), file]) == 0
    found = [json.loads((tmp_path / f"{folder}.json").read_text()) for folder in "ab"]
    assert found[0]["accuracy"] == found[1]["accuracy"]
    assert found[0]["loss"] == pytest.approx(found[1]["loss"])


def test_a_label_is_no_feature_and_features_there_must_be(table):
    for features in (["x", "label"], []):
        with pytest.raises(ConfigError, match="columns of features, none of them that of"):
            table(features=features)


def test_a_zero_byte_and_a_number_beyond_float32_are_named(tmp_path, fit):
    cells = {"1\0": "is not a valid float", "1e39": r"found x=1e39, .*3\.4e38"}
    for number, (cell, problem) in enumerate(cells.items()):
        for split in ("train", "test"):
            rows = "0,0\n" * 9 + f"{cell},1\n" + "0,1\n" * 9
            (tmp_path / f"{split}.csv").write_text(f"x,label\n{rows}")
        table = Table(f"{tmp_path}/{{split}}.csv", ["x"], "label", 2, batch_size=4)
        with pytest.raises((DataError, NotFiniteError), match=rf"row 11: .*{problem}"):
            fit(tmp_path / f"run{number}", 9, MLP(hidden=4, classes=2), table)
