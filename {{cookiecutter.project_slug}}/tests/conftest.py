"""Small data and short runs that the tests share."""

import logging

import pytest
import tensorflow.compat.v1 as tf

from {{ cookiecutter.project_slug }}.data import Digits
from {{ cookiecutter.project_slug }}.model import MLP
from {{ cookiecutter.project_slug }}.train.session import SessionTrainer

logging.getLogger("{{ cookiecutter.project_slug }}").setLevel(logging.INFO)


@pytest.fixture(scope="session")
def digits_directory(tmp_path_factory):
    """Where the drawn digits are, so that they are drawn once."""
    return str(tmp_path_factory.mktemp("digits"))


@pytest.fixture
def digits(digits_directory):
    """640 digits to train on (10 batches) and 130 to test (the last batch has 2)."""
    return Digits(digits_directory, train_examples=640, test_examples=130, batch_size=64)


@pytest.fixture
def fit(digits):
    """Trains a small MLP: fit(run_dir, last_step=30, model=None, **trainer arguments)."""

    def fit(run_dir, last_step=30, model=None, dataset=None, **arguments):
        trainer = SessionTrainer(str(run_dir), last_step=last_step, **arguments)
        return trainer.fit(model or MLP(hidden=16, dropout=0.5), dataset or digits)

    return fit


@pytest.fixture
def variables():
    """All variables of a run's newest checkpoint: variables(run_dir) -> {name: array}."""

    def variables(run_dir):
        path = tf.train.latest_checkpoint(f"{run_dir}/checkpoints")
        reader = tf.train.load_checkpoint(path)
        return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}

    return variables
