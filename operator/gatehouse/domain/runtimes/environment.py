"""Variables that a model server may have, their permitted values, and the check that a version sets only these.

This is the one list of variables. ``check_serving`` checks versions against the list, and the operator writes the list
into VettedArtifacts, against which the gate checks ServingRuntimes and Pods. None of these variables makes vLLM,
PyTorch, CUDA or NCCL load other files or other code, or connect to another server. None changes a term of the hardware
fit. Source: ``vllm/envs.py`` of 0.11 and 0.30 (a variable that a release no longer has does nothing) and the manuals of
NCCL, CUDA, PyTorch, OpenMP and Python.

A permitted value is a regular expression that the whole value must match, in the common syntax of RE2 and Python. No
pattern accepts ``$``, which Kubernetes would expand, nor a brace, which KServe would expand.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from itertools import chain
from types import MappingProxyType
from typing import Final

from gatehouse.domain.common.finding import Finding
from gatehouse.domain.runtimes.refusals import ReservedEnvironment

__all__ = [
    "HARMLESS_ENVIRONMENT",
    "PLAIN_VALUE",
    "RESERVED_ENVIRONMENT",
    "RESERVED_PREFIXES",
    "RESERVED_SUFFIXES",
    "TEMPLATE_ENVIRONMENT",
    "admitted_environment",
    "check_variable",
    "reserved_variable",
]

_OTHER_BYTES = "it may make the model server read other files than the verified ones"
_OTHER_CODE = "it may make the model server run code that was not verified"
_OTHER_SERVER = "it may make the model server connect to another server"
_OTHER_MEMORY = "it changes the memory that the hardware fit was computed with"
_OTHER_DOORS = "it permits requests that change the served model"
_SECRET = "variables must not hold secrets"  # noqa: S105 - a sentence

PLAIN_VALUE: Final = "[A-Za-z0-9._,:+-]*"
"""The value of a variable that a registry adds without a value: no path, no URL, no JSON."""

_SWITCH: Final = "0|1|[Tt]rue|[Ff]alse"
_COUNT: Final = "[0-9]{1,9}"
_NUMBER: Final = r"-?[0-9]{1,9}(\.[0-9]{1,9})?"
_WORD: Final = "[A-Za-z0-9_-]{1,64}"
_WORDS: Final = "[A-Za-z0-9_,-]{1,256}"
_LOCALE: Final = r"[A-Za-z]{1,8}(_[A-Za-z]{2})?(\.[A-Za-z0-9-]{1,16})?"
_INTERFACES: Final = r"[\^=]?=?[A-Za-z0-9._:,-]{1,128}"
_ALLOCATOR: Final = (
    "(expandable_segments:(True|False)|max_split_size_mb:[0-9]{1,6}|roundup_power2_divisions:[0-9]{1,4}"
    r"|garbage_collection_threshold:0\.[0-9]{1,4})"
)

TEMPLATE_ENVIRONMENT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "HF_HOME": "/tmp/hf_home",  # noqa: S108 - in vLLM's container
        "HF_HUB_OFFLINE": "1",
        "HOME": "/tmp",  # noqa: S108 - in vLLM's container
        "USER": "vllm",
        "INFERENCE_SERVICE_NAME": "[a-z]([a-z0-9-]{0,61}[a-z0-9])?",
    }
)
"""The variables that Gatehouse's template and KServe itself set. No version sets them."""

