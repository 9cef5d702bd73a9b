"""The examples of docs/data.md, run as they are printed."""

import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.engine.input.elements import run_once

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PACKAGE = "my_project"
with open(os.path.join(ROOT, "docs", "data.md"), encoding="utf-8") as file:
    DOCS = file.read()
FILES = dict(re.findall(r"`([\w/]+\.(?:py|yaml))`[^`]*\n\n```\w+\n(.*?)```", DOCS, re.DOTALL))
COMMANDS = re.findall(r"^train (.*)$", DOCS, re.MULTILINE)


# Trains with each command in one process, for a few steps.
RUN_ALL = """
import sys
from my_project.train.__main__ import train
for number, line in enumerate(sys.argv[1:]):
    assert train([*line.split(), "run_dir=run%d" % number, "trainer.last_step=5"]) == 0
"""


@pytest.fixture
def project(tmp_path):
    """A copy of the package with the files that are shown, and small data of each format."""
    shutil.copytree(os.path.join(ROOT, PACKAGE), str(tmp_path / PACKAGE))
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    for folder in ("signals", "words"):
        (tmp_path / "datasets" / folder).mkdir(parents=True)
    for name in ("train-0", "train-1", "test-0"):
        records = np.random.RandomState(1).rand(200, 65).astype(np.float32)
        records[:, 0] = np.arange(200) % 10
        records.tofile(str(tmp_path / "datasets" / "signals" / f"{name}.bin"))
    photo = run_once(lambda: tf.image.encode_png(np.zeros([8, 8, 3], np.uint8)))
    for split in ("train", "test"):
        lines = [" ".join([str(n % 10), *map(str, range(n % 17))]) for n in range(300)]
        (tmp_path / "datasets" / "words" / f"{split}.txt").write_text("\n".join(lines))
        for name in ("cat", "dog"):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for number in range(70):
                (folder / f"{number}.png").write_bytes(photo)
    return tmp_path


def run(project, *arguments):
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=str(project),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_each_file_and_command_that_is_shown_works_as_printed(project):
    assert len(FILES) == len(re.findall(r"^```(?:python|yaml)$", DOCS, re.MULTILINE))
    assert len(COMMANDS) >= 5
    run(project, "to_tfrecord.py")
    assert len(os.listdir(str(project / "datasets" / "tfrecord"))) == 8
    printed = run(project, "-c", RUN_ALL, *COMMANDS)
    assert len(re.findall(r"^test accuracy: [01]\.\d+$", printed, re.MULTILINE)) == len(COMMANDS)


def test_each_format_that_is_here_is_listed():
    table = re.search(r"\| `data=` \|.*?\n\n", DOCS, re.DOTALL).group()
    listed = set(re.findall(r"`(\w+)`", table))
    assert {name[: -len(".yaml")] for name in os.listdir(f"{ROOT}/{PACKAGE}/conf/data")} <= listed
