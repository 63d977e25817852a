"""Arguments of vLLM that a version may set beside those that Gatehouse sets.

This is the one list of arguments. ``check_serving`` checks versions against the list, and the operator writes the list
into VettedArtifacts, against which the gate checks InferenceServices and Pods. Source: the argument parsers of vLLM
0.11 and 0.30. An argument that only older releases have stays on the list, for registries whose image has it. Where the
image does not, the version is refused (``withoutArguments`` in ``releases.json``).

KServe puts the arguments of the InferenceService after those of the runtime and argparse takes the last, so
``--model=other/model`` would win silently. argparse also accepts unambiguous beginnings of a flag, and the flags of the
next vLLM are unknown. A list of permitted arguments is therefore necessary.

Before the check, the arguments are brought to one form. vLLM reads ``--max_num_seqs`` as ``--max-num-seqs``, and so do
the policies of admission. A value that is an argument of its own is joined to its flag where the flag takes exactly one
value. For other flags only vLLM knows whether the argument is a value, so the argument is refused with the way to write
it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from gatehouse.api.model_registry import SERVING_ARGUMENT
from gatehouse.api.model_version import Serving
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.runtimes.environment import admitted_environment, check_variable
from gatehouse.domain.runtimes.refusals import ArgumentNotKnown, ReservedArgument
from gatehouse.domain.runtimes.releases import release_of

__all__ = [
    "ELSEWHERE",
    "HARMLESS_ARGUMENTS",
    "KNOWN_INITIALIZERS",
    "RESERVED_FLAGS",
    "TEMPLATE_FLAGS",
    "VALUED_FLAGS",
    "admitted_arguments",
    "check_release",
    "check_serving",
    "normal_arguments",
]

_BY_GATEHOUSE = "set by Gatehouse from the artifact, the hardware profile and spec.serving"
_OTHER_BYTES = "it makes vLLM read other files than the verified ones"
_OTHER_CODE = "it makes vLLM run code that was not verified"
_OTHER_MEMORY = "it changes the memory that the hardware fit was computed with"
_SECRET = "arguments and variables must not hold secrets"  # noqa: S105 - a sentence

TEMPLATE_FLAGS: Final = (
    "--dtype",
    "--gpu-memory-utilization",
    "--kv-cache-dtype",
    "--max-model-len",
    "--tensor-parallel-size",
)
"""The arguments that Gatehouse itself writes into an InferenceService."""

_SETTINGS: Final = (
    "--attention-backend",
    "--block-size",
    "--chat-template-content-format",
    "--convert",
    "--guided-decoding-backend",
    "--h11-max-header-count",
    "--h11-max-incomplete-event-size",
    "--logprobs-mode",
    "--long-prefill-token-threshold",
    "--max-log-len",
    "--max-logprobs",
    "--max-long-partial-prefills",
    "--max-num-batched-tokens",
    "--max-num-partial-prefills",
    "--max-num-seqs",
    "--mm-processor-cache-gb",
    "--model-impl",
    "--moe-backend",
    "--optimization-level",
    "--prefix-caching-hash-algo",
    "--quantization",
    "--reasoning-parser",
    "--response-role",
    "--runner",
    "--scheduling-policy",
    "--seed",
    "--show-hidden-metrics-for-version",
    "--stream-interval",
    "--swap-space",
    "--task",
    "--tokenizer-mode",
    "--tool-call-parser",
    "--uvicorn-log-level",
)

VALUED_FLAGS: Final = frozenset(_SETTINGS)
"""Each takes exactly one value: an argument after it that is no flag is that value."""

_SWITCHES: Final = (
    "--async-scheduling",
    "--calculate-kv-scales",
    "--disable-cascade-attn",
    "--disable-chunked-mm-input",
    "--disable-custom-all-reduce",
    "--disable-fastapi-docs",
    "--disable-log-requests",
    "--disable-log-stats",
    "--disable-uvicorn-access-log",
    "--enable-auto-tool-choice",
    "--enable-chunked-prefill",
    "--enable-force-include-usage",
    "--enable-log-requests",
    "--enable-prefix-caching",
    "--enable-prompt-tokens-details",
    "--enable-reasoning",
    "--enable-request-id-headers",
    "--enable-server-load-tracking",
    "--enforce-eager",
    "--exclude-tools-when-tool-choice-none",
    "--interleave-mm-strings",
    "--return-tokens-as-token-ids",
    "--use-tqdm-on-load",
)
"""Each also exists as ``--no-...``, which switches it off."""

_ONE_VALUE_ONLY: Final = (
    "--distributed-executor-backend=mp",
    "--generation-config=auto",
    "--generation-config=vllm",
    "--load-format=auto",
    "--load-format=safetensors",
)
"""With other values these load other files or other code."""

HARMLESS_ARGUMENTS: Final = tuple(
    sorted((*_SETTINGS, *_SWITCHES, *(flag.replace("--", "--no-", 1) for flag in _SWITCHES), *_ONE_VALUE_ONLY))
)
"""The arguments that a version may set: ``--flag`` with any plain value, or ``--flag=value`` exactly. None reads a file
beside the artifact or runs other code. The fit is computed with those that change its terms: ``--max-num-seqs``, which
templates also set where vLLM's own number leaves too little memory, and ``--max-num-batched-tokens``."""