HARMLESS_ENVIRONMENT: Final[Mapping[str, str]] = MappingProxyType(
    {
        # Logs and metrics.
        "DO_NOT_TRACK": "0|1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "0|1",
        "HF_HUB_DISABLE_TELEMETRY": "0|1",
        "NO_COLOR": "0|1",
        "OTEL_SDK_DISABLED": "true|false",
        "OTEL_SERVICE_NAME": r"[A-Za-z0-9._-]{1,128}",
        "TRANSFORMERS_NO_ADVISORY_WARNINGS": "0|1",
        "TRANSFORMERS_VERBOSITY": "debug|info|warning|error|critical",
        "VLLM_CONFIGURE_LOGGING": "0|1",
        "VLLM_DEBUG_LOG_API_SERVER_RESPONSE": _SWITCH,
        "VLLM_DO_NOT_TRACK": "0|1",
        "VLLM_LOGGING_COLOR": "auto|0|1",
        "VLLM_LOGGING_LEVEL": "DEBUG|INFO|WARNING|ERROR|CRITICAL|debug|info|warning|error|critical",
        "VLLM_LOGGING_PREFIX": r"[A-Za-z0-9 ._:\[\]-]{0,64}",
        "VLLM_LOG_BATCHSIZE_INTERVAL": _NUMBER,
        "VLLM_LOG_STATS_INTERVAL": _NUMBER,
        "VLLM_NO_DEPRECATION_WARNING": "0|1",
        "VLLM_NO_USAGE_STATS": "0|1",
        "VLLM_RINGBUFFER_WARNING_INTERVAL": _COUNT,
        # Timeouts of vLLM.
        "VLLM_AUDIO_FETCH_TIMEOUT": _COUNT,
        "VLLM_ENGINE_ITERATION_TIMEOUT_S": _COUNT,
        "VLLM_ENGINE_READY_TIMEOUT_S": _COUNT,
        "VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS": _COUNT,
        "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": _COUNT,
        "VLLM_IMAGE_FETCH_TIMEOUT": _COUNT,
        "VLLM_KEEP_ALIVE_ON_ENGINE_DEATH": "0|1",
        "VLLM_RPC_TIMEOUT": _COUNT,
        "VLLM_TOOL_PARSE_REGEX_TIMEOUT_SECONDS": _COUNT,
        "VLLM_VIDEO_FETCH_TIMEOUT": _COUNT,
        # The kernels and processes of vLLM.
        "VLLM_ALL2ALL_BACKEND": _WORD,
        "VLLM_ATTENTION_BACKEND": "[A-Z0-9_]{1,64}",
        "VLLM_CPU_NUM_OF_RESERVED_CPU": _COUNT,
        "VLLM_CPU_OMP_THREADS_BIND": "auto|nobind|[0-9,|-]{1,128}",
        "VLLM_CPU_SGL_KERNEL": "0|1",
        "VLLM_DISABLED_KERNELS": _WORDS,
        "VLLM_DISABLE_COMPILE_CACHE": "0|1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0|1",
        "VLLM_FLASHINFER_FORCE_TENSOR_CORES": "0|1",
        "VLLM_FLASH_ATTN_VERSION": "[234]",
        "VLLM_KV_CACHE_LAYOUT": "NHD|HND",
        "VLLM_MARLIN_USE_ATOMIC_ADD": "0|1",
        "VLLM_MSGPACK_ZERO_COPY_THRESHOLD": _COUNT,
        "VLLM_ROCM_CUSTOM_PAGED_ATTN": _SWITCH,
        "VLLM_ROCM_FP8_PADDING": "0|1",
        "VLLM_ROCM_MOE_PADDING": "0|1",
        "VLLM_ROCM_QUICK_REDUCE_CAST_BF16_TO_FP16": _SWITCH,
        "VLLM_ROCM_QUICK_REDUCE_QUANTIZATION": "NONE|FP|INT8|INT6|INT4",
        "VLLM_ROCM_USE_AITER": _SWITCH,
        "VLLM_ROCM_USE_AITER_LINEAR": _SWITCH,
        "VLLM_ROCM_USE_AITER_MHA": _SWITCH,
        "VLLM_ROCM_USE_AITER_MLA": _SWITCH,
        "VLLM_ROCM_USE_AITER_MOE": _SWITCH,
        "VLLM_ROCM_USE_AITER_PAGED_ATTN": _SWITCH,
        "VLLM_ROCM_USE_AITER_RMSNORM": _SWITCH,
        "VLLM_ROCM_USE_SKINNY_GEMM": _SWITCH,
        "VLLM_SKIP_P2P_CHECK": "0|1",
        "VLLM_SLEEP_WHEN_IDLE": "0|1",
        "VLLM_USE_CUDNN_PREFILL": "0|1",
        "VLLM_USE_DEEP_GEMM": "0|1",
        "VLLM_USE_FLASHINFER_MOE_FP16": "0|1",
        "VLLM_USE_FLASHINFER_MOE_FP4": "0|1",
        "VLLM_USE_FLASHINFER_MOE_FP8": "0|1",
        "VLLM_USE_FLASHINFER_SAMPLER": "0|1",
        "VLLM_USE_TRITON_AWQ": "0|1",
        "VLLM_USE_TRITON_FLASH_ATTN": _SWITCH,
        "VLLM_USE_V1": "0|1",
        "VLLM_VIDEO_LOADER_BACKEND": "opencv",
        "VLLM_V1_OUTPUT_PROC_CHUNK_SIZE": _COUNT,
        "VLLM_WORKER_MULTIPROC_METHOD": "fork|spawn|forkserver",
        "VLLM_XGRAMMAR_CACHE_MB": "[0-9]{1,4}",
        # Communication between accelerators. Plugins, tuners and files of NCCL are libraries and code.
        "NCCL_ALGO": r"\^?[A-Za-z0-9_,;:]{1,128}",
        "NCCL_CUMEM_ENABLE": "0|1",
        "NCCL_DEBUG": "VERSION|WARN|INFO|TRACE",
        "NCCL_DEBUG_SUBSYS": r"\^?[A-Z,]{1,128}",
        "NCCL_IB_DISABLE": "0|1",
        "NCCL_IB_GID_INDEX": _NUMBER,
        "NCCL_IB_HCA": _INTERFACES,
        "NCCL_IB_TIMEOUT": _COUNT,
        "NCCL_MAX_NCHANNELS": _COUNT,
        "NCCL_MIN_NCHANNELS": _COUNT,
        "NCCL_NET": "IB|Socket",
        "NCCL_NTHREADS": _COUNT,
        "NCCL_NVLS_ENABLE": "[0-2]",
        "NCCL_P2P_DISABLE": "0|1",
        "NCCL_P2P_LEVEL": "LOC|NVL|PIX|PXB|PXN|PHB|SYS|[0-5]",
        "NCCL_PROTO": r"\^?[A-Za-z0-9,;:]{1,64}",
        "NCCL_SHM_DISABLE": "0|1",
        "NCCL_SOCKET_FAMILY": "AF_INET|AF_INET6",
        "NCCL_SOCKET_IFNAME": _INTERFACES,
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": "[0-3]",
        "TORCH_NCCL_BLOCKING_WAIT": "0|1",
        # PyTorch, CUDA and ROCm.
        "CUDA_DEVICE_MAX_CONNECTIONS": "[0-9]{1,2}",
        "CUDA_DEVICE_ORDER": "FASTEST_FIRST|PCI_BUS_ID",
        "CUDA_LAUNCH_BLOCKING": "0|1",
        "CUDA_MODULE_LOADING": "LAZY|EAGER|DEFAULT",
        "HIP_FORCE_DEV_KERNARG": "0|1",
        "HSA_NO_SCRATCH_RECLAIM": "0|1",
        "NVIDIA_TF32_OVERRIDE": "0|1",
        "PYTORCH_ALLOC_CONF": f"{_ALLOCATOR}(,{_ALLOCATOR}){{0,3}}",
        "PYTORCH_CUDA_ALLOC_CONF": f"{_ALLOCATOR}(,{_ALLOCATOR}){{0,3}}",
        "PYTORCH_HIP_ALLOC_CONF": f"{_ALLOCATOR}(,{_ALLOCATOR}){{0,3}}",
        "TORCHDYNAMO_DISABLE": "0|1",
        "TORCHINDUCTOR_COMPILE_THREADS": "[0-9]{1,3}",
        "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "0|1",
        "TORCH_CPP_LOG_LEVEL": "INFO|WARNING|ERROR|FATAL",
        "TORCH_SHOW_CPP_STACKTRACES": "0|1",
        # Threads and memory of the host.
        "GOMP_SPINCOUNT": _COUNT,
        "KMP_BLOCKTIME": "infinite|[0-9]{1,9}",
        "MALLOC_ARENA_MAX": "[0-9]{1,4}",
        "MALLOC_TRIM_THRESHOLD_": _COUNT,
        "MKL_NUM_THREADS": "[0-9]{1,4}",
        "NUMEXPR_MAX_THREADS": "[0-9]{1,4}",
        "NUMEXPR_NUM_THREADS": "[0-9]{1,4}",
        "OMP_NUM_THREADS": "[0-9]{1,4}(,[0-9]{1,4}){0,3}",
        "OMP_PLACES": "threads|cores|sockets|ll_caches|numa_domains",
        "OMP_PROC_BIND": "true|false|master|primary|close|spread",
        "OMP_WAIT_POLICY": "ACTIVE|PASSIVE|active|passive",
        "OPENBLAS_NUM_THREADS": "[0-9]{1,4}",
        "RAYON_NUM_THREADS": "[0-9]{1,4}",
        "TOKENIZERS_PARALLELISM": "true|false",
        # Language, time and Python. None names a file: a time zone with a slash at its beginning would.
        "LANG": _LOCALE,
        "LC_ALL": _LOCALE,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONFAULTHANDLER": "1",
        "PYTHONHASHSEED": "random|[0-9]{1,10}",
        "PYTHONNOUSERSITE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "0|1",
        "TZ": "[A-Za-z][A-Za-z0-9+-]{0,31}(/[A-Za-z0-9_+-]{1,32}){0,2}",
        # No network access, including libraries below vLLM.
        "HF_DATASETS_OFFLINE": "1",
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
        "TRANSFORMERS_OFFLINE": "1",
    }
)
"""The variables that a version may set: the name and the values."""

