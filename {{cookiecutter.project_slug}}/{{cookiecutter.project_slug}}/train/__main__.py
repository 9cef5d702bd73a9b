"""Trains a model.

    python -m <package>.train                                    MNIST, the MLP, 2,000 steps
    python -m <package>.train data=digits model.hidden=64        other choices and values
    python -m <package>.train run_dir=runs/x trainer.last_step=5000    resume a run
    python -m <package>.train model=cnn --show                         the settings alone
    python -m <package>.train -m model=mlp,cnn seed=1,2,3 jobs=4       each combination, and a table
    python -m <package>.train -m search.trials=30 ...                  a search: see docs/train.md

The settings and what they mean are in conf/. Exit codes: 0 done, 1 failed, 2 bad setting,
143 stopped by SIGTERM, 130 by Ctrl-C, 129 by a closed terminal, 138 by SIGUSR1, after saving.
"""

from __future__ import annotations

import sys

from omegaconf import OmegaConf

from ..engine.settings.config import instantiate, load_config
from ..engine.settings.tree import print_settings
from ..engine.tools.command import run_command


def train(arguments: list[str]) -> int:
    """Builds the dataset, the model and the trainer, and trains; returns the exit code."""
    if {"-m", "--multirun"} & set(arguments):
        from ..engine.sweep.sweep import sweep

        return sweep([text for text in arguments if text not in ("-m", "--multirun")])
    if "--show" in arguments:
        return print_settings([text for text in arguments if text != "--show"])
    config = load_config(arguments)
    from ..engine.loop.lifecycle import set_last_step  # TensorFlow: settings are right by now
    from ..engine.tools.what_next import what_next

    dataset, trainer = instantiate(config.data), instantiate(config.trainer)
    set_last_step(config, trainer, dataset)
    model = instantiate(config.model)
    try:
        results = trainer.fit(model, dataset, config=OmegaConf.to_yaml(config, resolve=True))
        for name, value in results.items():
            print(f"{dataset.evaluation_split} {name}: {value:.4f}")
        return 0
    except KeyboardInterrupt:
        if not trainer.stopped_by:
            raise
        return 128 + trainer.stopped_by
    finally:
        print(what_next(trainer), end="", flush=True)


if __name__ == "__main__":
    sys.exit(run_command(train, __doc__, needs_reader=False))
