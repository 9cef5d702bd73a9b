"""A directory tree of images: classes by folder, PNG and JPEG, one size."""

import collections
import os
import re

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.data.images import Images
from my_project.engine.errors import ConfigError, DataError
from my_project.engine.input.bad_records import find_bad_record
from my_project.engine.input.elements import run_once
from my_project.engine.input.footprint import buffer_size
from my_project.engine.input.images import _jpeg
from my_project.engine.input.source import splits_of
from PIL import Image

PIXELS = np.random.RandomState(1).randint(0, 256, [12, 4, 6, 3]).astype(np.uint8)


def write(path, pixels, encode=tf.image.encode_png):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(run_once(lambda: encode(pixels)))


@pytest.fixture
def directory(tmp_path):
    """Color images of 4 × 6: 3 cats and 5 dogs to train on, 2 of each to test."""
    for number, pixels in enumerate(PIXELS):
        split, name = "train" if number % 3 else "test", "cat" if number < 5 else "dog"
        write(tmp_path / "images" / split / name / f"{number:02}.png", pixels)
    return tmp_path / "images"


def dataset(directory, height=4, width=6, channels=3, classes=2, **others):
    return Images(str(directory), height, width, channels, classes, batch_size=2, **others)


def test_labels_are_places_in_the_sorted_folders_and_pixels_are_those_of_the_files(
    directory, batches
):
    images = dataset(directory)
    features, labels = map(np.concatenate, zip(*batches(images, "test")))
    assert images.class_names == ["cat", "dog"]
    assert labels.tolist() == [0, 0, 1, 1]
    assert (features.dtype, labels.dtype) == (np.float32, np.int32)
    np.testing.assert_allclose(features, PIXELS[::3] / 255.0, atol=1e-7)


def test_a_pixel_is_the_mean_of_what_it_covers(directory, batches):
    features, _ = batches(dataset(directory, 2, 2), "test", count=1)[0]
    means = PIXELS[:6:3].reshape(2, 2, 2, 2, 3, 3).mean(axis=(2, 4)) / 255.0
    np.testing.assert_allclose(features, means, atol=0.51 / 255)


def test_jpeg_and_gray_images_become_what_is_asked_for(tmp_path, batches):
    for split in ("train", "test"):
        folder = tmp_path / split / "a"
        write(folder / "1.JPG", np.full([8, 8, 3], 200, np.uint8), tf.io.encode_jpeg)
        write(folder / "2.png", np.full([5, 9, 1], 100, np.uint8))
    for channels in (1, 3):
        features, _ = batches(dataset(tmp_path, 4, 4, channels=channels), "test")[0]
        assert features.shape == (2, 4, 4, channels)
        np.testing.assert_allclose(features[0], 200 / 255.0, atol=2 / 255)
        np.testing.assert_allclose(features[1], 100 / 255.0, atol=1e-6)


def saved(directory, name, image, **options):
    """Writes an image by Pillow into a class of both splits."""
    for split in ("train", "test"):
        path = directory / split / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(str(path), **options)


def test_all_formats_are_read_by_their_content(tmp_path, batches):
    image = Image.new("RGB", (8, 6), (230, 120, 40))
    formats = {"bmp": "BMP", "webp": "WEBP", "tif": "TIFF", "ppm": "PPM", "JFIF": "JPEG"}
    for end, name in formats.items():
        saved(tmp_path, f"a/1.{end}", image, format=name)
    saved(tmp_path, "a/deeper/2.png", image.quantize(4), format="GIF")
    saved(tmp_path, "a/3.jpg", image, format="BMP")
    features = np.concatenate([found for found, _ in batches(dataset(tmp_path), "test")])
    assert len(features) == 7
    expected = np.array([230, 120, 40]) / 255
    np.testing.assert_allclose(features, np.broadcast_to(expected, features.shape), atol=3 / 255)


@pytest.mark.parametrize("channels", [1, 3])
def test_four_colors_become_gray_or_three(tmp_path, batches, channels):
    (tmp_path / "images/test/cat").mkdir(parents=True)
    ink = np.full([4, 6, 4], (0, 255, 255, 0), np.uint8)  # red
    Image.fromarray(ink, "CMYK").save(str(tmp_path / "images/test/cat/a.jpg"))
    images = dataset(tmp_path / "images", channels=channels, classes=1)
    images.training_split = "test"
    ((features, _),) = batches(images, "test")
    expected = [1, 0, 0] if channels == 3 else [0.3]
    np.testing.assert_allclose(features.mean((0, 1, 2)), expected, atol=0.05)


