"""Removes what was not asked for, and nothing else; notes what the project was made from."""

import json
import re
import shutil
import subprocess
from pathlib import Path

PROJECT_SLUG = json.loads(r""" {{ cookiecutter.project_slug | tojson }} """)
LICENSE = json.loads(r""" {{ cookiecutter.license | tojson }} """)
CI = json.loads(r""" {{ cookiecutter.ci | tojson }} """)
EXAMPLES = json.loads(r""" {{ cookiecutter.examples | tojson }} """)
MANY_MACHINES = json.loads(r""" {{ cookiecutter.many_machines | tojson }} """)
CONTEXT = json.loads(r""" {{ cookiecutter | tojson }} """)

CI_FILES = {
    ".github/workflows/ci.yml": "github",
    ".github/workflows/update.yml": "github",
    ".gitlab-ci.yml": "gitlab",
}

# What only `all` has: a module and its settings. No other file names or imports it.
EXAMPLE_FILES = """
    {package}/data/arrays.py {package}/conf/data/arrays.yaml
    {package}/data/augment.py {package}/conf/data/augmented.yaml
    {package}/data/generator.py {package}/conf/data/generator.yaml
    {package}/data/sequences.py {package}/conf/data/sequences.yaml
    {package}/data/sql.py {package}/conf/data/sql.yaml
    {package}/data/tables.py {package}/conf/data/tables.yaml
    {package}/model/dcgan.py {package}/model/spectral_norm.py
    {package}/model/gan.py {package}/conf/model/gan.yaml
    {package}/model/resnet.py {package}/conf/model/resnet.yaml
    {package}/model/rnn.py {package}/conf/model/rnn.yaml
"""

# What only many_machines=yes has; engine/cluster is a directory.
CLUSTER_FILES = """
    {package}/launch.py {package}/conf/trainer/cluster.yaml {package}/engine/cluster
    docs/many_machines.md
    .dockerignore deploy/tf1-cpu.Dockerfile deploy/tf1-gpu.Dockerfile
    deploy/tf1-nvidia.Dockerfile deploy/tf2.Dockerfile deploy/tfjob.yaml deploy/slurm.sh
"""

unwanted = [Path(file) for file, service in CI_FILES.items() if service != CI]
if LICENSE == "none":
    unwanted.append(Path("LICENSE"))
if EXAMPLES == "basic":
    unwanted += map(Path, EXAMPLE_FILES.format(package=PROJECT_SLUG).split())
if MANY_MACHINES == "no":
    unwanted += map(Path, CLUSTER_FILES.format(package=PROJECT_SLUG).split())

# What was there, in a project that is baked once more; the other hook has copied it.
BEFORE = Path(".before_bake")


def is_untouched(file: Path) -> bool:
    """Whether the bake found the file there and left it as it was."""
    old = BEFORE / file
    return old.exists() and old.stat().st_mtime_ns == file.stat().st_mtime_ns


def is_users(file: Path) -> bool:
    """Whether the file was there and is not what the template has under this name."""
    return (BEFORE / file).exists() and (BEFORE / file).read_bytes() != file.read_bytes()


# cookiecutter --skip-if-file-exists skips what is rendered, and writes over what is copied.
skipping = is_untouched(Path("pyproject.toml"))
for file in [one.relative_to(BEFORE) for one in BEFORE.rglob("*") if one.is_file()]:
    if skipping and is_users(file):
        shutil.copy2(BEFORE / file, file)

for path in unwanted:
    for file in [one for one in (path, *path.rglob("*")) if one.is_file()]:
        if is_users(file):
            shutil.copy2(BEFORE / file, file)
        if is_untouched(file):
            continue
        file.unlink()
        for directory in file.parents[:-1]:  # the last one is the project itself
            if not any(directory.iterdir()):
                directory.rmdir()
shutil.rmtree(BEFORE, ignore_errors=True)

# What Python and ruff leave in a working copy of the template is copied like the rest of it. Only
# where the template has files: a project that is baked once more has data sets and runs.
for name in ("__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache"):
    shutil.rmtree(name, ignore_errors=True)
    for part in (PROJECT_SLUG, "scripts", "tests"):
        for cache in list(Path(part).rglob(name)):
            shutil.rmtree(cache, ignore_errors=True)  # one may lie inside another


def find_origin(folder: Path) -> "tuple[str, str]":
    """The address and the commit of the template, from which cruft updates the project."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", folder, *words], capture_output=True, encoding="utf-8")
        return done.stdout.strip()

    version = f"v{CONTEXT['_template_version']}"
    # Without: unpacked from a zip. A folder above may be another repository.
    if not (folder / ".git").exists() or not shutil.which("git"):
        return CONTEXT["_template"], version
    commit = git("rev-parse", "--verify", "--quiet", "HEAD") or version
    address = git("remote", "get-url", "origin") or str(folder)
    # Without a password: the file is committed.
    return re.sub("^(https?://)[^/]*@", r"\1", address), commit


def escape(answer: str) -> str:
    """The answer as text, for cruft renders it: a name may hold two braces."""
    return re.sub(r"\{[\{\%\#]", lambda found: f"{'{' * 2} '{found[0]}' {'}' * 2}", answer)


# cruft writes the file itself, and gives no _repo_dir. One that is there names what files came from
# that this bake may have skipped.
if "_repo_dir" in CONTEXT and not Path(".cruft.json").exists():
    # A relative path was typed where the project was to lie, but for --output-dir.
    address, commit = find_origin(Path(CONTEXT["_output_dir"], CONTEXT["_repo_dir"]).resolve())
    answers = {"_template_version": CONTEXT["_template_version"]}
    for prompt in CONTEXT:
        if not prompt.startswith("_"):
            answers[prompt] = escape(CONTEXT[prompt])
    state = {"template": address, "commit": commit, "checkout": None, "directory": None}
    state["context"] = {"cookiecutter": answers}
    Path(".cruft.json").write_text(
        json.dumps(state, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
