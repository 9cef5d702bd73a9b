"""Objects from settings: `_target_` names a class or function, the other keys its arguments."""

from __future__ import annotations

import inspect
import pydoc
from typing import Any

from hydra.errors import HydraException
from hydra.utils import instantiate as hydra_instantiate
from omegaconf import DictConfig, OmegaConf

from ..errors import ConfigError
from .overrides import nearest_to


def instantiate(config: DictConfig) -> Any:
    """The object that a group's `_target_` and arguments describe.

    Raises:
        ConfigError: there is no such class, or it has no such argument. What the class itself
            raises keeps its type and stack trace.
    """
    _check_targets(OmegaConf.to_container(config))
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
        given = set(node) - {"_target_", "_partial_", "_args_"}
        _check_arguments(path, target, given, complete=given == set(node) - {"_target_"})


def _check_arguments(path: str, target: Any, given: set[str], complete: bool) -> None:
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
        complete = False  # a class may give its base what that needs
        known += parameters
        if not any(each.kind == each.VAR_KEYWORD for each in parameters.values()):
            for key in sorted(given - set(known)):
                raise ConfigError(f"{path}: takes no argument '{key}'{nearest_to(key, known)}")
            return


def _locate(path: str) -> Any:
    try:
        return pydoc.locate(path)
    except pydoc.ErrorDuringImport as error:  # of the module, whose own error counts
        cause: Any = error.value
        raise cause.with_traceback(error.tb) from None
