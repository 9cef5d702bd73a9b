"""Take up a newer version of the template: merge what changed in it since this project was made.

    python scripts/update.py [v0.2.0]        by default the newest version

cruft bakes two projects, of the version that .cruft.json names and of the new one, and git merges
their difference. Nothing is committed. Needs git, all work committed, and a Python >= 3.10.
Exit codes: 0 merged or nothing to do, 1 it failed, 2 bad input, 3 it left conflicts, 130 Ctrl-C.
"""

import argparse
import importlib.util
import json
import os
import re
import sys
import tempfile
from typing import Optional, Tuple

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from environment import Stop, interpreter, make_venv, must, pip_install, run, say  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CRUFT = "cruft[pyproject]==2.16.0"
GIT = ["git", "-c", "core.quotepath=off"]  # names are printed as they are


def version(tag: str) -> Tuple[int, ...]:
    """`v0.10.0` is (0, 10, 0); what is no version comes before all that are."""
    found = re.fullmatch(r"v(\d+)\.(\d+)\.(\d+)", tag)
    return tuple(map(int, found.groups())) if found else ()


def read_state() -> dict:
    """What .cruft.json says: the template's address, the commit that is merged, the answers."""
    try:
        with open(".cruft.json", encoding="utf-8") as file:
            state = json.load(file)
        _ = state["template"], state["commit"], state["context"]["cookiecutter"].items()
        return state
    except FileNotFoundError:
        problem = "is missing: docs/your_own.md, News from the template, says how to get one"
    except ValueError as error:
        problem = f"is no JSON ({error}): take it from an older commit"
    except (KeyError, TypeError, AttributeError):
        problem = "lacks template, commit or context.cookiecutter: take it from an older commit"
    raise Stop(2, f".cruft.json {problem}")


def check_python() -> None:
    """Refuse a Python that cruft cannot have."""
    if sys.version_info < (3, 10):
        found = ".".join(map(str, sys.version_info[:2]))
        fix = "type it with a newer one: python3.12 scripts/update.py"
        raise Stop(2, f"this is Python {found}, and cruft needs >= 3.10; {fix}")


def check_work() -> None:
    """Refuse to merge into what git could not give back."""
    code, shown = run([*GIT, "status", "--porcelain"])
    if code:
        fix = "git init, git add -A, git commit; then again"
        fix = f": {fix}" if "not a git repository" in shown else ""
        raise Stop(2, f"git status failed ({one_line(shown)}){fix}")
    if shown.strip():
        found = shown.splitlines()[0][3:]
        raise Stop(2, f"{found} is not committed; commit or stash all work, then again")
    if run(["git", "rev-parse", "--is-shallow-repository"])[1].strip() == "true":
        raise Stop(2, "this clone is shallow: run git fetch --unshallow, then again")


def check_answers(answers: dict) -> None:
    """Refuse answers that cruft, when it made .cruft.json itself, has not escaped."""
    for key in sorted(key for key in answers if not key.startswith("_")):
        found = re.search(r"\{[\{\%\#]", re.sub("[{]{2} '[{].' [}]{2}", "", str(answers[key])))
        if found:
            fix = f"write {escape(found[0])} for it, commit, then again"
            raise Stop(2, f"{key} in .cruft.json holds {found[0]}, which cruft would run; {fix}")


def one_line(shown: str) -> str:
    """What git printed, which may say in its last lines what to do."""
    return " ".join(shown.split())


def choose(template: str, wanted: Optional[str]) -> str:
    """The tag of the version to take, in a clone of the template; "" if there is none yet."""
    tags = must(["git", "-C", template, "tag", "--list", "v*"], "git tag").split()
    tags = sorted(filter(version, tags), key=version)
    newest = tags[-1] if tags else ""
    if wanted and wanted not in tags:
        raise Stop(2, f"the template has no version {wanted}; the newest is {newest or 'none'}")
    return wanted or newest


def what_to_do(template: str, old: str, new: str) -> str:
    """What the template's changelog asks of an updater, of all versions after `old`."""
    changelog = run(["git", "-C", template, "show", f"{new}:CHANGELOG.md"])[1]
    asked = []
    for section in re.split(r"^## ", changelog, flags=re.M)[1:]:
        name = "v" + section.split()[0]
        steps = re.search(r"^### What an updater must do\n(.*?)(?=^#|\Z)", section, re.M | re.S)
        if steps and version(old) < version(name) <= version(new):
            asked.append(f"What {name} asks of you:\n{steps.group(1).strip()}\n")
    return "\n".join(asked)