@pytest.mark.parametrize("order", ["<", ">"])  # of the bytes
@pytest.mark.parametrize("orientation", [None, 1, 6])
def test_a_photo_stands_upright(tmp_path, batches, orientation, order):
    pixels = np.zeros([8, 8], np.uint8)
    pixels[:4] = 255  # as seen
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    if orientation:
        exif[0x0112] = orientation  # 6: the camera was turned, and the rows are the columns
    exif.endian = order
    stored = np.rot90(pixels) if orientation == 6 else pixels
    saved(tmp_path, "a/1.jpg", Image.fromarray(stored), exif=exif.tobytes())
    assert (b"MM" if order == ">" else b"II") in (tmp_path / "test/a/1.jpg").read_bytes()[:40]
    features, _ = batches(dataset(tmp_path, 8, 8, channels=1), "test")[0]
    np.testing.assert_allclose(features[0, :, :, 0], pixels / 255.0, atol=4 / 255)


@pytest.mark.parametrize("exif", [None, 1])
@pytest.mark.parametrize("ratio", [1, 3, 8, 20])
def test_a_large_jpeg_becomes_means_of_its_pixels_and_an_upright_one_needs_no_pillow(
    tmp_path, batches, ratio, exif, monkeypatch
):
    down, across = np.mgrid[: 30 * ratio, : 40 * ratio] / ratio
    pixels = np.uint8(np.stack([8 * down, 6 * across, 4 * (down + across)], axis=-1) % 256)
    described = Image.Exif()
    described[0x0112] = 1
    options = {"exif": described.tobytes()} if exif else {}
    saved(tmp_path, "a/1.jpg", Image.fromarray(pixels), quality=95, **options)
    monkeypatch.setattr(Image, "open", None)
    features, _ = batches(dataset(tmp_path, 30, 40, classes=1), "test")[0]
    means = pixels.reshape(30, ratio, 40, ratio, 3).mean(axis=(1, 3)) / 255.0
    assert np.abs(features[0] - means).mean() < 0.02


@pytest.mark.parametrize(
    ("size", "found"), [((80, 100), (90, 160)), ((45, 20), (45, 80)), ((5, 9), (12, 20))]
)
def test_a_large_jpeg_is_decoded_at_the_smallest_size_that_the_shape_fits_into(size, found):
    data = run_once(lambda: tf.io.encode_jpeg(np.full([90, 160, 3], 100, np.uint8)))
    assert run_once(lambda: _jpeg(tf.constant(data), (*size, 3))).shape == (*found, 3)


def test_sixteen_bits_become_the_nearest_of_eight(tmp_path, batches):
    values = np.array([[0, 4369, 30000, 65535]], np.uint16)
    saved(tmp_path, "a/1.png", Image.fromarray(values))
    features, _ = batches(dataset(tmp_path, 1, 4, channels=1), "test")[0]
    np.testing.assert_allclose(features[0, 0, :, 0], values[0] / 65535.0, atol=0.51 / 255)


def test_several_pictures_in_a_file_are_refused_by_name(tmp_path):
    image = Image.new("L", (4, 4))
    saved(tmp_path, "a/1.gif", image, save_all=True, append_images=[Image.new("L", (4, 4), 9)])
    with pytest.raises(DataError, match=r"1\.gif: found 2 pictures in the file, expected one"):
        find_bad_record(dataset(tmp_path), "train")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_names_need_not_be_utf8(directory, batches):
    old = os.fsencode(str(directory / "test"))
    os.rename(old + b"/cat", old + b"/caf\xe9")
    old = os.fsencode(str(directory / "train"))
    os.rename(old + b"/cat", old + b"/caf\xe9")
    os.rename(old + b"/dog/05.png", old + b"/dog/caf\xe9.png")
    images = dataset(directory)
    images.prepare()
    labels = np.concatenate([labels for _, labels in batches(images, "train")])
    assert labels.tolist() == [0] * 3 + [1] * 5


@pytest.mark.parametrize("memory_fraction", [0.0, 0.25])
def test_an_epoch_of_training_holds_every_image_once(directory, batches, memory_fraction):
    images = dataset(directory, memory_fraction=memory_fraction)
    assert images.in_memory("train") == (memory_fraction > 0)
    for epoch in range(2):
        found = batches(images, training=True, count=8)[4 * epoch : 4 * epoch + 4]
        features = sorted(features.sum() for batch, _ in found for features in batch)
        expected = sorted(PIXELS[n].sum() / 255.0 for n in range(12) if n % 3)
        np.testing.assert_allclose(features, expected, rtol=1e-5)