ELSEWHERE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "--dtype": "leave the data type to the files and the HardwareProfile",
        "--gpu-memory-utilization": "set spec.serving.gpuMemoryUtilization of the HardwareProfile",
        "--kv-cache-dtype": "set spec.serving.kvCacheDtype of the HardwareProfile",
        "--max-model-len": "set spec.serving.maxModelLen of the ModelVersion",
        "--tensor-parallel-size": "choose a HardwareProfile with that many accelerators",
        "--api-key": "control access to the service in front of the service",
        "--served-model-name": "the served name is the name of the InferenceService",
    }
)
"""The alternative to each flag that Gatehouse sets."""

RESERVED_FLAGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys((*TEMPLATE_FLAGS, "--host", "--port", "--served-model-name", "--uds"), _BY_GATEHOUSE),
        **dict.fromkeys(
            (
                "--allowed-local-media-path",
                "--chat-template",
                "--code-revision",
                "--config",
                "--config-format",
                "--default-mm-loras",
                "--download-dir",
                "--enable-lora",
                "--generation-config",
                "--hf-config-path",
                "--hf-overrides",
                "--ignore-patterns",
                "--load-format",
                "--lora-modules",
                "--mm-encoder-fp8-scale-path",
                "--mm-encoder-fp8-scale-save-path",
                "--model",
                "--model-loader-extra-config",
                "--model-tag",
                "--prompt-adapters",
                "--qlora-adapter-name-or-path",
                "--revision",
                "--spec-model",
                "--speculative-config",
                "--speculative-model",
                "--tokenizer",
                "--tokenizer-revision",
                "--weight-transfer-config",
            ),
            _OTHER_BYTES,
        ),
        **dict.fromkeys(
            (
                "--additional-config",
                "--compilation-config",
                "--distributed-executor-backend",
                "--ec-transfer-config",
                "--enable-mm-embeds",
                "--enable-prompt-embeds",
                "--io-processor-plugin",
                "--kv-transfer-config",
                "--log-config-file",
                "--logits-processor-pattern",
                "--logits-processors",
                "--middleware",
                "--model-class-overrides",
                "--profiler-config",
                "--reasoning-parser-plugin",
                "--scheduler-cls",
                "--tool-parser-plugin",
                "--tool-server",
                "--trust-remote-code",
                "--trust-request-chat-template",
                "--worker-cls",
                "--worker-extension-cls",
            ),
            _OTHER_CODE,
        ),
        **dict.fromkeys(
            (
                "--data-parallel-size",
                "--disable-hybrid-kv-cache-manager",
                "--disable-sliding-window",
                "--kv-cache-memory-bytes",
                "--num-gpu-blocks-override",
                "--pipeline-parallel-size",
                "--rope-scaling",
                "--rope-theta",
            ),
            _OTHER_MEMORY,
        ),
        **dict.fromkeys(("--api-key", "--hf-token", "--ssl-keyfile"), _SECRET),
    }
)
"""Flags that no version may set, whatever a registry allows, and why. Values in HARMLESS_ARGUMENTS are exceptions."""

KNOWN_INITIALIZERS: Final = tuple(
    f"{registry}kserve/storage-initializer:{tag}"
    for registry in ("", "docker.io/")
    for tag in (
        "v0.13.0",
        "v0.13.1",
        "v0.14.0",
        "v0.14.1",
        "v0.15.0",
        "v0.15.1",
        "v0.15.2",
        "v0.16.0",
        "v0.17.0",
        "v0.17.1",
        "v0.18.0",
        "v0.18.1",
        "v0.19.0",
        "v0.20.0",
        "v0.21.0",
    )
)
"""KServe's storage initializer, as its releases name it. The image behind ``latest`` and branches changes: a registry
names other images, best by digest, in ``spec.serving.initializerImages``."""


