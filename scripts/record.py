"""Records what a command shows in a terminal as an SVG, which docs/demo.svg is.

    python scripts/record.py docs/demo.svg make demo

The command runs in a terminal of 110 columns, and what it prints is shown here, too. Of a line
that was drawn several times (a progress bar) the last drawing is kept. The text is changed in two
places: this repository's path becomes ~/tf-train-template, and of more than 36 lines those in the
middle become one that counts them. The picture names no font on somebody's server. Exits as the
command does; the file is written only if that is 0.
"""

import contextlib
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
COLUMNS, LINES = 110, 36


def run(command: list[str]) -> tuple[int, str]:
    """Runs a command in a terminal of its own; returns its exit code and what it printed."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    process = subprocess.Popen(command, env=environment, start_new_session=True, **streams)
    os.close(theirs)
    printed = b""
    with contextlib.suppress(OSError):  # Linux's way to say that the command's end is closed
        while chunk := os.read(ours, 65536):
            os.write(sys.stdout.fileno(), chunk)
            printed += chunk
    os.close(ours)
    return process.wait(), printed.decode("utf-8", "replace")


def screen(printed: str) -> Text:
    """What stays of it on the screen, in its colors."""
    lines = []
    for line in printed.replace(str(ROOT), "~/tf-train-template").replace("\r\n", "\n").split("\n"):
        drawn = [Text.from_ansi(part) for part in re.split(r"\r|\x1b\[A", line)]
        lines.append(next((text for text in reversed(drawn) if text.plain.strip()), Text()))
    if len(lines) > LINES:
        first, last = lines[: LINES // 2], lines[-(LINES // 2 - 1) :]
        left_out = len(lines) - len(first) - len(last)
        lines = [*first, Text(f"… {left_out} lines …", style="dim"), *last]
    return Text("\n").join(lines)


def draw(command: list[str], printed: str) -> str:
    """The SVG of a terminal with the command and what it printed."""
    console = Console(width=COLUMNS, record=True, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ {' '.join(command)}", style="bold"))
    console.print(screen(printed.rstrip()))
    svg = console.export_svg(title="tf-train-template", unique_id="terminal")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.S)
    return re.sub(r"[ \t]+$", "", svg, flags=re.M).rstrip() + "\n"


def main(arguments: list[str]) -> int:
    if len(arguments) < 2:
        print("error: name a file and a command: record.py docs/demo.svg make demo")
        return 2
    file, *command = arguments
    code, printed = run(command)
    if code:
        print(f"error: {' '.join(command)} exited with {code}: {file} is as it was")
        return code
    Path(file).write_text(draw(command, printed), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
