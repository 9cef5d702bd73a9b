"""Removes what was not asked for, and nothing else."""

import json
import shutil
from pathlib import Path

PROJECT_SLUG = json.loads(r""" {{ cookiecutter.project_slug | tojson }} """)
LICENSE = json.loads(r""" {{ cookiecutter.license | tojson }} """)
CI = json.loads(r""" {{ cookiecutter.ci | tojson }} """)
EXAMPLES = json.loads(r""" {{ cookiecutter.examples | tojson }} """)
MANY_MACHINES = json.loads(r""" {{ cookiecutter.many_machines | tojson }} """)

CI_FILES = {"github": Path(".github/workflows/ci.yml"), "gitlab": Path(".gitlab-ci.yml")}

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
    .dockerignore deploy/tf1-cpu.Dockerfile deploy/tf1-gpu.Dockerfile deploy/tf2.Dockerfile
    deploy/tfjob.yaml deploy/slurm.sh
"""

unwanted = [file for service, file in CI_FILES.items() if service != CI]
if LICENSE == "none":
    unwanted.append(Path("LICENSE"))
if EXAMPLES == "basic":
    unwanted += map(Path, EXAMPLE_FILES.format(package=PROJECT_SLUG).split())
if MANY_MACHINES == "no":
    unwanted += map(Path, CLUSTER_FILES.format(package=PROJECT_SLUG).split())

for path in unwanted:
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    for directory in path.parents[:-1]:  # the last one is the project itself
        if not any(directory.iterdir()):
            directory.rmdir()

# What Python and ruff leave in a working copy of the template is copied like the rest of it. Only
# where the template has files: a project that is baked once more has data sets and runs.
for name in ("__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache"):
    shutil.rmtree(name, ignore_errors=True)
    for part in (PROJECT_SLUG, "scripts", "tests"):
        for cache in list(Path(part).rglob(name)):
            shutil.rmtree(cache, ignore_errors=True)  # one may lie inside another
