"""Whether a version tells vLLM only what it may: arguments and variables of two lists.

KServe puts the arguments of the InferenceService after those of the runtime and argparse takes the last, so
``--model=other/model`` would win silently. argparse also takes unambiguous beginnings of a flag, and what the next vLLM
learns is not known: so arguments are held to a list.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Final

from gatehouse.api.model_registry import SERVING_ARGUMENT
from gatehouse.api.model_version import Serving
from gatehouse.domain.artifact import Problem
from gatehouse.domain.serving_environment import admitted_environment, check_variable
from gatehouse.domain.serving_refusals import ReservedArgument
from gatehouse.domain.serving_rules import HARMLESS_ARGUMENTS, RESERVED_FLAGS, TEMPLATE_FLAGS

__all__ = ["admitted_arguments", "check_serving"]

_PLAIN: Final = re.compile(SERVING_ARGUMENT)
_LONGEST_SHOWN: Final = 300


def admitted_arguments(added: Iterable[str]) -> list[str]:
    """What the gate lets model servers have, sorted: the template's own flags, the list, and what registries add.

    An entry is ``--flag``, or ``--flag=value`` for that value only. No registry adds a reserved flag, nor a beginning
    of one.
    """
    more = (argument for argument in added if _reserved(_flag(argument)) is None)
    return sorted({*TEMPLATE_FLAGS, *HARMLESS_ARGUMENTS, *more})


def check_serving(serving: Serving, *, added: Collection[str] = (), variables: Collection[str] = ()) -> None:
    """Raises ReservedArgument or ReservedEnvironment for the first thing that is not the version's to set.

    ``added`` and ``variables`` are ``spec.serving.allowedArguments`` and ``allowedEnvironment`` of its registry. What
    passes here passes the gate.
    """
    if serving.extra_args:  # most versions have none, and all are looked at
        admitted = frozenset(admitted_arguments(added)) - frozenset(TEMPLATE_FLAGS)
        for argument in serving.extra_args:
            _check_argument(argument, admitted)
    if serving.env:
        environment, named = admitted_environment(variables), set[str]()
        for variable in serving.env:
            check_variable(variable.name, variable.value, admitted=environment, named=named)
            named.add(variable.name)


def _check_argument(argument: str, admitted: Collection[str]) -> None:
    flag, plain = _flag(argument), _PLAIN.fullmatch(argument) is not None
    known = flag in admitted
    if plain and (known or argument in admitted):
        return
    shown = repr(argument if len(argument) <= _LONGEST_SHOWN else f"{argument[:_LONGEST_SHOWN]}...")
    reserved = _reserved(flag)
    values = " or ".join(sorted(each for each in admitted if each.startswith(f"{flag}=")))
    remedy = f"remove {shown} from spec.serving.extraArgs"
    if reserved is not None and not known:
        why, wanted = RESERVED_FLAGS[reserved], values or f"no {reserved} and no beginning of it"
    elif not plain:
        why = "it is not of the form --flag or --flag=value with a value of letters, digits and . _ , : + - only"
        wanted = "--flag or --flag=value; paths and JSON pass nowhere"
    else:
        why = f"{flag} is not on the list of arguments that are known to be harmless"
        wanted = values or "arguments that spec.arguments of the VettedArtifacts lists"
        remedy += f", or have {flag} added to spec.serving.allowedArguments of the ModelRegistry"
    raise ReservedArgument(
        Problem(rule="ReservedArgument", found=f"serving.extraArgs has {shown}: {why}", wanted=wanted, remedy=remedy)
    )


def _flag(argument: str) -> str:
    return argument.partition("=")[0]


def _reserved(flag: str) -> str | None:
    """The reserved flag that vLLM would take ``flag`` for, by its beginning too."""
    # vLLM reads --max_model_len as --max-model-len, and --flag.key=value and --flag+=value as parts of --flag.
    beginning = flag.partition(".")[0].rstrip("+").replace("_", "-")
    if len(beginning) <= len("--"):
        return None
    return next((each for each in RESERVED_FLAGS if each.startswith(beginning)), None)
