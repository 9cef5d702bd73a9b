"""Removes what was not asked for, and nothing else."""

import json
import shutil
from pathlib import Path

PROJECT_SLUG = json.loads(r""" {{ cookiecutter.project_slug | tojson }} """)
LICENSE = json.loads(r""" {{ cookiecutter.license | tojson }} """)
CI = json.loads(r""" {{ cookiecutter.ci | tojson }} """)

CI_FILES = {"github": Path(".github/workflows/ci.yml"), "gitlab": Path(".gitlab-ci.yml")}

unwanted = [file for service, file in CI_FILES.items() if service != CI]
if LICENSE == "none":
    unwanted.append(Path("LICENSE"))

for file in unwanted:
    file.unlink()
    for directory in file.parents[:-1]:  # the last one is the project itself
        if not any(directory.iterdir()):
            directory.rmdir()

# What Python and ruff leave in a working copy of the template is copied like the rest of it. Only
# where the template has files: a project that is baked once more has data sets and runs.
for name in ("__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache"):
    shutil.rmtree(name, ignore_errors=True)
    for part in (PROJECT_SLUG, "scripts", "tests"):
        for cache in list(Path(part).rglob(name)):
            shutil.rmtree(cache, ignore_errors=True)  # one may lie inside another
