"""What in_step.py asks of runs: in_step_cases.py CASE RUN [RUN]; prints a line of JSON."""

from __future__ import annotations

import json
import os
import statistics
import sys

import numpy as np
import tensorflow.compat.v1 as tf

SLOTS = ("Adam", "Momentum", "beta1_power", "beta2_power")  # an optimizer's own variables


def newest(run: str) -> str:
    return tf.train.latest_checkpoint(os.path.join(run, "checkpoints"))


def apart(one: str, other: str) -> dict[str, float]:
    """The largest difference of a weight, and of any number that is saved."""
    one, other = tf.train.load_checkpoint(newest(one)), tf.train.load_checkpoint(newest(other))
    shapes = one.get_variable_to_shape_map()
    assert shapes == other.get_variable_to_shape_map()
    found = {"weights": 0.0, "all": 0.0}
    for name in shapes:
        a, b = one.get_tensor(name), other.get_tensor(name)
        if not np.issubdtype(a.dtype, np.number):
            largest = 0.0 if np.array_equal(a, b) else np.inf
        else:
            largest = float(np.abs(a.astype(np.float64) - b).max(initial=0))
        found["all"] = max(found["all"], largest)
        if np.issubdtype(a.dtype, np.floating) and not any(slot in name for slot in SLOTS):
            found["weights"] = max(found["weights"], largest)
    return found


def nudge(run: str) -> dict[str, float]:
    """Moves each weight of the newest checkpoint by one in 10 million."""
    path = newest(run)
    reader = tf.train.load_checkpoint(path)
    random = np.random.RandomState(0)
    with tf.Graph().as_default(), tf.Session() as session:
        variables = []
        for name in reader.get_variable_to_shape_map():
            value = reader.get_tensor(name)
            if np.issubdtype(value.dtype, np.floating):
                value = value * (1 + 1e-7 * random.choice([-1, 1], value.shape)).astype(value.dtype)
            variables.append(tf.Variable(value, name=name))
        session.run(tf.global_variables_initializer())
        tf.train.Saver(variables).save(session, path, write_meta_graph=False, write_state=False)
    return {}


def rate(run: str) -> dict[str, float]:
    """The median between two log lines, after the first ones."""
    with open(os.path.join(run, "metrics.jsonl"), encoding="utf-8") as file:
        lines = [line for line in map(json.loads, file) if line["split"] == "train"]
    rates = [line["examples_per_sec"] for line in lines if "examples_per_sec" in line]
    return {"examples_per_sec": statistics.median(rates[2:])}


if __name__ == "__main__":
    case, *runs = sys.argv[1:]
    print(json.dumps({"apart": apart, "nudge": nudge, "rate": rate}[case](*runs)))
