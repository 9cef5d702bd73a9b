"""Processes that are forked from one that has imported TensorFlow, which takes some seconds."""

import atexit
import multiprocessing
import os
import runpy
import signal
import sys

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["pytest", "my_project.train.trainer"])


class Forked(CONTEXT.Process):
    """`python -m <module> <words>`, first of a session of its own; used as a subprocess.Popen.

    Args:
        module: to run.
        words: its arguments.
        output: the file, or the terminal, that it prints to.
    """

    def __init__(self, module, words, output):
        super().__init__(target=_run, args=(module, words, output, dict(os.environ), sys.path))
        self.words = words
        self.start()

    def wait(self):
        """The exit code, or less than 0: the signal that ended it."""
        self.join()
        return self.exitcode

    def poll(self):
        return self.exitcode

    def send_signal(self, number):
        os.kill(self.pid, number)


def _run(module, words, output, environment, path):
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # as the package has done in the first of them
    printed = os.open(output, os.O_RDWR | os.O_CREAT | os.O_TRUNC)  # a terminal becomes its own
    for number in (1, 2):
        os.dup2(printed, number)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:] = [*filter(None, environment.get("PYTHONPATH", "").split(os.pathsep)), *path]
    sys.argv[1:] = words
    code = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as stop:
        code = stop.code or 0
    atexit._run_exitfuncs()  # which multiprocessing leaves out
    sys.exit(code)
