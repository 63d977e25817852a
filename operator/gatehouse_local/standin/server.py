"""The stand-in's server: the OpenAI API as vLLM answers it, and what it loaded."""

from __future__ import annotations

import json
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Final

from gatehouse_local.standin.arguments import Arguments, parse_arguments
from gatehouse_local.standin.behaviour import Behaviour, FailingShare, WrongSetting, behaviour_of, changed
from gatehouse_local.standin.metrics import VllmMetrics
from gatehouse_local.standin.weights import LoadedModel, NotWhole, load_model

__all__ = ["BEHAVIOUR_PATH", "LOADED_PATH", "StandIn", "main", "serve"]

VERSION: Final = "0.30.0"
"""The release of vLLM whose answers it imitates."""
LOADED_PATH: Final = "/gatehouse/standin"
BEHAVIOUR_PATH: Final = "/gatehouse/standin/behaviour"
"""Takes another behaviour, from loopback only: whoever may run commands in the Pod, or forward its port."""
_LARGEST_BODY: Final = 4 << 20
_MOST_TOKENS: Final = 16
_LOOPBACK: Final = "127.0.0.1"
_GRACE_SECONDS: Final = 20.0
_COMPLETIONS: Final = {"/v1/chat/completions": "chat.completion", "/v1/completions": "text_completion"}

JsonObject = dict[str, Any]


