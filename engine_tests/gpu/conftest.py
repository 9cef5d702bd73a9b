"""What needs a GPU: left out elsewhere, by a marker that says so.

In a project `python -m pytest engine_tests/gpu` runs all of it, in some minutes.
GPU_TESTS_ON_CPU=1 runs, without one, what a CPU can do as well.
"""

import os
import subprocess
import sys

import pytest
from my_project.engine.run.gpus import visible_gpus

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ON_CPU = os.environ.get("GPU_TESTS_ON_CPU") == "1"


def pytest_configure(config):
    config.addinivalue_line("markers", "gpu: needs an NVIDIA GPU")


def pytest_runtest_setup(item):
    only_there = item.get_closest_marker("gpu").kwargs.get("only")
    if not visible_gpus() and (only_there or not ON_CPU):
        pytest.skip("no GPU: nvidia-smi lists none")


@pytest.fixture
def side_by_side(digits_directory):
    """side_by_side([words, ...]) -> what these commands print, all started at once; each ends well.

    The words are those of `python -m my_project.train`, or a program of Python alone.
    """
    running = []

    def side_by_side(*commands):
        data = ["data=digits", f"data.directory={digits_directory}", "data.train_examples=640"]
        data += ["data.test_examples=130", "data.batch_size=64"]
        for words in commands:
            train = ["-m", "my_project.train", *data, *words]
            running.append(
                subprocess.Popen(
                    [sys.executable, *(["-c", *words] if len(words) == 1 else train)],
                    cwd=ROOT,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    universal_newlines=True,
                )
            )
        shown = [process.communicate(timeout=240)[0] for process in running]
        assert [process.returncode for process in running] == [0] * len(running), shown
        running.clear()
        return shown

    yield side_by_side
    for process in running:
        process.kill()
