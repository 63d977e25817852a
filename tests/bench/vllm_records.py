"""Runs inside a virtual environment with vLLM: what vLLM itself computes for configurations, without a GPU.

``VENV/bin/python vllm_records.py < requests.jsonl > records.jsonl``. A request is ``{"name", "config", "tp"}``, where
``config`` is a config.json; a record is ``{"name", "vllm", "tp", "limit", "chunk", "weights", "cache", "block"}`` as in
``tests/unit/domain/hardware/vllm/runs.jsonl``, or ``{"name", "vllm", "tp", "error"}``.

vLLM's engine arguments, model classes and KV cache specifications are its own. Model classes are built on PyTorch's
``meta`` device, so that they take no memory. Faked are the GPU (an H100 of 80 GB), the library of its driver, so that
vLLM's compiled modules load, and the process groups of tensor parallelism, of which nothing is asked but their sizes.

This file imports nothing of Gatehouse, as that is not in the environment. Written against 0.33.0.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

MEMORY: Final = 81_008 * 2**20
"""What torch reports of an H100 of 80 GB."""
NAME: Final = "NVIDIA H100 80GB HBM3"
CAPABILITY: Final = (9, 0)
_REFUSALS: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
_LENGTHS: Final = (1, 16, 256, 2048, 4096, 8192, 16384, 32768, 65536, 131072)
_LONGEST_ERROR: Final = 200


def fake_driver(folder: Path) -> None:
    """Loads an empty library under the name of NVIDIA's, which vLLM's compiled modules are linked with.

    Raises OSError where there is no C compiler.
    """
    with contextlib.suppress(OSError):
        ctypes.CDLL("libcuda.so.1")
        return
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise OSError("neither libcuda.so.1 nor a C compiler is there")
    source, library = folder / "empty.c", folder / "libcuda.so.1"
    source.write_text("")
    command = [compiler, "-shared", "-o", str(library), "-Wl,-soname,libcuda.so.1", str(source)]
    subprocess.run(command, check=True, capture_output=True)
    # Symbols that nobody calls need not be there.
    sys.setdlopenflags(os.RTLD_LAZY)
    ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)


class _Idle:
    """A stream or an event of a GPU, on which nothing is ever run."""

    def __init__(self, *_: Any, **__: Any) -> None: ...


def fake_gpu() -> None:
    """Has vLLM see one H100, whatever the machine has."""
    # Kernels that are never run have to be defined all the same: without a driver vLLM would leave Triton out.
    triton = importlib.import_module("triton.backends")
    triton.backends["nvidia"].driver.is_active = staticmethod(lambda: True)
    target = importlib.import_module("triton.backends.compiler").GPUTarget(
        "cuda", 10 * CAPABILITY[0] + CAPABILITY[1], 32
    )
    importlib.import_module("triton.runtime").driver.set_active(
        SimpleNamespace(
            get_current_target=lambda: target, get_current_device=lambda: 0, get_current_stream=lambda *_: 0
        )
    )
    platforms = importlib.import_module("vllm.platforms")
    interface = importlib.import_module("vllm.platforms.interface")
    cuda = importlib.import_module("vllm.platforms.cuda")
    capability = interface.DeviceCapability(*CAPABILITY)

    class FakedPlatform(cuda.NonNvmlCudaPlatform):
        """The methods that would ask the GPU."""

        @classmethod
        def get_device_capability(cls, *_: Any, **__: Any) -> Any:
            return capability

        @classmethod
        def has_device_capability(cls, needed: Any, *_: Any, **__: Any) -> bool:
            number = needed if isinstance(needed, int) else 10 * needed[0] + needed[1]
            return bool(10 * CAPABILITY[0] + CAPABILITY[1] >= number)

        @classmethod
        def get_device_name(cls, *_: Any, **__: Any) -> str:
            return NAME

        @classmethod
        def get_device_total_memory(cls, *_: Any, **__: Any) -> int:
            return MEMORY

        @classmethod
        def device_count(cls) -> int:
            return 16

        @classmethod
        def num_compute_units(cls, *_: Any, **__: Any) -> int:
            return 132

        @classmethod
        def is_pin_memory_available(cls) -> bool:
            return False

    platforms._current_platform = FakedPlatform()
    platforms.current_platform = platforms._current_platform
    # Classes are looked at in this process: another one would have no faked GPU, and takes a minute to start.
    registry = importlib.import_module("vllm.model_executor.models.registry")
    registry._run_in_subprocess = lambda asked: asked()
    torch = importlib.import_module("torch")
    torch.cuda.get_device_capability = lambda *_: CAPABILITY
    torch.cuda.get_device_name = lambda *_: NAME
    torch.cuda.device_count = lambda: 16
    torch.cuda.current_device = lambda: 0
    torch.cuda._lazy_init = lambda: None
    torch.cuda.Stream, torch.cuda.Event = type("Stream", (_Idle,), {}), type("Event", (_Idle,), {})
    torch.cuda.mem_get_info = lambda *_: (MEMORY, MEMORY)
    torch.cuda.get_device_properties = lambda *_: SimpleNamespace(
        name=NAME,
        total_memory=MEMORY,
        major=CAPABILITY[0],
        minor=CAPABILITY[1],
        multi_processor_count=132,
        warp_size=32,
        shared_memory_per_block_optin=232_448,
    )


class _Group(SimpleNamespace):
    """A process group of which only the sizes are asked."""

    def __init__(self, size: int) -> None:
        processes = SimpleNamespace(size=lambda: size, rank=lambda: 0)
        super().__init__(
            world_size=size,
            rank=0,
            rank_in_group=0,
            local_rank=0,
            ranks=list(range(size)),
            first_rank=0,
            last_rank=size - 1,
            is_first_rank=True,
            is_last_rank=True,
            unique_name="faked",
            device_communicator=None,
            cpu_group=processes,
            device_group=processes,
            mq_broadcaster=None,
            use_custom_op_call=False,
        )


def fake_groups(size: int) -> None:
    """Has vLLM believe that the model is split over ``size`` accelerators, of which this is the first."""
    state = importlib.import_module("vllm.distributed.parallel_state")
    for name in ("_WORLD", "_TP", "_EP", "_ETP"):
        if hasattr(state, name):
            setattr(state, name, _Group(size))
    for name in ("_PP", "_DP", "_DCP", "_PCP", "_INNER_DP_WORLD"):
        if hasattr(state, name):
            setattr(state, name, _Group(1))


def record(name: str, config: Mapping[str, Any], size: int, version: str) -> dict[str, Any]:
    """What vLLM computes, or why it does not."""
    known = {"name": name, "vllm": version, "tp": size}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        try:
            return known | _computed(folder, size)
        # Whatever a release raises is what it says of the configuration: the record has it.
        except _REFUSALS as error:
            traceback.print_exc()
            return known | {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"[:_LONGEST_ERROR]}


def _computed(folder: str, size: int) -> dict[str, Any]:
    torch = importlib.import_module("torch")
    arguments = importlib.import_module("vllm.engine.arg_utils")
    usage = importlib.import_module("vllm.usage.usage_lib")
    loaders = importlib.import_module("vllm.model_executor.model_loader.utils")
    settings = importlib.import_module("vllm.config")
    fake_groups(size)
    engine = arguments.EngineArgs(
        model=folder,
        tokenizer=folder,
        skip_tokenizer_init=True,
        load_format="dummy",
        tensor_parallel_size=size,
        distributed_executor_backend="mp" if size > 1 else None,
        trust_remote_code=False,
    )
    config = engine.create_engine_config(usage_context=usage.UsageContext.OPENAI_API_SERVER)
    dtype = config.model_config.dtype
    with settings.set_current_vllm_config(config), _default_dtype(torch, dtype), torch.device("meta"), _no_gpu(torch):
        model = loaders.initialize_model(config)
        weights = sum(_unique(model.parameters()))
        layers = _layers(config)
        found = {
            "limit": config.model_config.max_model_len,
            "chunk": config.scheduler_config.max_num_batched_tokens,
            "weights": weights,
            "cache": _cache(config, layers),
            "block": config.cache_config.block_size,
        }
    del model
    gc.collect()
    return found


def _unique(parameters: Any) -> Iterator[int]:
    """Bytes of each parameter, of one that is used twice once."""
    seen: set[int] = set()
    for each in parameters:
        if id(each) not in seen:
            seen.add(id(each))
            yield each.numel() * each.element_size()


def _no_gpu(torch: Any) -> Any:
    """What a class makes on the GPU is made on ``meta`` too."""

    class OnMeta(torch.overrides.TorchFunctionMode):
        """Replaces the device in every call of PyTorch."""

        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            named = {key: _without_gpu(torch, value) for key, value in (kwargs or {}).items()}
            if type(named.get("device")) is int:  # torch.cuda.current_device()
                named["device"] = torch.device("meta")
            if function is torch.Tensor.item and args[0].is_meta:  # a factor inside a layer
                return 0.0
            if function is torch.linspace:  # rates of something left out at random, which are read at once
                named.setdefault("device", "cpu")
            return function(*(_without_gpu(torch, value) for value in args), **named)

    return OnMeta()


def _without_gpu(torch: Any, value: Any) -> Any:
    on_gpu = isinstance(value, str | torch.device) and str(value).partition(":")[0] == "cuda"
    return torch.device("meta") if on_gpu else value


@contextlib.contextmanager
def _default_dtype(torch: Any, dtype: Any) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _layers(config: Any) -> dict[str, Any]:
    """KV cache specifications by layer, as GPUModelRunner.get_kv_cache_spec collects them."""
    runner = importlib.import_module("vllm.v1.worker.gpu_model_runner")
    platforms = importlib.import_module("vllm.platforms")
    platforms.current_platform.update_block_size_for_backend(config)
    own = SimpleNamespace(vllm_config=config, shared_kv_cache_layers={})
    return dict(runner.GPUModelRunner.get_kv_cache_spec(own))


def _cache(config: Any, layers: dict[str, Any]) -> dict[str, int]:
    """Bytes that one sequence of so many tokens needs, with the block that 0.33 never gives out.

    The steps are those of ``EngineCore._initialize_kv_caches``.
    """
    planning = importlib.import_module("vllm.v1.core.kv_cache_planning")
    builders = importlib.import_module("vllm.v1.core.kv_cache_config_builder")
    managers = importlib.import_module("vllm.v1.core.single_type_kv_cache_manager")
    backends = importlib.import_module("vllm.v1.attention.backends.utils")
    limit = config.model_config.max_model_len
    lengths = [*(each for each in _LENGTHS if each < limit), limit]
    if not layers:
        return {str(length): 0 for length in lengths}
    managers.register_all_kvcache_specs(config)
    transfer = importlib.import_module("vllm.distributed.kv_transfer.kv_connector.utils")
    used = transfer.get_current_attn_backends(config)
    layouts = [layout.name for layout in backends.get_supported_kv_cache_layouts(used)]
    backends.resolve_kv_cache_layout(config, [layouts], list(layers.values()))
    builder = builders.get_kv_cache_config_builder(config)
    groups = planning.get_global_kv_cache_groups(config, [layers])
    unused = planning._pool_bytes_per_block_from_builder(builder, config, groups)
    found = {}
    for length in lengths:
        config.model_config.max_model_len = length
        found[str(length)] = planning._max_memory_usage_bytes_from_groups(builder, config, groups) + unused
    config.model_config.max_model_len = limit
    return found


def main() -> int:
    """Answers each line of stdin with one of stdout; what vLLM logs goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    os.environ |= {"HF_HUB_OFFLINE": "1", "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        fake_driver(Path(folder))
        fake_gpu()
        version = importlib.import_module("vllm").__version__
        for line in sys.stdin:
            asked = json.loads(line)
            answers.write(json.dumps(record(asked["name"], asked["config"], asked["tp"], version)) + "\n")
            answers.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
