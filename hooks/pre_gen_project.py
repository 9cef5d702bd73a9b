"""Refuses answers that would make a broken project, before any file of it is written.

Answers are data, never code: each arrives as JSON inside a raw string. JSON escapes every quote,
so no answer can end that string; the spaces keep the JSON's own quotes apart from Python's.
"""

import json
import keyword
import os
import re
import shutil
import sys
import unicodedata
from pathlib import Path

if sys.version_info < (3, 10):  # noqa: UP036 - cookiecutter itself runs on older ones
    sys.exit(
        f"error: cookiecutter runs on Python {sys.version_info[0]}.{sys.version_info[1]}; this "
        "template needs >= 3.10, for instance: pipx install --python python3.12 cookiecutter"
    )

PROJECT_NAME = json.loads(r""" {{ cookiecutter.project_name | tojson }} """)
PROJECT_SLUG = json.loads(r""" {{ cookiecutter.project_slug | tojson }} """)
AUTHOR_NAME = json.loads(r""" {{ cookiecutter.author_name | tojson }} """)

MAX_SLUG_LENGTH = 40  # the emitted import lines must fit 100 columns with any slug

MAX_TEXT_LENGTH = 100  # a name stands in one line of a heading

# Marks that reverse the order in which text is shown: it would not be the text that was typed.
BIDI_CONTROLS = {0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}

# Standard-library modules of Python 3.7 to 3.14 that the Python running this hook may not have.
OTHER_STDLIB_MODULES = """
    aifc annotationlib asynchat asyncore audioop binhex cgi cgitb chunk compression crypt distutils
    dummy_threading formatter imghdr imp lib2to3 macpath mailcap msilib nis nntplib ossaudiodev
    parser pipes smtpd sndhdr spwd sunau symbol telnetlib test tomllib uu xdrlib xxlimited xxsubtype
"""

# Modules, packages and commands that requirements/ installs; tests/test_names.py compares.
INSTALLED_NAMES = """
    absl absl_py activate alembic annotated_doc annotated_types antlr4 antlr4_python3_runtime anyio
    astor astunparse cachetools certifi cffi charset_normalizer clang click cloudpickle colorama
    colorlog contourpy cryptography cycler databricks databricks_cli databricks_sdk dateutil dbfs
    docker_pycreds dockerpycreds dotenv entrypoints estimator_ckpt_converter exceptiongroup f2py
    f2py3 fastapi filelock flatbuffers fonttools freeze_graph gast git gitdb gitpython google
    google_auth google_pasta googleapis_common_protos greenlet grpc grpcio h11 h5py hydra hydra_core
    hydra_plugins idna importlib_metadata importlib_resources iniconfig jwt keras keras_applications
    keras_preprocessing kiwisolver libclang mako markdown markdown_it markdown_it_py markdown_py
    markupsafe matplotlib mdurl ml_dtypes mlflow mlflow_skinny mlp mpl_toolkits namex normalizer
    numpy nvidia nvidia_cublas_cu12 nvidia_cuda_cupti_cu12 nvidia_cuda_nvcc_cu12
    nvidia_cuda_nvrtc_cu12 nvidia_cuda_runtime_cu12 nvidia_cudnn_cu12 nvidia_cufft_cu12
    nvidia_curand_cu12 nvidia_cusolver_cu12 nvidia_cusparse_cu12 nvidia_nccl_cu12
    nvidia_nvjitlink_cu12 oauthlib omegaconf opentelemetry opentelemetry_api
    opentelemetry_exporter_http_transport opentelemetry_exporter_otlp_common
    opentelemetry_exporter_otlp_proto_common opentelemetry_exporter_otlp_proto_http
    opentelemetry_proto opentelemetry_sdk opentelemetry_semantic_conventions opt_einsum optree
    optuna packaging pasta pillow pip pip3 pkg_resources platformdirs pluggy protobuf psutil py
    pyasn1 pyasn1_modules pycparser pydantic pydantic_core pydevd_plugins pyftmerge pyftsubset
    pygmentize pygments pygrun pyjwt pylab pylint_plugins pyparsing pytest python python3
    python_dateutil python_dotenv pytz pyyaml requests rich saved_model_cli sentry_sdk setproctitle
    setuptools six smmap sqlalchemy sqlformat sqlparse starlette submitit tabulate tensorboard
    tensorboard_data_server tensorflow tensorflow_core tensorflow_estimator termcolor tf_keras
    tf_upgrade_v2 tflite_convert toco toco_from_protos tomli tqdm ttx typing_extensions
    typing_inspection tzdata urllib3 uvicorn wandb wb werkzeug wheel wrapt xxhash yaml zipp
"""

