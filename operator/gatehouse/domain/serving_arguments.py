"""What a version may not tell vLLM: arguments and variables that replace vetted bytes, run other code, or move the fit.

KServe puts the arguments of the InferenceService after those of the runtime and argparse takes the last, so
``--model=other/model`` would win silently. argparse also takes unambiguous beginnings of a flag: these are refused too.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gatehouse.api.model_version import Serving
from gatehouse.domain.artifact import Problem
from gatehouse.domain.serving_refusals import ReservedArgument, ReservedEnvironment

__all__ = ["RESERVED_ENVIRONMENT", "RESERVED_ENVIRONMENT_PREFIXES", "RESERVED_FLAGS", "check_serving"]

_BY_GATEHOUSE = "set by Gatehouse from the artifact, the hardware profile and spec.serving"
_OTHER_BYTES = "it makes vLLM read other files than the verified ones"
_OTHER_CODE = "it makes vLLM run code that was not verified"
_OTHER_MEMORY = "it changes the memory that the hardware fit was computed with"
_SECRET = "arguments and variables are no place for secrets"  # noqa: S105 - a sentence

RESERVED_FLAGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                "--dtype",
                "--gpu-memory-utilization",
                "--host",
                "--kv-cache-dtype",
                "--max-model-len",
                "--port",
                "--served-model-name",
                "--tensor-parallel-size",
                "--uds",
            ),
            _BY_GATEHOUSE,
        ),
        **dict.fromkeys(
            (
                "--allowed-local-media-path",
                "--chat-template",
                "--code-revision",
                "--config",
                "--config-format",
                "--download-dir",
                "--hf-config-path",
                "--hf-overrides",
                "--load-format",
                "--lora-modules",
                "--model",
                "--model-loader-extra-config",
                "--model-tag",
                "--prompt-adapters",
                "--revision",
                "--speculative-config",
                "--speculative-model",
                "--tokenizer",
                "--tokenizer-revision",
            ),
            _OTHER_BYTES,
        ),
        **dict.fromkeys(
            (
                "--distributed-executor-backend",
                "--io-processor-plugin",
                "--kv-transfer-config",
                "--logits-processor-pattern",
                "--logits-processors",
                "--middleware",
                "--reasoning-parser-plugin",
                "--scheduler-cls",
                "--tool-parser-plugin",
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
"""Flags that ``serving.extraArgs`` must not hold, and why."""

RESERVED_ENVIRONMENT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "BASH_ENV": _OTHER_CODE,
        "CUDA_VISIBLE_DEVICES": _OTHER_MEMORY,
        "ENV": _OTHER_CODE,
        "HUGGING_FACE_HUB_TOKEN": _SECRET,
        "MODEL_ID": _OTHER_BYTES,
        "PATH": _OTHER_CODE,
        "STORAGE_URI": _OTHER_BYTES,
        "VLLM_ADDITIONAL_ARGS": _OTHER_BYTES,
        "VLLM_ALLOW_INSECURE_SERIALIZATION": _OTHER_CODE,
        "VLLM_ALLOW_LONG_MAX_MODEL_LEN": _OTHER_MEMORY,
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": _OTHER_BYTES,
        "VLLM_API_KEY": _SECRET,
        "VLLM_LOGGING_CONFIG_PATH": _OTHER_CODE,
        "VLLM_MODEL_REDIRECT_PATH": _OTHER_BYTES,
        "VLLM_PLUGINS": _OTHER_CODE,
        "VLLM_USE_MODELSCOPE": _OTHER_BYTES,
    }
)
"""Variables that ``serving.env`` must not hold, and why."""

RESERVED_ENVIRONMENT_PREFIXES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "AWS_": _SECRET,
        "HF_": _OTHER_BYTES,
        "LD_": _OTHER_CODE,
        "MODELSCOPE_": _OTHER_BYTES,
        "PYTHON": _OTHER_CODE,
        "TRANSFORMERS_": _OTHER_BYTES,
        "VLLM_LORA_RESOLVER_": _OTHER_BYTES,
    }
)
"""Beginnings of variables that ``serving.env`` must not hold, and why."""


_FLAGS_OF_THEIR_OWN: Final = frozenset({"--reasoning-parser"})
"""Beginnings of reserved flags that vLLM also has as flags, so that they mean themselves."""


def check_serving(serving: Serving) -> None:
    """Raises ReservedArgument or ReservedEnvironment for the first thing that is not the version's to set."""
    for argument in serving.extra_args:
        _check_argument(argument)
    for variable in serving.env:
        _check_variable(variable.name)


def _check_argument(argument: str) -> None:
    # vLLM reads --max_model_len as --max-model-len, and --flag.key=value and --flag+=value as parts of --flag.
    flag = argument.partition("=")[0].partition(".")[0].rstrip("+").replace("_", "-")
    begun = (reserved for reserved in RESERVED_FLAGS if reserved.startswith(flag))
    meant = None if flag in _FLAGS_OF_THEIR_OWN else next(begun, None)
    if meant is None and flag.startswith("--") and "{{" not in argument:
        return
    shown = argument if len(argument) <= 300 else f"{argument[:300]}..."
    reason = RESERVED_FLAGS[meant] if meant else "it is not of the form --flag or --flag=value without {{"
    raise ReservedArgument(
        Problem(
            rule="ReservedArgument",
            found=f"serving.extraArgs has {shown!r}: {reason}",
            wanted=f"no {meant} and no beginning of it" if meant else "--flag or --flag=value",
            remedy=f"remove {shown!r} from spec.serving.extraArgs",
        )
    )


def _check_variable(name: str) -> None:
    reason = RESERVED_ENVIRONMENT.get(name) or next(
        (why for prefix, why in RESERVED_ENVIRONMENT_PREFIXES.items() if name.startswith(prefix)), None
    )
    if reason is None:
        return
    raise ReservedEnvironment(
        Problem(
            rule="ReservedEnvironment",
            found=f"serving.env has {name}: {reason}",
            wanted=f"an environment without {name}",
            remedy=f"remove {name} from spec.serving.env",
        )
    )
