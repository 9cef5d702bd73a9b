"""Draws digits that look handwritten, as many as wanted, without a network: the `digits` data.

The same seed gives the same bytes on every machine and with every NumPy from 1.18: randomness is
RandomState.random_sample alone, a frozen stream, and arithmetic is + - * / sqrt and comparisons of
single elements, which IEEE 754 rounds in one way only (sums of many and sin are not so).
"""

from __future__ import annotations

import os

import numpy as np

from .idx import write

# (digit, strokes): a stroke is a polyline, a point its column and row, 0-9 each.
GLYPHS = (
    (0, "50 31 14 17 39 59 78 85 82 61 50"),
    (0, "40 22 14 16 28 49 68 76 74 62 40"),
    (1, "50 54 59"),
    (1, "23 50 59"),
    (1, "32 50 59 | 29 79"),
    (2, "22 30 60 72 74 46 19 89"),
    (2, "12 31 51 62 55 28 18 27 49 89"),
    (3, "21 40 61 72 54 34 54 76 78 59 39 18"),
    (3, "10 70 43 65 77 59 39 18"),
    (4, "69 60 16 86"),
    (4, "20 15 45 75 | 71 65 59"),
    (5, "80 30 24 54 75 77 59 29 18"),
    (5, "20 24 54 66 58 39 18 | 20 80"),
    (6, "70 42 25 17 29 59 77 65 45 26"),
    (6, "40 23 16 28 49 68 66 55 36 27"),
    (7, "10 80 55 39"),
    (7, "11 71 49 | 35 75"),
    (8, "61 40 21 23 44 66 78 59 39 18 26 44 63 72 61"),
    (8, "50 31 32 54 66 68 49 28 26 44 62 61 50"),
    (9, "72 50 30 12 14 35 55 72 66 59"),
    (9, "71 41 22 24 45 64 71 76 68 49 29"),
)
SIZE = 28  # pixels a side, as in MNIST
CHUNK = 100  # examples drawn at once from one random stream; another number gives other digits


def write_digits(
    directory: str | os.PathLike[str], train_examples: int, test_examples: int, seed: int
) -> None:
    """Puts four idx files named as MNIST's into `directory`; those that are there stay.

    The digits to test on come from another random stream than those to train on.
    """
    for stream, (split, count) in enumerate((("train", train_examples), ("t10k", test_examples))):
        stem = os.path.join(os.fspath(directory), split)
        paths = [f"{stem}-images-idx3-ubyte", f"{stem}-labels-idx1-ubyte"]
        if all(map(os.path.exists, paths)):
            continue
        for path, array in zip(paths, draw(count, seed, stream)):
            if not os.path.exists(path):
                write(path, array)