RESERVED_ENVIRONMENT: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(
            ("CUDA_VISIBLE_DEVICES", "VLLM_ALLOW_LONG_MAX_MODEL_LEN", "VLLM_MLA_DISABLE", "VLLM_CPU_KVCACHE_SPACE"),
            _OTHER_MEMORY,
        ),
        **dict.fromkeys(("ADDITIONAL_ARGS", "VLLM_ADDITIONAL_ARGS", "MODEL_ID", "VLLM_USE_MODELSCOPE"), _OTHER_BYTES),
        **dict.fromkeys(
            (
                "BASH_ENV",
                "CC",
                "CXX",
                "ENV",
                "GCONV",
                "HOME",
                "IFS",
                "NCCL_RAS",
                "PATH",
                "SHELL",
                "TRITON_INTERPRET",
                "VLLM_ALLOW_INSECURE_SERIALIZATION",
                "VLLM_TARGET_DEVICE",
                "VLLM_TRACE_FUNCTION",
                "VLLM_USE_PRECOMPILED",
            ),
            _OTHER_CODE,
        ),
        **dict.fromkeys(("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "VLLM_SERVER_DEV_MODE"), _OTHER_DOORS),
        **dict.fromkeys(("RES_OPTIONS", "LOCALDOMAIN", "HOSTALIASES"), _OTHER_SERVER),
    }
)
"""Variables that no registry adds, and why. Names in HARMLESS_ENVIRONMENT are exceptions."""

