"""Arguments of vLLM that may be set beside what Gatehouse sets, and what is wrong with known bad ones.

This is the one list of arguments. ``check_serving`` holds versions to it, and the operator writes it into
VettedArtifacts, which the gate holds InferenceServices and Pods to. Source: the argument parsers of vLLM 0.11 and
0.30. An argument that only older releases know stays on the list, for registries whose image has one; where the image
does not, the version is refused (``withoutArguments`` in ``hardware/releases.json``).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

__all__ = [
    "ELSEWHERE",
    "HARMLESS_ARGUMENTS",
    "KNOWN_INITIALIZERS",
    "RESERVED_FLAGS",
    "TEMPLATE_FLAGS",
    "VALUED_FLAGS",
]

_BY_GATEHOUSE = "set by Gatehouse from the artifact, the hardware profile and spec.serving"
_OTHER_BYTES = "it makes vLLM read other files than the verified ones"
_OTHER_CODE = "it makes vLLM run code that was not verified"
_OTHER_MEMORY = "it changes the memory that the hardware fit was computed with"
_SECRET = "arguments and variables are no place for secrets"  # noqa: S105 - a sentence

TEMPLATE_FLAGS: Final = (
    "--dtype",
    "--gpu-memory-utilization",
    "--kv-cache-dtype",
    "--max-model-len",
    "--tensor-parallel-size",
)
"""What Gatehouse itself writes into the arguments of an InferenceService."""

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
"""Each takes just one value: an argument after it that is no flag can only be that."""

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
"""Each is also there as ``--no-...``, which switches it off."""

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
"""What a version may set: ``--flag`` with any plain value, or ``--flag=value`` just so. None reads a file beside
the artifact or runs other code. The fit is computed with those that change its terms: ``--max-num-seqs``, which
templates set too where vLLM's own number leaves too little memory, and ``--max-num-batched-tokens``."""

ELSEWHERE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "--dtype": "leave the data type to the files and the HardwareProfile",
        "--gpu-memory-utilization": "set spec.serving.gpuMemoryUtilization of the HardwareProfile",
        "--kv-cache-dtype": "set spec.serving.kvCacheDtype of the HardwareProfile",
        "--max-model-len": "set spec.serving.maxModelLen of the ModelVersion",
        "--tensor-parallel-size": "choose a HardwareProfile with that many accelerators",
        "--api-key": "leave who may call the service to what stands before it",
        "--served-model-name": "the service is named after its InferenceService",
    }
)
"""What to do in the place of a flag that is set by Gatehouse."""

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
"""Flags that nobody may set, whatever a registry allows, and why. Values in HARMLESS_ARGUMENTS are apart from them."""

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
"""KServe's storage initializer, as its releases name it. ``latest`` and branches are whatever they are today: a
registry names other images, best by digest, in ``spec.serving.initializerImages``."""
