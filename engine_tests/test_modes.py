"""Both modes with records of every form: batches, order, shares, balance, lengths, restarts."""

import os
import time
from typing import ClassVar

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.data import Dataset
from my_project.engine.errors import ConfigError, DataError, RunError
from my_project.engine.input import sizes
from my_project.engine.input.elements import native
from my_project.engine.input.numpy_slices import numpy_slices
from my_project.engine.input.random_numbers import uniform
from my_project.engine.input.sizes import count_records, padding_wasted
from my_project.engine.input.source import splits_of
from my_project.engine.run import machine
from my_project.model.mlp import MLP

NUMBERS = list(range(60))  # in files of ten; those from 50 on are of the rare class, 0
BUCKETS = [4, 7]  # of the lengths below, 1 to 9


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """Six text files of ten numbers each."""
    directory = tmp_path_factory.mktemp("numbers")
    for file in range(6):
        lines = "".join(f"{number}\n" for number in NUMBERS[file * 10 : file * 10 + 10])
        (directory / f"{file}.txt").write_text(lines)
    return str(directory)


class Numbers(Dataset):
    """A record is a number."""

    expected = NUMBERS

    def __init__(self, directory, in_memory, **others):
        others = {"batch_size": 5, "shuffle_buffer": 20, **others}
        super().__init__(memory_fraction=0.25 * in_memory, **others)
        self.directory = directory
        self.file_count = 6

    def files(self, split):
        return [f"{self.directory}/{file}.txt" for file in range(self.file_count)]

    def bytes_in_memory(self, split):
        return 1000

    def read(self, path):
        lines = tf.data.TextLineDataset(path)
        return lines.map(native(lambda line: tf.strings.to_number(line, tf.int64)))

    def convert(self, number):
        return {"number": number}, tf.cast(number < 50, tf.int32)


class Pairs(Numbers):
    """A record is a tuple of a number and a dict, odd numbers only; it is augmented."""

    expected = NUMBERS[1::2]

    def read(self, path):
        others = native(lambda number: {"square": number**2, "text": tf.strings.as_string(number)})
        return super().read(path).map(native(lambda number: (number, others(number))))

    def keep(self, number, others):
        return tf.equal(number % 2, 1)

    def convert(self, number, others):
        return {"number": number, **others}, tf.cast(number < 50, tf.int32)

    def augment(self, features, labels, keys):
        return {**features, "drawn": uniform(keys, [2])}, labels


class Ragged(Numbers):
    """A record is a dict of an odd number and [1 + number % 9, 2] of it."""

    expected = NUMBERS[1::2]
    padding: ClassVar = {"number": 0, "matrix": -1}

    def read(self, path):
        matrix = native(lambda number: tf.fill([1 + number % 9, 2], number))
        numbers = super().read(path)
        return numbers.map(native(lambda number: {"number": number, "matrix": matrix(number)}))

    def keep(self, record):
        return tf.equal(record["number"] % 2, 1)

    def convert(self, record):
        return record, tf.cast(record["number"] < 50, tf.int32)


class Alone(Numbers):
    """A record is a sequence of 1 + number % 9 times the number, which decode makes."""

    padding = -1.0

    def decode(self, number):
        return tf.fill([1 + number % 9], tf.cast(number, tf.float32))

    def convert(self, sequence):
        number = tf.cast(sequence[:, 0], tf.int64)
        return {"number": number, "sequence": sequence}, tf.cast(number < 50, tf.int32)


class Learner(MLP):
    """Learns from the number alone."""

    def call(self, inputs, training=False):
        return super().call(inputs["number"], training)


FORMS = [Numbers, Pairs, Ragged, Alone]
MODES = pytest.mark.parametrize("in_memory", [True, False], ids=["in memory", "streaming"])


def numbers_of(found):
    """The numbers of each batch."""
    return [features["number"].tolist() for features, _ in found]


def flat(found):
    return [number for batch in numbers_of(found) for number in batch]


@MODES
@pytest.mark.parametrize("form", FORMS)
def test_an_epoch_is_a_permutation_and_the_next_is_another(form, in_memory, directory, batches):
    dataset = form(directory, in_memory)
    assert dataset.in_memory("train") is in_memory
    count = len(form.expected) // 5
    found = flat(batches(dataset, count=2 * count, training=True))
    first, second = found[: 5 * count], found[5 * count :]
    assert sorted(first) == sorted(second) == form.expected
    assert first != second
    assert flat(batches(dataset, "test")) == form.expected


