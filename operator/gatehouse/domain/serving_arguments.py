"""Whether a version tells vLLM only what it may: arguments and variables of two lists.

KServe puts the arguments of the InferenceService after those of the runtime and argparse takes the last, so
``--model=other/model`` would win silently. argparse also takes unambiguous beginnings of a flag, and what the next vLLM
learns is not known: so arguments are held to a list.

Before, they are brought to one form. vLLM reads ``--max_num_seqs`` as ``--max-num-seqs``, and so do the policies of
admission. A value that is an argument of its own is joined to its flag where the flag is known to take just one;
elsewhere nobody but vLLM knows whether it is a value, and it is refused with the way to write it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from gatehouse.api.model_registry import SERVING_ARGUMENT
from gatehouse.api.model_version import Serving
from gatehouse.domain.artifact import Problem
from gatehouse.domain.hardware.releases import release_of
from gatehouse.domain.serving_environment import admitted_environment, check_variable
from gatehouse.domain.serving_refusals import ArgumentNotKnown, ReservedArgument
from gatehouse.domain.serving_rules import ELSEWHERE, HARMLESS_ARGUMENTS, RESERVED_FLAGS, TEMPLATE_FLAGS, VALUED_FLAGS

__all__ = ["admitted_arguments", "check_release", "check_serving", "normal_arguments"]

_PLAIN: Final = re.compile(SERVING_ARGUMENT)
_VALUE: Final = re.compile(r"[A-Za-z0-9._,:+][A-Za-z0-9._,:+-]*")
"""A value that cannot be taken for a flag."""
_LONGEST_SHOWN: Final = 300


@dataclass(frozen=True, slots=True)
class _Argument:
    """An argument in its normal form, as its author wrote it, and the flag that it stands after if it is none."""

    normal: str
    written: str
    after: str = ""


def normal_arguments(arguments: Sequence[str]) -> list[str]:
    """The arguments as vLLM reads them: flags with dashes, and known flags joined with their values."""
    return [each.normal for each in _normal(arguments)]


def _normal(arguments: Sequence[str]) -> list[_Argument]:
    found: list[_Argument] = []
    for written in arguments:
        flag, separator, value = _parts(written)
        before = found[-1] if found else None
        if before is not None and before.normal in VALUED_FLAGS and _VALUE.fullmatch(written):
            found[-1] = _Argument(f"{before.normal}={written}", f"{before.written} {written}")
        elif separator == " " and flag in VALUED_FLAGS and _VALUE.fullmatch(value):
            found.append(_Argument(f"{flag}={value}", written))
        elif flag.startswith("--"):
            found.append(_Argument(f"{flag}{separator}{value}", written))
        else:
            found.append(_Argument(written, written, "" if before is None else before.written))
    return found


def _parts(argument: str) -> tuple[str, str, str]:
    """Flag with dashes, what separates it from its value ("=", a blank, or nothing), and the value."""
    at = next((index for index, character in enumerate(argument) if character in "= "), len(argument))
    flag = argument[:at]
    if flag.startswith("--"):
        flag = "--" + flag[2:].replace("_", "-")
    return flag, argument[at : at + 1], argument[at + 1 :]


def admitted_arguments(added: Iterable[str]) -> list[str]:
    """What the gate lets model servers have, sorted: the template's own flags, the list, and what registries add.

    An entry is ``--flag``, or ``--flag=value`` for that value only. No registry adds a reserved flag, nor a beginning
    of one.
    """
    more = (argument for argument in normal_arguments(list(added)) if _reserved(_flag(argument)) is None)
    return sorted({*TEMPLATE_FLAGS, *HARMLESS_ARGUMENTS, *more})


def check_serving(serving: Serving, *, added: Collection[str] = (), variables: Collection[str] = ()) -> None:
    """Raises ReservedArgument or ReservedEnvironment for the first thing that is not the version's to set.

    ``added`` and ``variables`` are ``spec.serving.allowedArguments`` and ``allowedEnvironment`` of its registry. What
    passes here passes the gate, in its normal form.
    """
    if serving.extra_args:  # most versions have none, and all are looked at
        admitted = frozenset(admitted_arguments(added)) - frozenset(TEMPLATE_FLAGS)
        for argument in _normal(serving.extra_args):
            _check_argument(argument, admitted)
    if serving.env:
        environment, named = admitted_environment(variables), set[str]()
        for variable in serving.env:
            check_variable(variable.name, variable.value, admitted=environment, named=named)
            named.add(variable.name)


def check_release(serving: Serving, image: str) -> None:
    """Raises ArgumentNotKnown for the first argument that the image's release of vLLM refuses to start with.

    Admission has one list for all images: an argument on it may be one that only older releases know.
    """
    if not serving.extra_args:
        return
    release, _ = release_of(image)
    for argument in _normal(serving.extra_args):
        flag = _flag(argument.normal)
        if flag in release.without_arguments:
            advice = release.without_arguments[flag]
            remedy = f"remove {_shown(argument.written)} from spec.serving.extraArgs"
            raise ArgumentNotKnown(
                Problem(
                    rule="ArgumentNotKnown",
                    found=f"serving.extraArgs has {flag}, with which {release.name} does not start",
                    wanted=f"arguments that {release.name} knows",
                    remedy=f"{remedy}: {advice}" if advice else remedy,
                )
            )


def _check_argument(argument: _Argument, admitted: Collection[str]) -> None:
    flag, plain = _flag(argument.normal), _PLAIN.fullmatch(argument.normal) is not None
    known = flag in admitted
    if plain and (known or argument.normal in admitted):
        return
    shown = _shown(argument.written)
    reserved = _reserved(flag)
    values = " or ".join(sorted(each for each in admitted if each.startswith(f"{flag}=")))
    remedy = f"remove {shown} from spec.serving.extraArgs"
    if reserved is not None and not known:
        why, wanted = RESERVED_FLAGS[reserved], values or f"no {reserved} and no beginning of it"
        if reserved in ELSEWHERE:
            remedy += f", and {ELSEWHERE[reserved]}"
    elif not plain:
        why = "it is not of the form --flag or --flag=value with a value of letters, digits and . _ , : + - only"
        wanted = "--flag or --flag=value; paths and JSON pass nowhere"
        joined = _joined(argument)
        if joined:
            why += ", and whether it is the value of the flag before it is not known"
            remedy = f"write {_shown(joined)} as one argument, or {remedy}"
    else:
        why = f"{flag} is not on the list of arguments that are known to be harmless"
        wanted = values or "arguments that spec.arguments of the VettedArtifacts lists"
        remedy += f", or have {flag} added to spec.serving.allowedArguments of the ModelRegistry"
    raise ReservedArgument(
        Problem(rule="ReservedArgument", found=f"serving.extraArgs has {shown}: {why}", wanted=wanted, remedy=remedy)
    )


def _joined(argument: _Argument) -> str | None:
    """How a flag and its value that stand apart are written as one; None where that is no argument either."""
    flag, separator, value = _parts(f"{argument.after} {argument.normal}" if argument.after else argument.normal)
    joined = f"{flag}={value}"
    return joined if separator == " " and _PLAIN.fullmatch(joined) else None


def _shown(argument: str) -> str:
    return repr(argument if len(argument) <= _LONGEST_SHOWN else f"{argument[:_LONGEST_SHOWN]}...")


def _flag(argument: str) -> str:
    return _parts(argument)[0]


def _reserved(flag: str) -> str | None:
    """The reserved flag that vLLM would take ``flag`` for, by its beginning too."""
    # vLLM reads --max_model_len as --max-model-len, and --flag.key=value and --flag+=value as parts of --flag.
    beginning = flag.partition(".")[0].rstrip("+").replace("_", "-")
    if len(beginning) <= len("--"):
        return None
    return next((each for each in RESERVED_FLAGS if each.startswith(beginning)), None)
