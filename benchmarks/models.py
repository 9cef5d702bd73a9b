"""Measures four models of a baked project next to Keras, MonitoredTrainingSession and their limit.

    python benchmarks/models.py                 TensorFlow 2.x, on the GPU if there is one
    python benchmarks/models.py --runtime tf1   TensorFlow 1.15
    python benchmarks/models.py --quick         two models, a few steps: does it work?

For a machine with a GPU; without one the whole takes an hour. Each case runs in a process of its
own, one after the other; docs/benchmark.md says what they are. MNIST is downloaded, or taken from
MNIST_MIRROR.
"""

import argparse
import shutil
import sys
import tempfile

from baked import RUNTIMES, Cases, print_aims

BATCHES = (128, 1024)
STEPS = {"mlp": 2000, "cnn": 500, "lstm": 200, "resnet": 200}  # of a stretch, of 128 images
LIMIT = {"mlp": 0.6, "cnn": 0.8, "lstm": 0.8, "resnet": 0.8}  # the shares to reach on a GPU
THREADS = {"mlp": (1, -1)}  # as the files of the models say; else what TensorFlow chooses


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure models of a baked project.")
    parser.add_argument("--runtime", choices=RUNTIMES, default="tf2")
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it works")
    options = parser.parse_args()
    images, batches = ("Digits", (32,)) if options.quick else ("MNIST", BATCHES)
    table = []
    with tempfile.TemporaryDirectory() as folder:
        cases = Cases("training_cases.py", options.runtime, folder, examples="all")

        def rate(case: str, model: str, batch: int) -> float:
            steps = 2 if options.quick else max(STEPS[model] * BATCHES[0] // batch, 50)
            intra, inter = THREADS.get(model, (0, 0))
            found = cases.run(case, model, steps, images, intra, inter, batch)
            return found["examples_per_sec"]

        cases.run("write", "mlp", 1, images, 0, 0)
        for model in ("lstm", "resnet") if options.quick else STEPS:
            for batch in batches:
                limit, ours, keras, monitored = (
                    rate(case, model, batch) for case in ("limit", "ours", "keras", "monitored")
                )
                name = f"{model}, batches of {batch}: "
                table += [
                    (name + "the compute limit", ours / limit, ">=", LIMIT[model]),
                    (name + "Keras fit", ours / keras, ">=", 1.5),
                    (name + "MonitoredTrainingSession", ours / monitored, ">=", 1.0),
                ]
        if shutil.which("nvidia-smi") or options.quick:  # on a CPU both change nothing
            ours = rate("ours", "resnet", batches[-1])
            for case in ("float16", "xla"):
                faster = rate(case, "resnet", batches[-1]) / ours
                table.append((f"resnet, {case}: without", faster, ">=", 1.0))
    print_aims(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