def test_a_restored_position_resumes_with_the_next_batch(directory, batches, same):
    streamed = dataset(directory, memory_fraction=0.0, shuffle_buffer=3)
    straight = batches(streamed, training=True, count=10)
    assert same(batches(streamed, training=True, count=7, saved_after=3), straight[3:])


def test_the_shuffle_buffer_holds_as_many_paths_wherever_they_lie(directory):
    streamed = dataset(directory, memory_fraction=0.0, shuffle_buffer=10**6, shuffle_mb=1)
    assert buffer_size(streamed, "train") == 10**6


def test_counts_come_from_the_names_alone(directory):
    for path in directory.glob("*/*/*.png"):
        path.write_bytes(b"")
    images = dataset(directory, balance=1.0)
    assert images.count("train") == 8
    assert images.class_counts("train").tolist() == [3, 5]


def test_paths_are_not_part_of_the_graph(directory):
    with tf.Graph().as_default() as graph:
        dataset(directory).batches("train", training=True)
        assert b"05.png" not in graph.as_graph_def().SerializeToString()


def test_other_files_are_left_out_and_counted_and_hidden_ones_skipped(directory, caplog):
    (directory / "train" / "cat" / "@eaDir").mkdir()
    for name in ("a.txt", "b.TXT", "c.heic", ".DS_Store", "._01.png", "@eaDir/01.png"):
        (directory / "train" / "cat" / name).write_bytes(b"")
    assert dataset(directory).count("train") == 8
    (text,) = [record.getMessage() for record in caplog.records]
    assert text.endswith(f"endings: 2 .txt, 1 .heic; the first is {directory}/train/cat/a.txt")


def test_images_that_lie_in_no_class_are_left_out_and_counted(directory, caplog):
    for name in ("b.png", "a.png", "notes.txt", ".c.png"):
        (directory / "train" / name).write_bytes(b"")
    assert dataset(directory).count("train") == 8
    (text,) = [record.getMessage() for record in caplog.records]
    assert re.match("2 images are left out, .* no folder of a class; the first is .*/a.png", text)


def test_a_class_that_one_split_lacks_is_refused_by_name(directory):
    os.remove(str(directory / "test" / "cat" / "00.png"))
    dataset(directory).prepare()
    os.remove(str(directory / "test" / "cat" / "03.png"))
    message = r"images/test: found images of 1 classes \(dog\), expected 2, the same in all splits"
    with pytest.raises(DataError, match=message):
        dataset(directory).prepare()


def test_another_number_of_classes_than_stated_is_refused_with_their_names(directory):
    with pytest.raises(DataError, match=r"of 2 classes \(cat, dog\), expected 3, the same"):
        dataset(directory, classes=3).prepare()


def test_a_directory_without_images_is_refused_with_what_was_looked_for(tmp_path):
    with pytest.raises(DataError, match=r"none/train/<class>/\*: found no image; put"):
        dataset(tmp_path / "none").prepare()


@pytest.mark.parametrize("wrong", [{"height": 0}, {"channels": 2}])
def test_impossible_sizes_are_refused(wrong):
    with pytest.raises(ConfigError, match="expected sizes above 0, and 1 or 3 channels"):
        dataset("images", **wrong)


def test_a_share_for_validation_is_of_files_and_counts_their_folders(directory):
    images = dataset(directory, validation_share=0.5)
    images.prepare()
    counts = [images.class_counts(split).sum() for split in splits_of(images)]
    assert counts == [images.count(split) for split in splits_of(images)]
    assert counts[0] + counts[1] == 8
    assert counts[2] == 4
    assert 0 < counts[0] < 8


def test_a_start_asks_for_each_file_and_lists_each_folder_once(
    directory, fit, tmp_path, monkeypatch
):
    asked = collections.Counter()

    def counted(name, real):
        def call(path=".", *others, **named):
            asked[name, os.fspath(path) if not isinstance(path, int) else path] += 1
            return real(path, *others, **named)

        return call

    for name in ("stat", "scandir"):
        monkeypatch.setattr(os, name, counted(name, getattr(os, name)))
    images = dataset(directory)
    fit(tmp_path / "run", 4, dataset=images)
    files = [("stat", path) for split in images.splits for path in images.files(split)]
    folders = sorted({("scandir", os.path.dirname(path)) for _, path in files})
    assert len(files) == len(PIXELS)
    assert len(folders) == 4
    assert [asked[call] for call in files + folders] == [1] * (len(PIXELS) + 4)