@MODES
@pytest.mark.parametrize("form", FORMS)
def test_a_restart_gives_the_batches_that_would_have_come(
    form, in_memory, directory, batches, same
):
    buckets = [] if form.padding is None else BUCKETS
    dataset = form(directory, in_memory, balance=0.5, buckets=buckets)
    straight = batches(dataset, count=20, training=True)
    stop = {"start_step" if in_memory else "saved_after": 13}
    assert same(straight[13:], batches(dataset, count=7, training=True, **stop))
    if not in_memory:  # on a machine with more cores, and with fewer
        for calls in (1, 5):
            other = form(directory, False, balance=0.5, buckets=buckets, parallel_calls=calls)
            found = batches(dataset, count=7, training=True, restores=other, **stop)
            assert same(straight[13:], found), calls


@pytest.mark.parametrize(
    ("cores", "runs", "calls"),
    [(1, "", 2), (4, "x", 4), (64, "", 16), (64, "8", 8), (4, "9" * 30, 4)],
)
def test_there_are_as_many_calls_as_cores_but_for_few_and_many(
    cores, runs, calls, directory, monkeypatch
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(cores), raising=False)
    monkeypatch.setenv("RUNS_ON_MACHINE", runs)
    assert Numbers(directory, True).parallel_calls == calls


def test_the_number_of_calls_can_be_set(directory):
    assert Numbers(directory, True, parallel_calls=1).parallel_calls == 1
    with pytest.raises(ConfigError, match="parallel_calls=-1"):
        Numbers(directory, True, parallel_calls=-1)


def test_the_order_of_the_next_epoch_is_made_while_one_runs(directory, monkeypatch):
    made, draw = [], tf.random.stateless_uniform

    def noted(shape, key, **others):
        epoch = tf.ensure_shape(tf.py_func(note, [key[1]], tf.int64), [])
        return draw(shape, tf.stack([key[0], epoch]), **others)

    def note(epoch):
        made.append(int(epoch))
        return epoch

    monkeypatch.setattr(tf.random, "stateless_uniform", noted)
    dataset = Numbers(directory, True)
    with tf.Graph().as_default(), tf.Session() as session:
        iterator = tf.data.make_initializable_iterator(dataset.batches("train", training=True))
        session.run(iterator.initializer)
        session.run(iterator.get_next())
        until = time.monotonic() + 30
        while 1 not in made and time.monotonic() < until:
            time.sleep(0.01)
    assert made[:2] == [0, 1]