RESERVED_PREFIXES: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("AWS_", "AZURE_", "GOOGLE_", "S3_", "RUNAI_", "BOTO_"), _OTHER_SERVER),
        **dict.fromkeys(
            ("HF_", "HUGGING", "MODELSCOPE_", "STORAGE_", "TRANSFORMERS_", "VLLM_LORA_", "VLLM_TEST_"), _OTHER_BYTES
        ),
        **dict.fromkeys(
            (
                "BASH_",
                "CUDA_INJECTION",
                "COMPILER_",
                "DYLD_",
                "GCC_",
                "GIT_",
                "GLIBC_",
                "LD_",
                "MALLOC_CONF",
                "NVIDIA_",
                "NVCC_",
                "NVTX_",
                "OPENSSL_",
                "PERL",
                "PIP_",
                "PYTHON",
                "RAY_",
                "SSL_",
                "TORCH_LOGS",
                "TORCH_EXTENSIONS",
                "TORCHINDUCTOR_",
                "TRITON_",
                "UV_",
                "VLLM_DP_",
                "XDG_",
            ),
            _OTHER_CODE,
        ),
    }
)
"""Beginnings of variables that no registry adds, and why."""

RESERVED_SUFFIXES: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("_API_KEY", "_KEY", "_PASSWORD", "_SECRET", "_TOKEN"), _SECRET),
        **dict.fromkeys(
            ("_ADDR", "_ADDRESS", "_ENDPOINT", "_HOST", "_IP", "_PROXY", "_SERVER", "_URI", "_URL"), _OTHER_SERVER
        ),
        **dict.fromkeys(
            (
                "_BIN",
                "_BUNDLE",
                "_CACHE",
                "_CLASS",
                "_CLS",
                "_CMD",
                "_COMMAND",
                "_CONFIGURATOR",
                "_DISTRO",
                "_CONF",
                "_CONFIG",
                "_DIR",
                "_ENTRYPOINT",
                "_EXEC",
                "_EXTENSION",
                "_FILE",
                "_FILES",
                "_FOLDER",
                "_HOME",
                "_HOOK",
                "_HOOKS",
                "_LIB",
                "_LIBRARY",
                "_LIBS",
                "_MODULE",
                "_MODULES",
                "_PATH",
                "_PATHS",
                "_PLUGIN",
                "_PLUGINS",
                "_PRELOAD",
                "_ROOT",
                "_SCRIPT",
                "_SO",
            ),
            _OTHER_CODE,
        ),
    }
)
"""Ends of variables that no registry adds, and why: they name files, libraries, servers or secrets."""


