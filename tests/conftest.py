"""Bakes projects, and gives tests a Python with TensorFlow to run them with."""

import functools
import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from pytest_cookies.plugin import Result

from environments import ROOT, RUNTIMES, Unavailable, make_environment

# A background job has it ignored, which the processes that tests interrupt would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

PROMPTS = {key for key in json.loads((ROOT / "cookiecutter.json").read_text()) if key[0] != "_"}

# Set by the process that starts the tests, unless it is set, for itself and for the workers of
# pytest-xdist: {"tf1": {"python": path} or {"missing": reason}, "tf2": …}
ENVIRONMENTS = "TF_TRAIN_TEMPLATE_ENVIRONMENTS"

# As requirements-dev.in says: elsewhere they would be built from what is on no package registry.
ARM_LINUX = sys.platform == "linux" and platform.machine() != "x86_64"

LIMIT_SECS = 1800  # of a command in a bake; what takes longer hangs

# git as on a machine where nobody has set anything: no hooks, no signatures, an author.
GIT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    **{f"GIT_{who}_NAME": "Ada" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_EMAIL": "ada@example.org" for who in ("AUTHOR", "COMMITTER")},
}


def git(folder: Path, *words: str) -> str:
    """Runs git in a folder and returns what it prints."""
    command = ["git", "-C", folder, *words]
    return subprocess.check_output(command, encoding="utf-8", env={**os.environ, **GIT})


def commit(folder: Path, tag: str = "") -> None:
    """Commits all that is in a repository."""
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "a commit")
    if tag:
        git(folder, "tag", tag)


@dataclass(frozen=True)
class BakedProject:
    """A project that a bake has made."""

    path: Path

    def run(self, *command: object, code: int = 0, **environment: str) -> str:
        """Runs a command in the project; fails with its output unless it exits with `code`."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MAKE", "MFLAGS", "PYTEST_", "PYTHON", "VIRTUAL_ENV"))
        }
        words = [str(word) for word in command]
        process = subprocess.Popen(
            words,
            cwd=self.path,
            env={**inherited, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # so that it is killed with all that it started
        )
        try:
            printed, _ = process.communicate(timeout=LIMIT_SECS)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            printed, _ = process.communicate()
        if process.returncode != code:
            pytest.fail(
                f"{' '.join(words)}\nexited with {process.returncode}, not {code}; it printed:\n"
                f"{printed}",
                pytrace=False,
            )
        return printed

    def files(self) -> set[str]:
        """The paths of all files, relative to the project, with forward slashes."""
        return {
            file.relative_to(self.path).as_posix()
            for file in self.path.rglob("*")
            if file.is_file()
        }


@pytest.fixture(scope="session")
def template() -> Path:
    """What is baked."""
    return ROOT


def _bake(cookies, options: dict[str, str], template: Path = ROOT) -> Result:
    # cookiecutter silently ignores a mistyped key, and the test would look at a default bake.
    unknown = sorted(set(options) - PROMPTS)
    if unknown:
        raise KeyError(f"no such prompt: {', '.join(unknown)}; there are {sorted(PROMPTS)}")
    return cookies.bake(extra_context=options, template=str(template))


def _project(result: Result) -> BakedProject:
    if result.exception:
        raise result.exception
    return BakedProject(result.project_path)


@pytest.fixture
def bake(cookies, template) -> Callable[..., BakedProject]:
    """`bake(license="none")` bakes a project with these answers and defaults for the others."""
    return lambda **options: _project(_bake(cookies, options, template))


@pytest.fixture
def refuse(cookies, template) -> Callable[..., None]:
    """`refuse(project_slug="class")` passes if no project can be baked with these answers."""

    def check(**options: str) -> None:
        result = _bake(cookies, options, template)
        assert result.exit_code != 0
        assert result.project_path is None

    return check


@pytest.fixture(scope="session")
def bake_to_share(cookies_session) -> Callable[..., BakedProject]:
    """As `bake`, for a project that several tests use."""
    return lambda **options: _project(_bake(cookies_session, options))


@pytest.fixture(scope="session")
def baked(bake_to_share) -> Callable[..., BakedProject]:
    """As `bake`, for a project to look at and not to change: one for the same answers."""
    return functools.cache(bake_to_share)


@pytest.fixture(scope="session")
def default_bake(baked) -> BakedProject:
    """A project with the default answers, to look at and not to change."""
    return baked()


def _wants_tensorflow(config: pytest.Config) -> bool:
    """Whether a test marked tensorflow will run; asks pytest itself, whose workers collect late."""
    option = config.option
    if option.collectonly or "not tensorflow" in option.markexpr:
        return False
    marked = f"({option.markexpr}) and tensorflow" if option.markexpr else "tensorflow"
    command = [sys.executable, "-m", "pytest", *config.invocation_params.args]
    command += ["--collect-only", "-q", "-m", marked]
    done = subprocess.run(command, stdout=subprocess.DEVNULL)
    return done.returncode != pytest.ExitCode.NO_TESTS_COLLECTED


def pytest_configure(config: pytest.Config) -> None:
    if (
        hasattr(config, "workerinput")
        or ENVIRONMENTS in os.environ
        or not _wants_tensorflow(config)
    ):
        return
    environments = {}
    with config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        for runtime, name in RUNTIMES.items():
            print(f"{name} for the tests, in .cache/envs:", flush=True)
            try:
                environments[runtime] = {"python": str(make_environment(runtime))}
            except Unavailable as reason:
                environments[runtime] = {"missing": str(reason)}
    if not any("python" in environment for environment in environments.values()):
        raise pytest.UsageError(f"no TensorFlow can be had: {environments}")
    os.environ[ENVIRONMENTS] = json.dumps(environments)


def _notices() -> list[str]:
    environments = json.loads(os.environ.get(ENVIRONMENTS, "{}"))
    return [
        f"NOTICE: {RUNTIMES[runtime]} is not tested. {environment['missing']}"
        for runtime, environment in environments.items()
        if "missing" in environment
    ]


def pytest_report_header() -> list[str]:
    return _notices()


def pytest_terminal_summary(terminalreporter) -> None:
    for notice in _notices():
        terminalreporter.write_line(notice, yellow=True)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "runtime" not in metafunc.fixturenames:
        return
    environments = json.loads(os.environ.get(ENVIRONMENTS, "{}"))
    required = {"tf1"} if os.environ.get("REQUIRE_TF1") == "1" else set()
    chosen = [
        runtime
        for runtime in RUNTIMES
        if runtime in required or "missing" not in environments.get(runtime, {})
    ]
    if "trained" in metafunc.fixturenames:
        # All on one worker of pytest-xdist, so that they are trained once; others go to any.
        chosen = [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in chosen]
    metafunc.parametrize("runtime", chosen, scope="session")


@pytest.fixture(scope="session")
def runtime_python(runtime: str) -> Path:
    """The Python of the shared environment with the TensorFlow that `runtime` names."""
    environment = json.loads(os.environ[ENVIRONMENTS])[runtime]
    if "missing" in environment:
        pytest.fail(f"REQUIRE_TF1=1, but: {environment['missing']}", pytrace=False)
    return Path(environment["python"])


@pytest.fixture(scope="session")
def any_python() -> Path:
    """The Python of the first shared environment that there is, for what one TensorFlow shows."""
    environments = json.loads(os.environ[ENVIRONMENTS]).values()
    return Path(next(one["python"] for one in environments if "python" in one))
