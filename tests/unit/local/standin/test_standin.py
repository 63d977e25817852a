"""The stand-in for vLLM: what it loads and refuses, what it answers, and how it misbehaves when told to."""

from __future__ import annotations

import contextlib
import json
import struct
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from gatehouse.domain.artifact.manifest import ManifestEntry, digest
from gatehouse_local.miniature import miniature_granite
from gatehouse_local.standin.arguments import parse_arguments
from gatehouse_local.standin.behaviour import KEY, Behaviour, FailingShare, WrongSetting, behaviour_of, changed
from gatehouse_local.standin.metrics import VllmMetrics
from gatehouse_local.standin.server import BEHAVIOUR_PATH, LOADED_PATH, StandIn, main, serve
from gatehouse_local.standin.weights import INDEX, NotWhole, load_model

SHARD = "model-00001-of-00002.safetensors"
CHAT = {"model": "granite", "messages": [{"role": "user", "content": "Say one word"}]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in miniature_granite().items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


class Client:
    """One connection to a stand-in."""

    def __init__(self, standin: StandIn, port: int) -> None:
        self.standin = standin
        self._connection = HTTPConnection("127.0.0.1", port, timeout=10)

    def send(self, path: str, body: object = None, *, method: str = "") -> tuple[int, str]:
        content = None if body is None else json.dumps(body)
        self._connection.request(method or ("GET" if body is None else "POST"), path, content)
        answer = self._connection.getresponse()
        return answer.status, answer.read().decode()

    def json(self, path: str, body: object = None) -> tuple[int, Any]:
        status, text = self.send(path, body)
        return status, json.loads(text)

    def figure(self, name: str) -> float:
        [line] = [line for line in self.send("/metrics")[1].splitlines() if line.startswith(name)]
        return float(line.rpartition(" ")[2])

    def close(self) -> None:
        self._connection.close()


@contextlib.contextmanager
def running(folder: Path, *arguments: str, behaviour: Behaviour | None = None) -> Iterator[Client]:
    argv = ["--host=127.0.0.1", "--port=0", f"--model={folder}", "--served-model-name", "granite", "other", *arguments]
    standin = StandIn(parse_arguments(argv), loaded=load_model(folder), behaviour=behaviour or Behaviour())
    server = serve(standin)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    client = Client(standin, server.server_address[1])
    try:
        yield client
    finally:
        client.close()
        server.shutdown()
        server.server_close()
        thread.join()


# Loading


def test_it_reports_the_digest_of_gatehouses_manifest(folder: Path) -> None:
    loaded = load_model(folder)
    entries = [ManifestEntry(name, 0, sha256) for name, sha256 in loaded.files.items()]
    assert loaded.files.keys() == miniature_granite().keys()
    assert loaded.digest == digest(entries)


def test_a_manifest_beside_the_files_must_be_theirs(folder: Path) -> None:
    before = load_model(folder)
    lines = [f"{sha256}  {name}\n" for name, sha256 in sorted(before.files.items())]
    (folder / "gatehouse.manifest").write_text("".join(lines))
    (folder / "model.sig").write_text("{}")
    assert load_model(folder) == before
    (folder / "config.json").write_text("{}")
    with pytest.raises(NotWhole, match="other hashes"):
        load_model(folder)


def test_one_file_of_weights_needs_no_index(folder: Path) -> None:
    (folder / SHARD).rename(folder / "model.safetensors")
    (folder / "model-00002-of-00002.safetensors").unlink()
    (folder / INDEX).unlink()
    assert load_model(folder).tensors > 0


@pytest.mark.parametrize("name", [SHARD, INDEX, "config.json"])
def test_a_model_that_lacks_a_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(NotWhole):
        load_model(folder)


@pytest.mark.parametrize("keep", [0, 7, 8, 100, -1])
def test_a_shard_that_was_cut_off_is_refused(folder: Path, keep: int) -> None:
    content = (folder / SHARD).read_bytes()
    (folder / SHARD).write_bytes(content[:keep])
    with pytest.raises(NotWhole, match=SHARD):
        load_model(folder)


def safetensors(header: object, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    "content",
    [
        safetensors([]),
        safetensors({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 8]}}, bytes(8)),
        safetensors({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, bytes(8)),
        safetensors({"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
        safetensors({"a": {}}),
        safetensors({}, b"rest"),
        struct.pack("<Q", 1 << 60) + bytes(8),
    ],
)
def test_a_header_that_does_not_fit_is_refused(folder: Path, content: bytes) -> None:
    (folder / INDEX).unlink()
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(NotWhole, match=r"model\.safetensors"):
        load_model(folder)


@pytest.mark.parametrize(
    "weight_map", [{}, {"a": "../evil.safetensors"}, {"a": SHARD}, {"model.norm.weight": SHARD}, None]
)
def test_an_index_that_does_not_fit_is_refused(folder: Path, weight_map: object) -> None:
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(NotWhole):
        load_model(folder)


def test_a_model_that_is_not_whole_is_never_served(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / SHARD).write_bytes(b"")
    assert main([f"--model={folder}"]) == 1
    assert "cannot be loaded" in capsys.readouterr().err


# Arguments


def test_of_an_argument_that_is_there_twice_the_last_counts() -> None:
    argv = [
        *("--port=8080", "--model=/mnt/models", "--served-model-name=chat-1a2b3c4d", "--max-model-len=16384"),
        *("--gpu-memory-utilization=0.9", "--served-model-name=granite"),
    ]
    parsed = parse_arguments(argv)
    assert (parsed.port, parsed.served_names, parsed.max_model_len) == (8080, ("granite",), 16384)
    assert parse_arguments(["--model=/m"]).served_names == ("/m",)


# The API


def test_it_answers_like_vllm(folder: Path) -> None:
    with running(folder) as client:
        assert client.send("/health") == (200, "")
        assert client.json("/version")[1] == {"version": "0.30.0"}
        assert [each["id"] for each in client.json("/v1/models")[1]["data"]] == ["granite", "other"]
        status, answer = client.json("/v1/chat/completions", CHAT)
        assert (status, answer["object"], answer["model"]) == (200, "chat.completion", "granite")
        assert answer["choices"][0]["message"]["role"] == "assistant"
        assert answer["system_fingerprint"] == client.json(LOADED_PATH)[1]["digest"] == load_model(folder).digest
        status, answer = client.json("/v1/completions", {"model": "other", "prompt": "Say", "max_tokens": 2})
        assert (answer["choices"][0]["text"], answer["choices"][0]["finish_reason"]) == ("word0 word1 ", "length")
        assert answer["usage"]["completion_tokens"] == 2


def test_another_name_is_404_as_in_vllm(folder: Path) -> None:
    with running(folder) as client:
        status, answer = client.json("/v1/chat/completions", {**CHAT, "model": "llama"})
        assert (status, answer["error"]["type"]) == (404, "NotFoundError")
        assert answer["error"]["message"] == "The model `llama` does not exist."
        assert client.send("/v2/models")[0] == client.send("/v2/models", {})[0] == 404


@pytest.mark.parametrize("body", [[], {**CHAT, "max_tokens": 0}, {**CHAT, "max_tokens": "many"}])
def test_a_wrong_request_is_400(folder: Path, body: object) -> None:
    with running(folder) as client:
        assert client.send("/v1/chat/completions", body)[0] == 400


def test_a_stream_ends_with_done(folder: Path) -> None:
    with running(folder) as client:
        for path, body in (("chat/completions", CHAT), ("completions", {"model": "granite", "prompt": "Say"})):
            status, text = client.send(f"/v1/{path}", {**body, "stream": True, "max_tokens": 3})
            events = [line.removeprefix("data: ") for line in text.splitlines() if line]
            assert (status, events[-1]) == (200, "[DONE]")
            choices = [json.loads(event)["choices"][0] for event in events[:-1]]
            said = "".join(each.get("text") or each.get("delta", {}).get("content", "") for each in choices)
            assert (said, choices[-1]["finish_reason"]) == ("word0 word1 word2 ", "length")


# Metrics


def test_the_metrics_count_what_was_answered(folder: Path) -> None:
    with running(folder) as client:
        for most in (16, 16, 4):
            client.send("/v1/chat/completions", {**CHAT, "max_tokens": most})
        labels = 'engine="0",model_name="granite"'
        assert client.figure(f'vllm:request_success_total{{{labels},finished_reason="stop"}}') == 2
        assert client.figure(f'vllm:request_success_total{{{labels},finished_reason="length"}}') == 1
        assert client.figure(f"vllm:generation_tokens_total{{{labels}}}") == 36
        assert client.figure(f"vllm:num_requests_running{{{labels}}}") == 0
        for name in (
            "time_to_first_token_seconds",
            "inter_token_latency_seconds",
            "time_per_output_token_seconds",
            "e2e_request_latency_seconds",
            "request_queue_time_seconds",
        ):
            assert client.figure(f"vllm:{name}_count") == 3
            assert client.figure(f'vllm:{name}_bucket{{{labels},le="+Inf"}}') == 3
        text = client.send("/metrics")[1]
        for name in ("prompt_tokens_total", "num_preemptions_total", "num_requests_waiting", "kv_cache_usage_perc"):
            assert f"\nvllm:{name}{{" in text


def test_a_name_is_quoted_in_labels() -> None:
    assert 'model_name="a\\"b\\\\c"' in VllmMetrics(model_name='a"b\\c').render()


# Misbehaving


def test_a_file_of_the_model_makes_it_misbehave(folder: Path) -> None:
    assert behaviour_of(folder) == Behaviour()
    file = folder / "generation_config.json"
    file.write_text(json.dumps({"eos_token_id": 0, KEY: {"first_token_seconds": 3, "fail_share": 0.5}}))
    assert behaviour_of(folder) == Behaviour(first_token_seconds=3, fail_share=0.5)
    file.write_text("[]")
    with pytest.raises(WrongSetting):
        behaviour_of(folder)
    file.unlink()
    assert behaviour_of(folder) == Behaviour()


@pytest.mark.parametrize(
    "settings", [{"slow": 1}, {"ready": 1}, {"fail_share": True}, {"fail_share": 2}, {"token_seconds": "1"}, []]
)
def test_a_wrong_setting_is_refused(settings: object) -> None:
    with pytest.raises(WrongSetting):
        changed(Behaviour(), settings)


def test_it_fails_exactly_the_share_that_it_was_told(folder: Path) -> None:
    failing = FailingShare()
    assert sum(failing.next(0.3) for _ in range(1000)) == 300
    with running(folder, behaviour=Behaviour(fail_share=0.25)) as client:
        codes = [client.send("/v1/chat/completions", CHAT)[0] for _ in range(20)]
        assert (codes.count(200), codes.count(500)) == (15, 5)
        assert client.figure('vllm:request_success_total{engine="0",model_name="granite",finished_reason="error"}') == 5
        assert client.figure("vllm:time_to_first_token_seconds_count") == 15


def test_a_slow_first_token_is_what_the_metrics_say(folder: Path) -> None:
    with running(folder, behaviour=Behaviour(first_token_seconds=0.11)) as client:
        client.send("/v1/chat/completions", CHAT)
        labels = 'engine="0",model_name="granite"'
        assert client.figure(f'vllm:time_to_first_token_seconds_bucket{{{labels},le="0.1"}}') == 0
        assert client.figure(f'vllm:time_to_first_token_seconds_bucket{{{labels},le="+Inf"}}') == 1


def test_it_may_never_be_ready_and_be_told_so_from_loopback(folder: Path) -> None:
    with running(folder, behaviour=Behaviour(ready=False)) as client:
        assert client.send("/health")[0] == 503
        assert client.json(BEHAVIOUR_PATH, {"ready": True})[1]["behaviour"]["ready"] is True
        assert client.send("/health")[0] == 200
        assert client.send(BEHAVIOUR_PATH, {"nice": True})[0] == 400
