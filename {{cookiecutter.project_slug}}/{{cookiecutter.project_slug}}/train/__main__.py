"""Trains a model.

    python -m <package>.train                                    MNIST, the MLP, 2,000 steps
    python -m <package>.train data=digits model.hidden=64        other choices and values
    python -m <package>.train run_dir=runs/x trainer.last_step=5000    continue a run

The settings and what they mean are in conf/. Exit codes: 0 done, 1 failed, 2 bad setting,
143 stopped by SIGTERM and 130 by Ctrl-C, both after saving.
"""

from __future__ import annotations

import logging
import signal
import sys

from omegaconf import DictConfig, OmegaConf

from ..errors import UserError
from .config import instantiate, load_config


def train(config: DictConfig) -> int:
    """Builds the dataset, the model and the trainer, and trains; returns the exit code."""
    dataset = instantiate(config.data)
    model = instantiate(config.model)
    trainer = instantiate(config.trainer)
    settings = OmegaConf.to_yaml(config, resolve=True)

    results = trainer.fit(model, dataset, config=settings)

    if trainer.stopped_by:
        return 128 + trainer.stopped_by
    for name, value in results.items():
        print(f"{dataset.evaluation_split} {name}: {value:.4f}")
    return 0


def main(arguments: list[str]) -> int:
    """Runs the command; a mistake ends in one line and an exit code, not in a stack trace."""
    if {"-h", "--help"} & set(arguments):
        print(__doc__.strip())
        return 0
    # Until training handles them; so a new run directory is removed again.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        return train(load_config(arguments))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
