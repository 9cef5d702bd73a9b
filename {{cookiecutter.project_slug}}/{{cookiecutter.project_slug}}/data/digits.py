"""Generated digits in MNIST's format: the real path, without a network."""

from __future__ import annotations

import os
from typing import Any

from ..engine.errors import ConfigError
from ..engine.input.draw_digits import write_digits
from .idx import IdxImages


class Digits(IdxImages):
    """Digits drawn from a few glyphs with random warps, strokes and noise; see `draw_digits`.

    Args:
        directory: of a folder for each choice of the three numbers below, which holds the files.
        train_examples, test_examples: how many to draw.
        drawing_seed: the same numbers and seed give the same files, bit for bit.
        others: classes, batch_size and more: see `IdxImages`.
    """

    def __init__(
        self,
        directory: str = "datasets/digits",
        train_examples: int = 10000,
        test_examples: int = 2000,
        drawing_seed: int = 1,
        **others: Any,
    ) -> None:
        if min(train_examples, test_examples) < 1 or not 0 <= drawing_seed < 2**32:
            raise ConfigError(
                f"data: found train_examples={train_examples}, test_examples={test_examples}, "
                f"drawing_seed={drawing_seed}; expected examples above 0 and a seed of 32 bits"
            )
        name = f"{train_examples}-{test_examples}-{drawing_seed}"
        super().__init__(os.path.join(directory, name), **others)
        self.train_examples = train_examples
        self.test_examples = test_examples
        self.drawing_seed = drawing_seed

    def prepare(self) -> None:
        """Draws the files unless they are there, then checks them."""
        write_digits(self.directory, self.train_examples, self.test_examples, self.drawing_seed)
        super().prepare()
