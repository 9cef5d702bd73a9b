"""Objects from settings: `_target_` names a class or function, the other keys its arguments."""

from __future__ import annotations

import contextlib
import inspect
import numbers
import pathlib
import pydoc
import re
from typing import Any

from hydra.errors import HydraException
from hydra.utils import instantiate as hydra_instantiate
from omegaconf import DictConfig, OmegaConf

from ..errors import ConfigError
from .overrides import nearest_to

PACKAGE = __name__.partition(".")[0]
CONF = str(pathlib.Path(__file__).absolute().parents[2] / "conf")

# What the file of a run may name in any case: each is defined in your part of the package, or is a
# class of TensorFlow that runs no code from its arguments (as layers do, and functions such as
# deserialize).
TRUSTED = re.compile(
    rf"{PACKAGE}\.(data|model|train)\.(?!.*__).+"
    r"|tensorflow\.(compat\.v1\.)?train\.[A-Z]\w*(Optimizer|Hook)"
    r"|tensorflow\.(compat\.v1\.)?keras\.(callbacks|constraints|initializers|losses|metrics"
    r"|optimizers|regularizers)\.[A-Z]\w*"
)

# Where the classes and functions are that settings name by this package's name.
OWN = re.compile(rf"{PACKAGE}\.(?!engine\.(?!\w+\.trainer\.))")


def check_trusted(settings: Any, path: str, others: Any = ()) -> None:
    """Raises ConfigError where settings from somebody else's file name what could run any code.

    They may name what TRUSTED matches, and what is named in conf/ or in `others`. References, such
    as to environment variables, are refused: a run's settings are written without.

    Args:
        settings: plain dicts and lists, not resolved.
        path: the file, for the message.
        others: texts or settings of the user's own, such as the words of a command line.
    """
    texts = [path.read_text("utf-8") for path in pathlib.Path(CONF).rglob("*.yaml")]
    code = re.sub(r"(?m)(^|\s)#.*", "", "\n".join([*texts, str(others)]))  # without comments
    known = re.findall(r"(?:_target_|function)\W+([\w.]+)", code)

    def check(node: Any, key: str = "") -> None:
        if isinstance(node, (dict, list)):
            for name, child in node.items() if isinstance(node, dict) else enumerate(node):
                check(name)
                check(child, str(name))
        elif "${" in str(node):
            raise ConfigError(f"{path}: found the reference {node}; expected values only")
        elif (key == "_target_" or (key == "function" and "." in str(node))) and not (
            str(node) in known or TRUSTED.fullmatch(str(node))
        ):
            raise ConfigError(
                f"{path}: names {node}, which is neither of {PACKAGE}'s data/, model/ and "
                "train/ nor of conf/; if you trust it, name it in a file of conf/"
            )

    check(settings)


def instantiate(config: DictConfig) -> Any:
    """The object that a group's `_target_` and arguments describe.

    Raises:
        ConfigError: there is no such class, or it has no such argument. What the class itself
            raises keeps its type and stack trace.
    """
    _check_targets(OmegaConf.to_container(config, resolve=True))
    try:
        return hydra_instantiate(config, _convert_="all")
    except HydraException as error:
        cause: BaseException = error
        while isinstance(cause, HydraException) and cause.__cause__:
            cause = cause.__cause__
    raise cause


def _check_targets(node: Any) -> None:
    if isinstance(node, (dict, list)):
        for child in node.values() if isinstance(node, dict) else node:
            _check_targets(child)
    if isinstance(node, dict) and "_target_" in node:
        path = str(node["_target_"])
        target = _locate(path)
        if not callable(target):
            place, _, name = path.rpartition(".")
            nearest = nearest_to(name, dir(_locate(place)))
            raise ConfigError(f"{path}: there is no such class or function{nearest}")
        home = f"{getattr(target, '__module__', PACKAGE)}."  # a partial has none
        if path.startswith(f"{PACKAGE}.") and not OWN.match(home):  # what a module has imported
            raise ConfigError(f"{path}: is of {home[:-1]}; settings name only what is yours")
        given = {key: node[key] for key in node.keys() - {"_target_", "_partial_", "_args_"}}
        _check_arguments(path, target, given, complete=len(given) == len(node) - 1)


def _check_arguments(path: str, target: Any, given: dict[str, Any], complete: bool) -> None:
    """Compares names with signatures: a class's own, and of the bases it hands **others on to.

    A class that hands them on to one that is not its base names that one: see `Model.others`.
    """
    functions = [target]
    if inspect.isclass(target):
        parts = [vars(one).get(key) for one in target.__mro__ for key in ("__init__", "others")]
        functions = [part for part in parts if part]
    known: list[str] = []
    for function in functions:
        try:
            parameters = inspect.signature(function).parameters
        except (TypeError, ValueError):  # not written in Python
            return
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in parameters.items():
            needed = parameter.default is parameter.empty and parameter.kind in named
            if complete and needed and name not in {"self", *given}:
                raise ConfigError(f"{path}: needs the argument '{name}', which is not set")
            _check_text(path, name, given.get(name), parameter.default)
            # None may stand for "not given", whatever the annotation says.
            if name in given and not (given[name] is None and parameter.default is None):
                _check_type(path, name, given[name], parameter.annotation)
        complete = False  # a class may give its base what that needs
        known += parameters
        if not any(each.kind == each.VAR_KEYWORD for each in parameters.values()):
            for key in sorted(given.keys() - set(known)):
                raise ConfigError(f"{path}: takes no argument '{key}'{nearest_to(key, known)}")
            return


def _check_text(path: str, name: str, value: Any, default: Any) -> None:
    """Raises ConfigError for a text where a number or a list is the default."""
    if isinstance(value, str) and isinstance(default, (tuple, list)):
        raise ConfigError(f'{path}: {name}="{value}" is a text; expected a list, as in [{value}]')
    if isinstance(value, str) and isinstance(default, (int, float)):
        with contextlib.suppress(ValueError):
            raise ConfigError(
                f'{path}: {name}="{value}" is a text; for a number write {float(value)} without '
                "quotes"
            )


# What the annotation of an argument begins with -> what it takes, in code and in words.
TYPES: dict[str, tuple[Any, str]] = {
    "int": (numbers.Integral, "an integer"),
    "float": (numbers.Real, "a number"),
    "bool": (numbers.Integral, "true or false"),
    "Sequence": ((list, tuple), "a list, as in [1, 2]"),
}


def _check_type(path: str, name: str, value: Any, annotation: Any) -> None:
    """Raises ConfigError for a value that is not of an argument's type, where that is simple."""
    text = str(getattr(annotation, "__name__", annotation))
    kind, expected = TYPES.get(re.sub(r"^Sequence\[\w+\]$", "Sequence", text), (object, ""))
    if isinstance(value, dict):  # an object that has a `_target_`
        return
    if not isinstance(value, kind) or (isinstance(value, bool) and text in ("int", "float")):
        raise ConfigError(f"{path}: found {name}={value!r}; expected {expected}")


def _locate(path: str) -> Any:
    try:
        return pydoc.locate(path)
    except pydoc.ErrorDuringImport as error:  # of the module, whose own error counts
        cause: Any = error.value
        raise cause.with_traceback(error.tb) from None