# Directories next to the package in the emitted project; build and dist are made by packaging it.
TAKEN_DIRECTORIES = "build datasets deploy dist docs engine_tests requirements runs scripts tests"

# What the template has in the project's root, but for the package; tests/test_names.py compares.
TEMPLATE_NAMES = """
    .dockerignore .editorconfig .gitattributes .github .gitignore .gitlab-ci.yml
    .pre-commit-config.yaml AGENTS.md CITATION.cff LICENSE Makefile README.md deploy docs
    look_at_a_run.ipynb pyproject.toml requirements scripts tests
"""

# Names by which pytest, Hydra and Windows know something else.
TAKEN_NAMES = re.compile("conftest|test_.*|hydra_plugins|con|prn|aux|nul|(com|lpt)[0-9]")


def find_text_error(prompt: str, text: str) -> "str | None":
    """Says why an answer is not one line of plain text; None if it is."""
    if not text.strip():
        return f"{prompt} is empty; type a name"
    if len(text) > MAX_TEXT_LENGTH:
        return f"{prompt} has {len(text)} letters; use at most {MAX_TEXT_LENGTH}"
    for character in text:
        # Control characters, lone surrogates and line separators break TOML, YAML or UTF-8.
        broken = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        if broken or ord(character) in BIDI_CONTROLS:
            return f"{prompt} {text!a} holds {character!a}; type one line of plain text"
    return None


def find_slug_error(slug: str) -> "str | None":
    """Says why a slug cannot name the project's directory and package; None if it can."""
    if not re.fullmatch("[a-z]([a-z0-9_]*[a-z0-9])?", slug):
        return (
            f"project_slug {slug!a} cannot name a package; use lower-case letters a-z, digits and "
            "underscores between them, beginning with a letter, for instance my_project"
        )
    if len(slug) > MAX_SLUG_LENGTH:
        return f"project_slug {slug!a} has {len(slug)} letters; use at most {MAX_SLUG_LENGTH}"
    other = f"choose another name, for instance {slug.removeprefix('test_') or 'my'}_project"
    if keyword.iskeyword(slug):
        return f"project_slug {slug!a} is a Python keyword; {other}"
    if slug in {
        *sys.stdlib_module_names,
        *OTHER_STDLIB_MODULES.split(),
        *INSTALLED_NAMES.split(),
    }:
        return f"project_slug {slug!a} would shadow {slug} of Python or of a library; {other}"
    if slug in TAKEN_DIRECTORIES.split():
        return f"project_slug {slug!a} is a directory of the emitted project already; {other}"
    if TAKEN_NAMES.fullmatch(slug):
        return f"project_slug {slug!a} means something else to pytest, Hydra or Windows; {other}"
    return None


def remove_made_parents(slug: str) -> None:
    """Removes the directories made for a slug such as a/b; cookiecutter itself removes only b."""
    directory = Path.cwd()
    os.chdir(directory.anchor)  # Windows does not remove a directory that a process works in
    for _ in Path(slug).parts:
        try:
            directory.rmdir()
        except OSError:  # not empty: it was there before
            return
        directory = directory.parent


error = (
    find_text_error("project_name", PROJECT_NAME)
    or find_slug_error(PROJECT_SLUG)
    or find_text_error("author_name", AUTHOR_NAME)
)
if error:
    if len(Path(PROJECT_SLUG).parts) > 1:
        remove_made_parents(PROJECT_SLUG)
    sys.exit(f"error: {error}")

# A project that is baked once more: the other hook gives back what is its user's.
before = Path(".before_bake")
shutil.rmtree(before, ignore_errors=True)  # of a bake that was killed
for path in map(Path, [PROJECT_SLUG, *TEMPLATE_NAMES.split()]):
    if path.is_file():
        before.mkdir(exist_ok=True)
        shutil.copy2(path, before)
    elif path.is_dir():
        shutil.copytree(path, before / path.name, symlinks=True)