_PLAIN: Final = re.compile(SERVING_ARGUMENT)
_VALUE: Final = re.compile(r"[A-Za-z0-9._,:+][A-Za-z0-9._,:+-]*")
"""A value that no parser takes for a flag."""
_LONGEST_SHOWN: Final = 300


@dataclass(frozen=True, slots=True)
class _Argument:
    """An argument in its normal form, its original text, and the flag before it if the argument itself is no flag."""

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
    """Flag with dashes, the separator before its value ("=", a blank, or nothing), and the value."""
    at = next((index for index, character in enumerate(argument) if character in "= "), len(argument))
    flag = argument[:at]
    if flag.startswith("--"):
        flag = "--" + flag[2:].replace("_", "-")
    return flag, argument[at : at + 1], argument[at + 1 :]


def admitted_arguments(added: Iterable[str]) -> list[str]:
    """The arguments that the gate admits for model servers, sorted: the template's flags, the list, and a registry's
    additions.

    An entry is ``--flag``, or ``--flag=value`` for that value only. No registry adds a reserved flag or a beginning of
    one.
    """
    more = (argument for argument in normal_arguments(list(added)) if _reserved(_flag(argument)) is None)
    return sorted({*TEMPLATE_FLAGS, *HARMLESS_ARGUMENTS, *more})


def check_serving(serving: Serving, *, added: Collection[str] = (), variables: Collection[str] = ()) -> None:
    """Raises ReservedArgument or ReservedEnvironment for the first setting that a version must not set.

    ``added`` and ``variables`` are ``spec.serving.allowedArguments`` and ``allowedEnvironment`` of its registry.
    Arguments that pass here pass the gate, in their normal form.
    """
    if serving.extra_args:  # most versions have none, and every version is checked
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
                Finding(
                    reason="ArgumentNotKnown",
                    found=f"serving.extraArgs has {flag}, with which {release.name} does not start",
                    expected=f"arguments that {release.name} knows",
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
        why, allowed = RESERVED_FLAGS[reserved], values or f"no {reserved}, and no prefix of it"
        if reserved in ELSEWHERE:
            remedy += f", and {ELSEWHERE[reserved]}"
    elif not plain:
        why = "it must have the form --flag or --flag=value, with a value of letters, digits and . _ , : + - only"
        allowed = "--flag or --flag=value; paths and JSON are never allowed"
        joined = _joined(argument)
        if joined:
            why += ", and whether it is the value of the preceding flag is unknown"
            remedy = f"write {_shown(joined)} as one argument, or {remedy}"
    else:
        why = f"{flag} is not on the list of allowed arguments"
        allowed = values or "arguments that spec.arguments of the VettedArtifacts lists"
        remedy += f", or ask for {flag} in spec.serving.allowedArguments of the ModelRegistry"
    raise ReservedArgument(
        Finding(
            reason="ReservedArgument", found=f"serving.extraArgs has {shown}: {why}", expected=allowed, remedy=remedy
        )
    )


def _joined(argument: _Argument) -> str | None:
    """One argument that joins a flag with its separate value; None where the result is no valid argument."""
    flag, separator, value = _parts(f"{argument.after} {argument.normal}" if argument.after else argument.normal)
    joined = f"{flag}={value}"
    return joined if separator == " " and _PLAIN.fullmatch(joined) else None


def _shown(argument: str) -> str:
    return repr(argument if len(argument) <= _LONGEST_SHOWN else f"{argument[:_LONGEST_SHOWN]}...")


def _flag(argument: str) -> str:
    return _parts(argument)[0]


def _reserved(flag: str) -> str | None:
    """The reserved flag that vLLM would read ``flag`` as, including a beginning of that flag."""
    # vLLM reads --max_model_len as --max-model-len, and --flag.key=value and --flag+=value as parts of --flag.
    beginning = flag.partition(".")[0].rstrip("+").replace("_", "-")
    if len(beginning) <= len("--"):
        return None
    return next((each for each in RESERVED_FLAGS if each.startswith(beginning)), None)
