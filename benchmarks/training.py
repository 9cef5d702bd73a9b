"""Measures training in a baked project, next to Keras, Estimator, tensorpack and a script of 2018.

    python benchmarks/training.py                   TensorFlow 1.15, some fifteen minutes
    python benchmarks/training.py --runtime tf2     TensorFlow 2.x, without those it no longer has
    python benchmarks/training.py --quick           short runs on drawn digits: does it work?

Each case runs in a process of its own, one after the other; docs/benchmark.md says what they are.
MNIST is downloaded, or taken from MNIST_MIRROR.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

from baked import RUNTIMES, Cases, print_aims

# (in an operation, operations at a time): what TensorFlow chooses, and what the models' files say.
LEFT = (0, 0)
THREADS = {"mlp": (1, -1), "cnn": LEFT}

TENSORPACK = ["tensorpack==0.11", "msgpack==1.0.5", "msgpack-numpy==0.4.8", "tabulate==0.9.0"]
TENSORPACK += ["pyzmq==26.2.1"]


def install(python: str, folder: str) -> str:
    """Packages that only the peers need, in a folder of their own; returns it."""
    command = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*command, "--target", folder, *TENSORPACK], check=True)
    return folder


def secs_to(project: str, command: list[str], text: str) -> float:
    """From the start of a process to its first line that holds a text."""
    start = time.perf_counter()
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=project, **pipe) as process:
        for line in process.stdout:
            if text in line:
                found = time.perf_counter() - start
                process.kill()
                return found
    sys.exit(f"error: {' '.join(command)} never printed {text}")


def start(cases: Cases, images: str, runs: int) -> dict[str, float]:
    """Seconds from a process's start to the import of TensorFlow, and to the first step."""
    python = [str(cases.python), "-u"]
    imported = [*python, "-c", "import tensorflow.compat.v1; print('imported')"]
    trained = [*python, "-m", "my_project.train", f"data={images.lower()}"]
    found = {"imported": [], "first_step": []}
    for _ in range(runs):
        found["imported"].append(secs_to(cases.project, imported, "imported"))
        found["first_step"].append(secs_to(cases.project, trained, "step 1 "))
    figures = {name: statistics.median(secs) for name, secs in found.items()}
    print(f"start: {figures}", flush=True)
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure training in a baked project.")
    parser.add_argument("--runtime", choices=RUNTIMES, default="tf1")
    parser.add_argument("--quick", action="store_true", help="short runs, to see that it works")
    options = parser.parse_args()
    images = "Digits" if options.quick else "MNIST"
    tf1 = options.runtime == "tf1"
    with tempfile.TemporaryDirectory() as folder:
        cases = Cases("training_cases.py", options.runtime, folder)
        if tf1:
            cases.path += os.pathsep + install(str(cases.python), os.path.join(folder, "peers"))

        def run(case: str, model: str = "mlp", steps: int = 2000, threads=None):
            intra, inter = threads or THREADS[model]
            steps = max(steps // 100, 20) if options.quick else steps
            return cases.run(case, model, steps, images, intra, inter)

        def in_turns(*measured: tuple) -> list[float]:
            """The faster of two runs of each (arguments of `run`): a machine's speed drifts."""
            rounds = range(1 if options.quick else 2)
            rates = [[run(*each)["examples_per_sec"] for each in measured] for _ in rounds]
            return [max(of_case) for of_case in zip(*rates, strict=True)]

        run("write")
        print(f"{RUNTIMES[options.runtime]}, {os.cpu_count()} cores, batches of 128", flush=True)
        measured = [("limit",), ("ours",), ("keras",), ("plain",), ("script", "mlp", 200, LEFT)]
        if tf1:
            measured.append(("estimator", "mlp", 2000, LEFT))
            measured += [("tensorpack", "mlp", 2000, LEFT), ("tensorpack",)]
        limit, ours, keras, plain, script, *others = in_turns(*measured)
        run("evaluating")
        shares = run("share")
        print(f"ours : the limit, each in a process of its own: {ours / limit:.2f}", flush=True)
        table = [
            ("MLP: the compute limit, inside the loop", shares["in_loop"], ">=", 0.85),
            ("MLP: the compute limit", shares["whole"], ">=", 0.8),
            ("MLP: Keras fit", ours / keras, ">=", 1.8),
            ("MLP, plain loop: Keras fit", plain / keras, ">=", 1.0),
            ("MLP: script of 2018", ours / script, ">=", 20),
        ]
        if tf1:
            estimator, tensorpack, same_threads = others
            table += [
                ("MLP: Estimator", ours / estimator, ">=", 1.0),
                ("MLP: tensorpack", ours / tensorpack, ">=", 1.2),
                ("MLP: tensorpack with the same threads", ours / same_threads, ">=", 1.2),
            ]
        ours, keras = in_turns(*((name, "cnn", 200) for name in ("ours", "keras")))
        table += [
            ("CNN: the compute limit", run("share", "cnn", 200)["whole"], ">=", 0.95),
            ("CNN: Keras fit", ours / keras, ">=", 1.0),
            ("checks, clipping, norms: MLP, %", run("guards")["percent"], "<=", 10),
            ("checks, clipping, norms: CNN, %", run("guards", "cnn", 100)["percent"], "<=", 2),
        ]
        run("hooks", steps=1000)
        secs = start(cases, images, 1 if options.quick else 5)
        after_import = secs["first_step"] - secs["imported"]
        table.append(("start to first step, s beyond import tensorflow", after_import, "<=", 1.5))
        growth = run("memory", steps=17_000)["growth_mib"]
        table.append(("growth after 20 of 100 evaluations, MiB", growth, "<=", 20))
    print_aims(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
