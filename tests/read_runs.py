"""Prints as JSON what run directories hold: `python read_runs.py RUN...`

The environment of a baked project runs this file, so it is written for Python 3.7.
"""

import collections
import glob
import hashlib
import json
import os
import sys

import tensorflow.compat.v1 as tf


def read_run(directory):
    """Returns {"checkpoints": steps, "global_step", "variables": {name: sum}, "summaries"}.

    A variable's sum is the sha256 of its bytes in the newest checkpoint; "summaries" gives the
    steps of each tag, those of the evaluation as "eval/<tag>".
    """
    prefix = os.path.join(directory, "checkpoints", "model.ckpt-")
    indices = glob.glob(prefix + "*.index")
    steps = sorted(int(index[len(prefix) : -len(".index")]) for index in indices)
    newest = tf.train.load_checkpoint(prefix + str(steps[-1]))
    variables = {
        name: hashlib.sha256(newest.get_tensor(name).tobytes()).hexdigest()
        for name in newest.get_variable_to_shape_map()
    }
    summaries = collections.defaultdict(list)
    for below in ("", "eval/"):
        for file in sorted(glob.glob(os.path.join(directory, below, "events.out.tfevents.*"))):
            for event in tf.train.summary_iterator(file):
                for value in event.summary.value:
                    summaries[below + value.tag].append(event.step)
    return {
        "checkpoints": steps,
        "global_step": int(newest.get_tensor("global_step")),
        "variables": variables,
        "summaries": summaries,
    }


print(json.dumps([read_run(directory) for directory in sys.argv[1:]]))