class RequestRefused(Exception):
    """A request that is answered with an error, in OpenAI's form."""

    def __init__(self, status: HTTPStatus, kind: str, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": status.value}}


def _bad(message: str) -> RequestRefused:
    return RequestRefused(HTTPStatus.BAD_REQUEST, "BadRequestError", message)


class StandIn:
    """A loaded model, how it behaves, and the figures of its engine. Several threads use it."""

    def __init__(self, arguments: Arguments, *, loaded: LoadedModel, behaviour: Behaviour) -> None:
        self.arguments = arguments
        self.loaded = loaded
        self.behaviour = behaviour
        self.failing = FailingShare()
        self.metrics = VllmMetrics(model_name=arguments.served_names[0])
        self.started = int(time.time())

    def report(self) -> JsonObject:
        """What it loaded and how it behaves."""
        return {**asdict(self.loaded), "behaviour": asdict(self.behaviour)}

    def models(self) -> JsonObject:
        """The list of models: each served name."""
        return {
            "object": "list",
            "data": [
                {
                    "id": name,
                    "object": "model",
                    "created": self.started,
                    "owned_by": "vllm",
                    "root": str(self.arguments.model),
                    "parent": None,
                    "max_model_len": self.arguments.max_model_len,
                }
                for name in self.arguments.served_names
            ],
        }

    def check_name(self, request: Mapping[str, Any]) -> str:
        """The name of the model that a request asks for; the first where it names none, as vLLM has it.

        Raises:
            RequestRefused: another model is served here.
        """
        name = request.get("model") or self.arguments.served_names[0]
        if name not in self.arguments.served_names:
            message = f"The model `{name}` does not exist."
            raise RequestRefused(HTTPStatus.NOT_FOUND, "NotFoundError", message, param="model")
        return str(name)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    standin: ClassVar[StandIn]
    # One packet for an answer: Nagle's algorithm would hold up its second part.
    wbufsize = 1 << 16
    disable_nagle_algorithm = True
    timeout = 120

    def do_GET(self) -> None:
        standin = self.standin
        match self.path.partition("?")[0]:
            case "/health" | "/ping":
                ready = standin.behaviour.ready
                self._send(HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE, b"", "text/plain")
            case "/version":
                self._json(HTTPStatus.OK, {"version": VERSION})
            case "/v1/models":
                self._json(HTTPStatus.OK, standin.models())
            case "/metrics":
                self._send(HTTPStatus.OK, standin.metrics.render().encode(), "text/plain; version=0.0.4; charset=utf-8")
            case path if path == LOADED_PATH:
                self._json(HTTPStatus.OK, standin.report())
            case _:
                self._json(HTTPStatus.NOT_FOUND, {"detail": "Not Found"})

    def do_POST(self) -> None:
        path = self.path.partition("?")[0]
        try:
            request = self._request()
            if path in _COMPLETIONS:
                self._complete(request, chat=path == "/v1/chat/completions")
            elif path == BEHAVIOUR_PATH and self.client_address[0] == _LOOPBACK:
                self.standin.behaviour = changed(self.standin.behaviour, request)
                self._json(HTTPStatus.OK, self.standin.report())
            else:
                self._json(HTTPStatus.NOT_FOUND, {"detail": "Not Found"})
        except RequestRefused as refused:
            self._json(refused.status, refused.body)
        except (ValueError, WrongSetting) as error:
            self._json(HTTPStatus.BAD_REQUEST, _bad(str(error)).body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the signature is the library's
        """Logs nothing: tests send ten thousand requests."""

    def _request(self) -> JsonObject:
        length = int(self.headers.get("Content-Length", ""))
        if not 0 < length <= _LARGEST_BODY:
            self.close_connection = True
            raise _bad(f"the body has {length} bytes, not 1 to {_LARGEST_BODY}")
        request = json.loads(self.rfile.read(length))
        if not isinstance(request, dict):
            raise _bad("the body is no JSON object")
        return request

    def _complete(self, request: JsonObject, *, chat: bool) -> None:
        standin, behaviour = self.standin, self.standin.behaviour
        name = standin.check_name(request)
        given = (request.get("max_completion_tokens"), request.get("max_tokens"), _MOST_TOKENS)
        most = next(each for each in given if each is not None)
        if not isinstance(most, int) or most < 1:
            raise _bad(f"max_tokens must be at least 1, got {most!r}")
        began = time.monotonic()
        standin.metrics.started()
        reason, first, produced = "abort", None, 0
        prompt = len(json.dumps(request.get("messages" if chat else "prompt", "")).split())
        try:
            time.sleep(behaviour.first_token_seconds)
            if standin.failing.next(behaviour.fail_share):
                reason = "error"
                message = "The stand-in fails as it was told to."
                raise RequestRefused(HTTPStatus.INTERNAL_SERVER_ERROR, "InternalServerError", message)
            first = time.monotonic() - began
            ends = "stop" if most >= _MOST_TOKENS else "length"
            words = [f"word{number} " for number in range(min(most, _MOST_TOKENS))]
            answer = _Answer(self, name=name, chat=chat, stream=request.get("stream") is True)
            answer.begin()
            for word in words:
                if produced:
                    time.sleep(behaviour.token_seconds)
                answer.add(word)
                produced += 1
            answer.end(ends, prompt_tokens=prompt)
            reason = ends
        finally:
            took = time.monotonic() - began
            timings = {"e2e_request_latency_seconds": took, "request_queue_time_seconds": 0.0}
            if first is not None:
                each = (took - first) / max(produced - 1, 1)
                timings |= {
                    "time_to_first_token_seconds": first,
                    "inter_token_latency_seconds": each,
                    "time_per_output_token_seconds": each,
                }
            standin.metrics.finished(reason, prompt_tokens=prompt, generation_tokens=produced, timings=timings)

    def _json(self, status: HTTPStatus, value: object) -> None:
        self._send(status, json.dumps(value).encode(), "application/json")

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def begin_events(self) -> None:
        """The head of an answer of unknown length."""
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()

    def send_event(self, text: str) -> None:
        """One server-sent event; an empty one ends the answer."""
        data = f"data: {text}\n\n".encode() if text else b""
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def send_json(self, value: object) -> None:
        """A whole answer."""
        self._json(HTTPStatus.OK, value)


class _Answer:
    """One answer, streamed or whole."""

    def __init__(self, handler: _Handler, *, name: str, chat: bool, stream: bool) -> None:
        self._handler = handler
        self._chat = chat
        self._stream = stream
        self._words: list[str] = []
        self._head = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{time.monotonic_ns():x}",
            "object": ("chat.completion.chunk" if stream else "chat.completion") if chat else "text_completion",
            "created": int(time.time()),
            "model": name,
            # Which bytes answered: a client that counts needs no second request.
            "system_fingerprint": handler.standin.loaded.digest,
        }

    def begin(self) -> None:
        if self._stream:
            self._handler.begin_events()
            if self._chat:
                self._event({"delta": {"role": "assistant", "content": ""}})

    def add(self, word: str) -> None:
        self._words.append(word)
        if self._stream:
            self._event({"delta": {"content": word}} if self._chat else {"text": word})

    def end(self, reason: str, *, prompt_tokens: int) -> None:
        if self._stream:
            self._event({**({"delta": {}} if self._chat else {"text": ""}), "finish_reason": reason})
            self._handler.send_event("[DONE]")
            self._handler.send_event("")
            return
        text = "".join(self._words)
        said = {"message": {"role": "assistant", "content": text}} if self._chat else {"text": text}
        produced = len(self._words)
        usage = {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": produced,
            "total_tokens": prompt_tokens + produced,
        }
        choice = {"index": 0, **said, "logprobs": None, "finish_reason": reason}
        self._handler.send_json({**self._head, "choices": [choice], "usage": usage})

    def _event(self, choice: JsonObject) -> None:
        choice = {"index": 0, "logprobs": None, "finish_reason": None, **choice}
        self._handler.send_event(json.dumps({**self._head, "choices": [choice]}))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def server_bind(self) -> None:
        """Binds without the look-up of the machine's name that the library does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])


def serve(standin: StandIn) -> ThreadingHTTPServer:
    """A server that listens; the caller runs and closes it."""
    handler = type("Handler", (_Handler,), {"standin": standin})
    return _Server((standin.arguments.host, standin.arguments.port), handler)


def main(argv: Sequence[str] | None = None) -> int:
    """Loads the model and serves it until SIGTERM. As vLLM, it then takes no connection and ends what it began."""
    arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
    try:
        standin = StandIn(arguments, loaded=load_model(arguments.model), behaviour=behaviour_of(arguments.model))
    except (NotWhole, WrongSetting) as error:
        print(f"ValueError: {arguments.model} cannot be loaded: {error}", file=sys.stderr)
        return 1
    print(f"serving {', '.join(arguments.served_names)}: {standin.loaded.digest}", flush=True)
    server = serve(standin)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ended.wait()
    server.shutdown()
    server.socket.close()
    standin.metrics.wait_idle(seconds=_GRACE_SECONDS)
    return 0
