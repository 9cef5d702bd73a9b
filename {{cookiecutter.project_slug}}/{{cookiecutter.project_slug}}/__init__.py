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