_LONGEST_SHOWN: Final = 200


def admitted_environment(added: Iterable[str]) -> dict[str, str]:
    """The variables that the gate admits for model servers, sorted: the name, and the pattern of the whole value.

    An entry of ``added`` is ``NAME``, for any plain value, or ``NAME=value`` for that value only. A registry adds
    neither a value to a name of the list nor a reserved name.
    """
    return dict(sorted({**_added(added), **HARMLESS_ENVIRONMENT, **TEMPLATE_ENVIRONMENT}.items()))


def _added(added: Iterable[str]) -> dict[str, str]:
    values: defaultdict[str, set[str]] = defaultdict(set)
    for entry in added:
        name, given, value = entry.partition("=")
        if reserved_variable(name) is None:
            values[name].add(re.escape(value) if given else PLAIN_VALUE)
    return {name: PLAIN_VALUE if PLAIN_VALUE in found else "|".join(sorted(found)) for name, found in values.items()}


def reserved_variable(name: str) -> str | None:
    """Why no registry may add the variable; None when it may."""
    if name in RESERVED_ENVIRONMENT:
        return RESERVED_ENVIRONMENT[name]
    beginnings = (why for prefix, why in RESERVED_PREFIXES.items() if name.startswith(prefix))
    ends = (why for suffix, why in RESERVED_SUFFIXES.items() if name.endswith(suffix) or f"{suffix}_" in name)
    return next(chain(beginnings, ends), None)


def check_variable(name: str, value: str, *, admitted: Mapping[str, str], named: Collection[str] = ()) -> None:
    """Raises ReservedEnvironment where a version must not set the variable to the value.

    ``admitted`` is of ``admitted_environment``; ``named`` are variables that are set already.
    """
    pattern = admitted.get(name)
    if pattern is not None and name not in TEMPLATE_ENVIRONMENT and re.fullmatch(pattern, value) and name not in named:
        return
    remedy = f"remove {name} from spec.serving.env"
    if name in TEMPLATE_ENVIRONMENT:
        why, expected = "Gatehouse and KServe set it", f"no {name}"
    elif name in named:
        why, expected = "it is set twice", "each variable once"
    elif pattern is not None:
        why = f"its value {_shown(value)} is not an allowed value"
        expected = f"a value that matches ^({pattern})$"
        remedy = f"give {name} such a value, or remove it from spec.serving.env"
    elif (reserved := reserved_variable(name)) is not None:
        why, expected = reserved, f"an environment without {name}"
    else:
        why = "it is not on the list of allowed variables"
        expected = "variables that spec.environment of the VettedArtifacts lists"
        remedy += f", or ask for {name} in spec.serving.allowedEnvironment of the ModelRegistry"
    raise ReservedEnvironment(
        Finding(reason="ReservedEnvironment", found=f"serving.env has {name}: {why}", expected=expected, remedy=remedy)
    )


def _shown(value: str) -> str:
    return repr(value if len(value) <= _LONGEST_SHOWN else f"{value[:_LONGEST_SHOWN]}...")