def draw(count: int, seed: int, stream: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draws `count` digits; the first ones stay the same if `count` grows.

    seed, stream: 0 to 2**32 - 1; every pair of them gives other digits.
    Returns images uint8 [count, 28, 28], 0-255, ink bright; labels uint8 [count], 0-9.
    """
    images = np.empty((count, SIZE, SIZE), np.uint8)
    labels = np.empty(count, np.uint8)
    for start in range(0, count, CHUNK):
        random = np.random.RandomState([seed, stream, start // CHUNK])
        chunk_images, chunk_labels = _draw_chunk(random)
        images[start : start + CHUNK] = chunk_images[: count - start]
        labels[start : start + CHUNK] = chunk_labels[: count - start]
    return images, labels


def _draw_chunk(random: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    def uniform(low: float, high: float, *shape: int) -> np.ndarray:
        # Not random.uniform: its C code may round differently where a machine fuses * and +.
        return low + (high - low) * random.random_sample((CHUNK, *shape))

    digits = np.array([digit for digit, _ in GLYPHS])
    labels = np.floor(uniform(0, 10)).astype(np.int64)
    first, variants = np.searchsorted(digits, labels), np.bincount(digits)[labels]
    glyphs = first + np.floor(uniform(0, 1) * variants).astype(np.int64)

    # The corners around (0, 0), in pixels: a shaky hand, then size, slant, rotation and shift.
    corners = CORNERS[glyphs] - 4.5 + uniform(-0.6, 0.6, *CORNERS.shape[1:])
    x, y = corners[..., 0] * uniform(1.5, 2.3, 1), corners[..., 1] * uniform(1.8, 2.3, 1)
    x = x - y * uniform(-0.2, 0.4, 1)
    turn = uniform(-0.12, 0.12, 1)  # tangent of half the angle: up to 14 degrees either way
    cos, sin = (1 - turn * turn) / (1 + turn * turn), 2 * turn / (1 + turn * turn)
    x, y = x * cos - y * sin, x * sin + y * cos
    x, y = x + uniform(11.8, 15.2, 1), y + uniform(11.8, 15.2, 1)

    distance = _distance_to_strokes(x, y, SEGMENTS[glyphs])
    ink = np.clip(uniform(1.2, 2.2, 1, 1) - distance, 0, 1) * uniform(0.5, 1, 1, 1)
    # A blot of the paper's color or of ink somewhere, then grain everywhere.
    grid = np.arange(SIZE)
    dx, dy = grid - uniform(0, 27, 1, 1), grid[:, np.newaxis] - uniform(0, 27, 1, 1)
    blot = np.clip(uniform(0, 3, 1, 1) - np.sqrt(dx * dx + dy * dy), 0, 1)
    ink = ink + blot * (np.floor(uniform(0, 2, 1, 1)) - ink)
    ink = ink + uniform(0, 0.3, 1, 1) * uniform(-1, 1, SIZE, SIZE)
    return np.floor(np.clip(ink, 0, 1) * 255 + 0.5).astype(np.uint8), labels.astype(np.uint8)


def _distance_to_strokes(x: np.ndarray, y: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """Returns float32 [n, 28, 28]: how far each pixel is from the nearest segment, in pixels.

    x, y: the corners, [n, corners]. segments: [n, segments, 2], the indices of their two ends.
    """
    (ax, ay), (bx, by) = (
        [np.take_along_axis(v, segments[..., end], 1).astype(np.float32)[..., None] for v in (x, y)]
        for end in (0, 1)
    )
    dx, dy = bx - ax, by - ay
    per_square = 1 / np.maximum(dx * dx + dy * dy, np.float32(1e-6))
    grid = np.arange(SIZE, dtype=np.float32)
    nearest = np.full((len(x), SIZE, SIZE), 1e6, np.float32)
    for i in range(segments.shape[1]):
        ux, uy = (grid - ax[:, i])[:, None, :], (grid - ay[:, i])[:, :, None]
        vx, vy = dx[:, i, :, None], dy[:, i, :, None]
        # How far along the segment the closest point lies: 0 at one end, 1 at the other.
        along = ux * (vx * per_square[:, i, :, None]) + uy * (vy * per_square[:, i, :, None])
        along = np.minimum(np.maximum(along, 0), 1)
        ex, ey = ux - along * vx, uy - along * vy
        nearest = np.minimum(nearest, ex * ex + ey * ey)
    return np.sqrt(nearest)


def _tables() -> tuple[np.ndarray, np.ndarray]:
    """Returns GLYPHS as arrays, padded: corners [glyphs, 16, 2], segments [glyphs, 16, 2]."""
    corners = np.zeros((len(GLYPHS), 16, 2))
    segments = np.zeros((len(GLYPHS), 16, 2), np.int64)
    for glyph, (_, strokes) in enumerate(GLYPHS):
        lines = [stroke.split() for stroke in strokes.split("|")]
        points = [[int(number) for number in point] for line in lines for point in line]
        starts = np.cumsum([len(line) for line in lines])
        pairs = [(i - 1, i) for i in range(1, len(points)) if i not in starts]
        corners[glyph, : len(points)] = points
        segments[glyph] = pairs + pairs[-1:] * (16 - len(pairs))  # drawn twice, a line is the same
    return corners, segments


CORNERS, SEGMENTS = _tables()
