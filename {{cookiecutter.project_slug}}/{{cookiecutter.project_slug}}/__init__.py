import os
import sys

# `python -m` imports from the current directory first, which may be somebody else's run.
if sys.argv[:1] == ["-m"] and sys.path:
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if os.path.realpath(sys.path[0] or ".") != os.path.realpath(root):
        del sys.path[0]
    del root