def is_installed() -> bool:
    """Whether this Python has the very cruft that is tested, and what it reads TOML with."""
    from importlib import metadata  # Python >= 3.8

    try:
        same = CRUFT.endswith(f"=={metadata.version('cruft')}")
    except metadata.PackageNotFoundError:
        return False
    return same and (sys.version_info >= (3, 11) or bool(importlib.util.find_spec("toml")))


def cruft(template: str, tag: str, scratch: str) -> None:
    """Run cruft, from this Python's packages or from an environment of its own."""
    python = sys.executable
    if not is_installed():
        say(f"installing {CRUFT} for this once")
        make_venv([python], os.path.join(scratch, "venv"))
        python = interpreter(os.path.join(scratch, "venv"))
        pip_install(os.path.join(scratch, "venv"), [CRUFT])
    command = [python, "-m", "cruft", "update", "-y", "--not-strict", "--checkout", tag]
    code, shown = run([*command, "--template-path", template])
    if code:
        say(shown)  # all of it: cruft draws boxes of several lines
        raise Stop(1, f"cruft failed, as printed above, to merge {tag}; git reset --hard undoes it")
    state = read_state()
    for key, answer in state["context"]["cookiecutter"].items():
        if isinstance(answer, str) and not key.startswith("_"):
            state["context"]["cookiecutter"][key] = escape(answer)
    with open(".cruft.json", "w", encoding="utf-8") as file:
        file.write(json.dumps(state, indent=2, ensure_ascii=False) + "\n")


def escape(answer: str) -> str:
    """The answer as text, for cruft renders it: a name may hold two braces."""
    return re.sub(r"\{[\{\%\#]", lambda found: f"{'{' * 2} '{found[0]}' {'}' * 2}", answer)


def update(wanted: Optional[str]) -> int:
    check_python()
    state = read_state()
    check_answers(state["context"]["cookiecutter"])
    check_work()
    address, commit = state["template"], state["commit"]
    with tempfile.TemporaryDirectory() as scratch:
        template = os.path.join(scratch, "template")
        clone = ["git", "clone", "--quiet", "--no-checkout", "--", address, template]
        code, shown = run(clone)
        if code:
            found = f"{address} in .cruft.json cannot be cloned ({one_line(shown)})"
            raise Stop(1, f"{found}: check the connection, or write the template's address there")
        tag = choose(template, wanted)
        if run(["git", "-C", template, "cat-file", "-e", f"{commit}^0"])[0]:
            raise Stop(2, f"{commit} in .cruft.json is no commit of {address}; write v<version>")
        known = ["git", "-C", template, "merge-base", "--is-ancestor", tag, commit]
        if not tag or not run(known)[0]:
            found = f"{tag} is merged already" if tag else "there is no version yet"
            print(f"nothing to do: {found}, of {address}")
            return 0
        old = "v" + state["context"]["cookiecutter"].get("_template_version", "0.0.0")
        cruft(template, tag, scratch)
        print(f"merged {tag} of {address}; nothing is committed yet\n")
        print(what_to_do(template, old, tag))
    conflicts = run([*GIT, "diff", "--name-only", "--diff-filter=U", "--relative"])[1].split("\n")
    conflicts += run([*GIT, "ls-files", "--others", "--", "*.rej"])[1].split("\n")
    conflicts = sorted(filter(None, conflicts))
    if conflicts:
        print("in conflict, each to be resolved:\n  " + "\n  ".join(conflicts))
    else:
        print("no conflicts. Next: make test, then git add -A and git commit")
    return 3 if conflicts else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Merge a newer version of the template.")
    parser.add_argument("version", nargs="?", help="v0.2.0, for instance (default: the newest)")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    try:
        sys.exit(update(arguments.version))
    except Stop as stop:
        say(f"update.py: {stop.args[1]}")
        sys.exit(stop.args[0])
    except KeyboardInterrupt:
        sys.exit(130)
