"""Removes what was not asked for, and nothing else."""

import json
import shutil
from pathlib import Path

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

# What Python and ruff leave in a working copy of the template is copied like the rest of it.
for cache in [*Path().glob("**/__pycache__"), *Path().glob("**/.*_cache")]:
    if cache.parts[0] != ".venv":  # that of a project that is baked once more
        shutil.rmtree(cache, ignore_errors=True)  # one may lie inside another