@MODES
@pytest.mark.parametrize(("form", "file_count"), [(Pairs, 6), (Alone, 2)])
def test_the_shares_of_workers_are_complete_together_and_do_not_overlap(
    form, file_count, in_memory, directory, batches
):
    shares = []
    for worker in range(3):
        dataset = form(directory, in_memory, batch_size=1)
        dataset.file_count = file_count
        dataset.shard = (worker, 3)
        count = count_records(dataset, "train", dataset.shard)
        shares.append(flat(batches(dataset, count=count, training=True)))
    in_files = [number for number in form.expected if number < 10 * file_count]
    assert sorted(number for share in shares for number in share) == in_files
    if file_count == 6:
        assert [{number // 10 for number in share} for share in shares] == [{0, 3}, {1, 4}, {2, 5}]


@MODES
@pytest.mark.parametrize("form", [Pairs, Alone])
def test_balance_takes_each_class_equally_often(form, in_memory, directory, batches):
    dataset = form(directory, in_memory, balance=1.0)
    labels = [labels for _, labels in batches(dataset, count=60, training=True)]
    assert abs(np.mean(labels) - 0.5) < 0.08


def padded(found):
    """The share of the places in batches that hold padding."""
    lengths = [[1 + number % 9 for number in batch] for batch in numbers_of(found)]
    return 1 - sum(map(sum, lengths)) / sum(max(batch) * len(batch) for batch in lengths)


@MODES
def test_a_batch_of_a_bucket_holds_records_of_similar_lengths(in_memory, directory, batches):
    dataset = Ragged(directory, in_memory, buckets=BUCKETS)
    found = batches(dataset, count=48, training=True)
    kinds = [{np.digitize(1 + n % 9, BUCKETS) for n in batch} for batch in numbers_of(found)]
    epochs = 48 / 6
    # In memory, an epoch's batches at the ends of buckets hold what is left over.
    assert sum(len(kind) > 1 for kind in kinds) <= in_memory * 2 * epochs
    assert set().union(*kinds) == {0, 1, 2}
    assert len({min(kind) for kind in kinds[:5]}) > 1  # in no order
    assert min(flat(found).count(number) for number in Ragged.expected) >= epochs - 2
    plain = Ragged(directory, in_memory)
    without = batches(plain, count=48, training=True)
    assert padded(found) < 0.6 * padded(without)
    assert abs(padding_wasted(dataset, "train") - padded(found)) < 0.06
    assert abs(padding_wasted(plain, "train") - padded(without)) < 0.06


def test_each_component_is_padded_with_its_own_value(directory, batches):
    ((features, _),) = batches(Ragged(directory, True, batch_size=30), "test")
    assert features["matrix"].shape == (30, 9, 2)
    assert features["matrix"][1].tolist() == [[3, 3]] * 4 + [[-1, -1]] * 5


@MODES
def test_a_share_smaller_than_a_batch_is_refused(in_memory, directory):
    dataset = Numbers(directory, in_memory, batch_size=20)
    dataset.shard = (0, 6)
    with pytest.raises(DataError, match="batch_size is 20, but the train split holds only 10"):
        dataset.batches("train", training=True)


def test_what_streams_is_not_tuned_which_brings_1_15_down_where_a_session_ends(directory):
    options = Numbers(directory, False).batches("train", True).options()
    if hasattr(options, "autotune"):
        assert options.autotune.enabled is False
    else:
        assert options.experimental_optimization.autotune is False


class Repeated(Numbers):
    """1,000 numbers, of which the last hundred are rare."""

    def files(self, split):
        return []

    def records(self, split):
        return tf.data.Dataset.range(1000)

    def convert(self, number):
        return {"number": number}, tf.cast(number < 900, tf.int32)

    def augment(self, features, labels, keys):
        return {**features, "drawn": uniform(keys)}, labels


def test_a_repeated_example_is_augmented_differently_each_time(directory, batches):
    found = batches(Repeated(directory, True, balance=1.0), count=200, training=True)
    drawn = [features["drawn"] for features, _ in found]
    numbers = flat(found)
    assert {numbers.count(number) for number in range(900, 1000)} == {5}
    assert len(set(zip(numbers, np.concatenate(drawn).tolist()))) == 1000


def test_balance_takes_neighbors_in_the_files_independently(directory, batches):
    found = batches(Repeated(directory, True, balance=1.0), count=1000, training=True)
    epochs = np.reshape(flat(found), [5, 1000])
    for epoch in epochs:
        taken = np.isin(np.arange(900), epoch)
        assert taken.sum() == 500
        # By chance 900 (5/9)^2 = 278 pairs, with a standard deviation of 10; in lockstep 100.
        assert abs(np.sum(taken[1:] & taken[:-1]) - 278) < 40
        assert abs(taken[::2].sum() - 250) < 40
    assert len({tuple(sorted(epoch)) for epoch in epochs}) == 5


@pytest.mark.parametrize(
    ("form", "stratify"), [(Numbers, True), (Pairs, False), (Ragged, True), (Alone, False)]
)
def test_a_share_for_validation_is_a_split_of_its_own(form, stratify, directory, batches):
    others = {"validation_share": 0.3, "stratify": stratify, "balance": 0.5}
    dataset = form(directory, True, **others)
    assert splits_of(dataset) == ("train", "validation", "test")
    assert dataset.evaluation_split == "validation"
    held_out = flat(batches(dataset, "validation"))
    kept = [number for number in form.expected if number not in held_out]
    assert len(kept) == dataset.count("train")
    assert len(held_out) == dataset.count("validation")
    assert 0.1 < len(held_out) / len(form.expected) < 0.5
    if stratify:
        classes = list(dataset.class_counts("validation"))
        assert classes == ([3, 15] if form.expected == NUMBERS else [2, 8])  # 1.5, 7.5: rounded up
    assert flat(batches(dataset, "train")) == kept
    assert flat(batches(dataset, "test")) == form.expected
    assert dataset.class_counts("train").sum() == len(kept)
    for in_memory in (True, False):
        training = batches(form(directory, in_memory, **others), count=40, training=True)
        assert set(flat(training)) <= set(kept)
    assert flat(batches(form(directory, False, seed=7, **others), "validation")) == held_out
    shares = [form(directory, True, **others) for _ in range(3)]
    for worker, share in enumerate(shares):
        share.shard = (worker, 3)
    assert sum(count_records(share, "train", share.shard) for share in shares) == len(kept)


def held_out(dataset, batches):
    return set(flat(batches(dataset, "validation")))


def test_what_is_held_out_stays_so_when_records_and_files_are_added(directory, tmp_path, batches):
    class Folders(Numbers):
        def files(self, split):
            return sorted(map(str, self.directory.glob("*/*.txt")))

    class Counted(Repeated):
        number = 1000

        def records(self, split):
            return super().records(split).take(self.number)

    dataset = Counted(directory, True, validation_share=0.2)
    assert 150 < dataset.count("validation") < 250
    many = held_out(dataset, batches)
    Counted.number = 500
    few = held_out(Counted(directory, True, validation_share=0.2), batches)
    assert few == {number for number in many if number < 500}

    for name in ("a/2", "b/1"):
        (tmp_path / name[0]).mkdir()
        numbers = range(100) if name == "a/2" else range(100, 200)
        (tmp_path / f"{name}.txt").write_text("".join(f"{number}\n" for number in numbers))
    before = held_out(Folders(tmp_path, True, validation_share=0.2), batches)
    (tmp_path / "a" / "1.txt").write_text("1000\n")
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for folder in "ab":
        (tmp_path / folder).rename(moved / folder)
    with open(str(moved / "b" / "1.txt"), "a") as file:
        file.write("2000\n")
    after = held_out(Folders(moved, True, validation_share=0.2), batches)
    assert after - {1000, 2000} == before
    assert {number // 100 for number in before} == {0, 1}


def test_what_is_held_out_of_one_file_stays_so_when_that_is_renamed(tmp_path, batches):
    class Single(Numbers):
        def files(self, split):
            return [str(self.directory)]

    text = "".join(f"{number}\n" for number in range(200))
    found = []
    for name in ("all.txt", "all_v2.txt"):
        (tmp_path / name).write_text(text)
        found.append(held_out(Single(tmp_path / name, True, validation_share=0.3), batches))
    assert found[0] == found[1]
    assert 40 < len(found[0]) < 80


def test_files_of_other_names_would_divide_otherwise_and_are_refused(tmp_path, fit):
    for number in range(6):
        lines = "".join(f"{10 * number + k}\n" for k in range(10))
        (tmp_path / f"{number}.txt").write_text(lines)
    fit(tmp_path / "run", 2, Learner(classes=2), Numbers(tmp_path, True, validation_share=0.3))
    (tmp_path / "0.txt").rename(tmp_path / "00.txt")

    class Renamed(Numbers):
        def files(self, split):
            return [f"{self.directory}/00.txt", *super().files(split)[1:]]

    renamed = Renamed(tmp_path, True, validation_share=0.3)
    with pytest.raises(RunError, match="training files have other names, by which"):
        fit(tmp_path / "run", 4, Learner(classes=2), renamed)


def test_a_share_that_takes_nothing_is_named(directory):
    dataset = Numbers(directory, True, validation_share=0.0001)
    with pytest.raises(DataError, match=r"holds no records; data\.validation_share is"):
        sizes.check_not_empty(dataset, "validation", dataset.count("validation"))


def test_a_stratified_share_is_exact_in_each_class_and_few_records_change_sides(directory, batches):
    class Counted(Repeated):
        number = 1000

        def records(self, split):
            return super().records(split).take(self.number)

    others = {"validation_share": 0.25, "stratify": True}
    dataset = Counted(directory, True, **others)
    many = held_out(dataset, batches)
    assert list(dataset.class_counts("validation")) == [25, 225]
    assert list(dataset.class_counts("train")) == [75, 675]
    Counted.number = 950  # the last 100 are of the rare class
    few = held_out(Counted(directory, True, **others), batches)
    assert (len(few), len(many)) == (238, 250)
    assert len({number for number in many if number < 950} ^ few) <= 4


def test_a_share_of_each_class_needs_classes_and_a_share(directory, batches):
    class Halves(Numbers):
        def convert(self, number):
            return number, tf.cast(number, tf.float32) / 2

    with pytest.raises(ConfigError, match=r"data\.stratify: found true without a share"):
        Numbers(directory, True, stratify=True)
    with pytest.raises(ConfigError, match=r"labels float32 \[\?\], expected integers .*stratify"):
        batches(Halves(directory, True, stratify=True, validation_share=0.1), "validation")


def test_the_order_of_a_stream_depends_on_the_seed_of_the_data_alone(directory):
    def order(graph_seed, seed):
        with tf.Graph().as_default(), tf.Session() as session:
            tf.set_random_seed(graph_seed)
            dataset = Numbers(directory, False, seed=seed)
            iterator = tf.data.make_initializable_iterator(dataset.batches("train", True))
            following = iterator.get_next()
            session.run(iterator.initializer)
            return flat([session.run(following) for _ in range(12)])

    assert order(1, 7) == order(2, 7) != order(2, 1)


@pytest.mark.parametrize(
    ("labels", "error"),
    [
        (lambda n: tf.cast(n > 58, tf.int64) * 10**9, "label 1000000000 in the train split"),
        (lambda n: n - 5, "label -5 in the train split, expected classes from 0 to"),
        (lambda n: n[:, tf.newaxis], r"labels int64 \[\?, 1\], expected integers \[batch\]"),
        (lambda n: tf.cast(n, tf.float32), r"labels float32 \[\?\], expected integers"),
        (lambda n: {"n": n}, r"labels \{'n': 'int64 \[\?\]'\}, expected integers"),
    ],
)
@MODES
def test_balance_needs_classes(in_memory, directory, labels, error):
    class Labeled(Numbers):
        def convert(self, number):
            return number, labels(number)

    with pytest.raises((ConfigError, DataError), match=f"Labeled: found (the )?{error}"):
        Labeled(directory, in_memory, balance=1.0).batches("train", training=True)


def test_buckets_need_a_length(directory):
    class Scalars(Numbers):
        padding = 0

    with pytest.raises(ConfigError, match="a record of Scalars holds no array, which has a length"):
        Scalars(directory, True, buckets=[2]).batches("train", training=True)


def test_the_limit_of_the_own_group_of_processes_and_of_those_above_counts(tmp_path, monkeypatch):
    assert machine.memory_limit() > 0
    for path, limit in {"": "max", "/jobs": "5000", "/jobs/a": "9000", "/other": "10"}.items():
        (tmp_path / path[1:]).mkdir(exist_ok=True)
        (tmp_path / path[1:] / "limit").write_text(limit)
    groups = tmp_path / "cgroup"
    monkeypatch.setattr(machine, "GROUPS", str(groups))
    for kind, line in (("", "0::/jobs/a"), ("memory", "4:cpu,memory:/jobs/a")):
        groups.write_text(f"9:name=systemd:/other\n{line}\n\nodd\n")
        monkeypatch.setattr(machine, "LIMITS", {kind: f"{tmp_path}{{}}/limit"})
        assert machine.memory_limit() == 5000
    monkeypatch.setenv("RUNS_ON_MACHINE", "4")
    assert machine.memory_limit() == 1250


@MODES
def test_arrays_in_memory_are_records_and_no_part_of_the_graph(in_memory, directory, batches):
    arrays = {"number": np.arange(60), "text": np.array([f"{n}" for n in range(60)])}

    class Slices(Repeated):
        def records(self, split):
            return numpy_slices(arrays)

        def convert(self, record):
            return record, record["number"]

    dataset = Slices(directory, in_memory)
    assert flat(batches(dataset, "test")) == NUMBERS
    found = batches(dataset, count=24, training=True)
    assert sorted(flat(found)) == sorted(2 * NUMBERS)
    assert all(int(t) == n for f, _ in found for t, n in zip(f["text"], f["number"]))
    arrays["number"] = np.arange(59)
    with pytest.raises(DataError, match=r"arrays of shapes \(59,\), \(60,\), expected equal"):
        dataset.batches("test")

    class Constants(Slices):
        def records(self, split):
            return tf.data.Dataset.from_tensor_slices({"number": np.zeros([10, 1310720])})

    with pytest.raises(DataError, match=r"105 MB of data are constants .* take numpy_slices"):
        Constants(directory, in_memory).batches("train", training=True)
