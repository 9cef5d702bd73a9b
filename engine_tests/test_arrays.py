"""NumPy's files: read where they lie, and what is refused."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.data.arrays import Arrays
from my_project.engine.errors import DataError
from my_project.engine.input.bad_records import find_bad_record
from my_project.engine.settings.config import instantiate, load_config
from my_project.model.mlp import MLP

IMAGES = np.arange(10 * 4 * 3, dtype=np.uint8).reshape(10, 4, 3)
LABELS = np.arange(10) % 3


@pytest.fixture
def arrays(tmp_path):
    """arrays(**arguments): Arrays of files that are in tmp_path."""
    np.save(tmp_path / "train_x.npy", IMAGES)
    np.save(tmp_path / "train_y.npy", LABELS)
    np.savez(tmp_path / "all.npz", train_x=IMAGES, train_y=LABELS, test_x=-IMAGES, test_y=LABELS)

    for split in ("train", "test"):  # one array may stand for both
        (tmp_path / split).symlink_to(tmp_path)

    def arrays(features="train_x.npy", labels="train_y.npy", **arguments):
        arguments = {"classes": 3, "batch_size": 4, **arguments}
        paths = [str(tmp_path / "{split}" / name) for name in (features, labels)]
        made = Arrays(*paths, **arguments)
        made.prepare()
        return made

    return arrays


def test_records_come_in_order_scaled_and_with_their_shape(arrays, batches):
    found = batches(arrays(scale=0.5), "test")
    features = np.concatenate([features for features, _ in found])
    labels = np.concatenate([labels for _, labels in found])
    assert features.dtype == np.float32
    assert np.array_equal(features, IMAGES / 2)
    assert labels.dtype == np.int32
    assert labels.tolist() == LABELS.tolist()


def test_the_graph_holds_no_records(arrays, tmp_path):
    np.save(tmp_path / "large.npy", np.zeros([10, 10000]))
    with tf.Graph().as_default() as graph:
        arrays("large.npy").batches("train", training=True)
    assert len(graph.as_graph_def().SerializeToString()) < 50000


def test_an_archive_holds_all_splits(arrays, batches):
    dataset = arrays("all.npz/{split}_x", "all.npz/{split}_y", batch_size=10)
    assert np.array_equal(batches(dataset, "train")[0][0], IMAGES)
    assert np.array_equal(batches(dataset, "test")[0][0], -IMAGES)
    assert [path.rpartition("/")[2] for path in dataset.files("train")] == ["all.npz"]


@pytest.mark.parametrize("dtype", ["float16", "<f4", ">f8", ">i4", "int64", "bool", ">u2", "int8"])
def test_numbers_of_each_type_and_byte_order_are_read(arrays, batches, tmp_path, dtype):
    np.save(tmp_path / "typed.npy", (np.arange(10) % 2).astype(dtype))
    ((features, _),) = batches(arrays("typed.npy", batch_size=10), "train")
    assert features.tolist() == [0, 1] * 5


@pytest.mark.parametrize("memory_fraction", [0.0, 0.25])
def test_an_epoch_holds_each_record_once_and_resumes_after_a_restart(
    arrays, batches, same, memory_fraction
):
    dataset = arrays(memory_fraction=memory_fraction, batch_size=5)
    with tf.Graph().as_default():
        shapes = tf.data.get_output_shapes(dataset.batches("train", training=True))
    assert [shape.as_list() for shape in shapes] == [[5, 4, 3], [5]]
    straight = batches(dataset, count=6, training=True)
    assert sorted(image[0, 0] for features, _ in straight[:2] for image in features) == [
        *range(0, 120, 12)
    ]
    stop = {"start_step" if memory_fraction else "saved_after": 3}
    assert same(straight[3:], batches(dataset, count=3, training=True, **stop))


def test_a_model_learns_from_arrays(arrays, fit, tmp_path):
    results = fit(tmp_path / "run", 20, MLP(hidden=8, classes=3), arrays(scale=1 / 255))
    assert np.isfinite(results["loss"])


def test_a_compressed_archive_is_refused_with_what_to_do(arrays, tmp_path):
    np.savez_compressed(tmp_path / "small.npz", x=IMAGES)
    with pytest.raises(DataError, match=r"small\.npz/x: the array is compressed; .*numpy.*savez"):
        arrays("small.npz/x")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.asfortranarray(np.zeros((10, 2))), r"shape \(10, 2\) in Fortran order, .* C order"),
        (np.zeros([0, 2]), r"found shape \(0, 2\), expected one example or more"),
        (np.array(5.0), r"found shape \(\), expected one"),
        (np.zeros(10, np.complex64), "found complex64 .* of a type in float16, float32"),
        (np.array(["a"] * 10), "found <U1"),
        (np.array([None] * 10), "found object"),
        (np.zeros(10, np.uint32), "found uint32 .* expected numbers of a type in"),
    ],
)
def test_an_array_that_cannot_be_read_in_place_is_refused(arrays, tmp_path, array, message):
    np.save(tmp_path / "odd.npy", array)
    with pytest.raises(DataError, match=rf"odd\.npy: .*{message}.*; save it again"):
        arrays("odd.npy")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.arange(9), r"found int64 of shape \(9,\), expected integers of shape \(10,\)"),
        (np.arange(9).reshape(9, 1), r"found int64 of .* the lengths differ"),
        (np.zeros(10), r'found float64 .*; convert them, as by labels.astype\("int64"\)'),
        (np.zeros(10, bool), r'found bool .*; convert them, as by labels.astype\("int64"\)'),
        (np.eye(10), r"found float64 .*, as by numpy.argmax\(labels, 1\)"),
        (np.zeros(10, np.uint64), r'found uint64 .* numpy.save .* of array.astype\("int64"\)'),
        (np.zeros(10, object), r'found object .* numpy.save .* of array.astype\("int64"\)'),
    ],
)
def test_labels_that_do_not_fit_are_refused(arrays, tmp_path, labels, message):
    np.save(tmp_path / "bad.npy", labels)
    with pytest.raises(DataError, match=rf"bad\.npy: {message}"):
        arrays(labels="bad.npy")


def test_a_label_that_is_not_a_class_is_named(arrays, tmp_path):
    np.save(tmp_path / "bad.npy", np.arange(10))
    with pytest.raises(DataError, match=r"bad\.npy: record 4: expected labels from 0 to 2, found"):
        find_bad_record(arrays(labels="bad.npy"), "train")


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "int64"])
def test_labels_of_each_type_are_compared_with_all_classes(arrays, batches, tmp_path, dtype):
    np.save(tmp_path / "typed.npy", np.arange(100, 110, dtype=dtype))
    for classes in (200, 1000):
        dataset = arrays(labels="typed.npy", classes=classes, batch_size=10)
        ((_, labels),) = batches(dataset, "train")
        assert labels.tolist() == [*range(100, 110)]
    with pytest.raises(DataError, match=r"record 3: expected labels from 0 to 101, found"):
        find_bad_record(arrays(labels="typed.npy", classes=102), "train")


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_each_version_of_the_format_is_read(arrays, batches, tmp_path, version):
    with open(tmp_path / "versioned.npy", "wb") as file:
        np.lib.format.write_array(file, IMAGES, version)
    assert np.array_equal(batches(arrays("versioned.npy"), count=1)[0][0], IMAGES[:4])


def test_splits_of_different_shape_are_named(arrays, tmp_path):
    np.save(tmp_path / "test_x.npy", IMAGES[:, :3])
    message = r"test_x\.npy: found examples of shape \(3, 3\), expected \(4, 3\) as in .*train_x"
    with pytest.raises(DataError, match=message):
        arrays("{split}_x.npy")


def test_files_that_are_corrupt_or_missing_are_refused(arrays, tmp_path):
    complete = (tmp_path / "train_x.npy").read_bytes()
    for name, contents, message in [
        ("cut.npy", complete[:-1], "mmap length is greater than file size"),
        ("head.npy", complete[:20], "EOF"),
        ("other.npy", b"PNG" * 50, "magic string is not correct"),
        ("cut.npz", (tmp_path / "all.npz").read_bytes()[:-1], "zip file"),
    ]:
        (tmp_path / name).write_bytes(contents)
        with pytest.raises(DataError, match=rf"{name}.*: .*{message}") as caught:
            arrays(f"{name}/x" if name.endswith("npz") else name)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"none\.npy: No such file"):
        arrays("none.npy")
    with pytest.raises(DataError, match=r"all\.npz/z: found train_x, train_y, test_x, test_y in"):
        arrays("all.npz/z")
    with pytest.raises(DataError, match=r"all\.npz: is an archive; add the array's name"):
        arrays("all.npz")


def test_its_settings_make_it():
    assert isinstance(instantiate(load_config(["data=arrays"]).data), Arrays)
