import importlib.util
import os
import signal
import sys

if sys.argv[:1] == ["-m"]:  # a command, by `python -m`
    # Ctrl-C ends it at once, also while it loads; a KeyboardInterrupt could get lost in TensorFlow.
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Python imports from the current directory first, which may be somebody else's run.
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if sys.path and os.path.realpath(sys.path[0] or ".") != os.path.realpath(root):
        del sys.path[0]
    del root

# Both before anything imports TensorFlow. 2.16 and later load Keras 3, which has no graph mode and
# takes a second, unless told; without the level, notes on the processor are the first lines.
if importlib.util.find_spec("tf_keras"):
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")  # warnings and errors; "0" shows every note
