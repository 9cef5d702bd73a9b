"""Measures the data half of a baked project next to the ways that tutorials show.

    python benchmarks/data.py                   TensorFlow 1.15, some ten minutes
    python benchmarks/data.py --runtime tf2     TensorFlow 2.x
    python benchmarks/data.py --quick           small numbers and drawn digits: does it work?

Each case runs in a process of its own, one after the other; docs/benchmark.md says what they are.
MNIST is downloaded, or taken from MNIST_MIRROR.
"""

import argparse
import os
import sys
import tempfile

from baked import RUNTIMES, Cases, print_aims

RECORDS = (10_000, 100_000, 1_000_000, 10_000_000)
PHOTOS = 3_000
SIZES = (64, 180)  # that photos are resized to: that of conf/data/images.yaml, and a tutorial's


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the data half of a baked project.")
    parser.add_argument("--runtime", choices=RUNTIMES, default="tf1")
    parser.add_argument("--quick", action="store_true", help="small numbers, to see that it works")
    options = parser.parse_args()
    records, sizes = (RECORDS[:2], SIZES[:1]) if options.quick else (RECORDS, SIZES)
    with tempfile.TemporaryDirectory() as folder:
        images, seconds = ("Digits", 0.2) if options.quick else ("MNIST", 3.0)
        cases = Cases("data_cases.py", options.runtime, folder)

        def run(case: str, number: int = 0) -> dict[str, float]:
            return cases.run(case, number, seconds, images)

        for number in (0, *records):  # 0: the images
            run("write", number)
        print(f"{RUNTIMES[options.runtime]}, {os.cpu_count()} cores, batches of 128", flush=True)
        memory, py_func = run("memory"), run("py_func")
        streaming, autotune = run("streaming"), run("autotune")
        held = [run("small_in_memory", number) for number in records]
        streamed = [run("small_streaming", number) for number in records]
        run("write_photos", 500 if options.quick else PHOTOS)
        ways = ("streaming", "keras", "guide", "memory", "cached")
        photos = {(way, size): run(f"photos_{way}", size) for size in sizes for way in ways}

    def costs(figures: list[dict[str, float]]) -> float:
        """The dearest example of all, in examples of the cheapest."""
        rates = [one["examples_per_sec"] for one in figures]
        return max(rates) / min(rates)

    rate = "examples_per_sec"
    table = [
        ("in memory, images/s", memory[rate], ">=", 800_000),
        ("in memory : py_func for each example", memory[rate] / py_func[rate], ">=", 25),
        ("streaming TFRecord, images/s", streaming[rate], ">=", 200_000),
        ("streaming : map for each example", streaming[rate] / autotune[rate], ">=", 5),
        ("in memory, MiB over raw records", memory["mib"] - memory["raw_mib"], "<=", 100),
        (f"streaming {records[-1]:,} records, MiB", streamed[-1]["mib"], "<=", 300),
        ("in memory, first batch, s", memory["first_batch_secs"], "<=", 0.5),
        ("streaming, first batch, s", streaming["first_batch_secs"], "<=", 1),
        (f"in memory, dearest : cheapest of {len(records)} sizes", costs(held), "<=", 1.5),
        (f"streaming, dearest : cheapest of {len(records)} sizes", costs(streamed), "<=", 1.5),
    ]
    for size in sizes:
        found = {way: photos[way, size][rate] for way in ways}
        name = f"JPEG to {size} × {size}, "
        table += [
            (name + "streaming : Keras", found["streaming"] / found["keras"], ">=", 1.2),
            (name + "streaming : map", found["streaming"] / found["guide"], ">=", 1.2),
            (name + "in memory : Keras", found["memory"] / found["keras"], ">=", 1.2),
            (name + "in memory : map", found["memory"] / found["guide"], ">=", 1.2),
            (name + "in memory : map, cache", found["memory"] / found["cached"], ">=", 1.2),
        ]
    print_aims(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
