"""Stores that speak S3 each in their own way, in one process: the reading store of the fault tests, and one that takes
uploads. What a dialect refuses or leaves out is said by a function of the request.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web

from cluster.faultstore import BUCKET, FaultStore

__all__ = ["Refuses", "UploadStore", "error"]

Refuses = Callable[[web.Request], web.Response | None]
"""The answer of a store that does not do what is asked; None where it does."""


def error(status: int, code: str, message: str = "", *, more: str = "", **headers: str) -> web.Response:
    """A refusal as S3 writes it. ``more`` is further elements; ``retry_after="3"`` is the header Retry-After."""
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>' if code else ""
    return web.Response(
        status=status,
        text=body,
        content_type="application/xml",
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


@dataclass
class UploadStore(FaultStore):
    """Takes objects whole and in parts. ``refuses`` is asked first; ``asked`` lists what came, in order."""

    refuses: Refuses = lambda _request: None
    asked: list[str] = field(default_factory=list)
    headers_seen: list[dict[str, str]] = field(default_factory=list)
    completions: list[str] = field(default_factory=list)
    _parts: dict[str, dict[int, bytes]] = field(default_factory=dict)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.asked.append(self._operation(request))
        self.headers_seen.append({name.lower(): value for name, value in request.headers.items()})
        refused = self.refuses(request)
        if refused is not None:
            return refused
        key = request.path.removeprefix(f"/{BUCKET}/")
        match self.asked[-1]:
            case "uploads":
                return self._xml("<ListMultipartUploadsResult></ListMultipartUploadsResult>")
            case "begin":
                self._parts["u1"] = {}
                return self._xml(
                    "<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>"
                )
            case "part":
                self._parts["u1"][int(request.query["partNumber"])] = body
                return web.Response(headers={"ETag": f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'})
            case "complete":
                self.completions.append(body.decode())
                self.objects[key] = b"".join(part for _, part in sorted(self._parts.pop("u1").items()))
                return self._xml("<CompleteMultipartUploadResult></CompleteMultipartUploadResult>")
            case "put":
                self.objects[key] = body
                return web.Response()
            case "copy":
                return self._xml(f"<CopyObjectResult><ETag>{self.etag(key)}</ETag></CopyObjectResult>")
        return await super().handle(request)

    @staticmethod
    def _operation(request: web.Request) -> str:
        if request.method == "POST":
            return "begin" if "uploads" in request.query else "complete"
        if request.method == "PUT":
            if "x-amz-copy-source" in request.headers:
                return "copy"
            return "part" if "partNumber" in request.query else "put"
        if "uploads" in request.query:
            return "uploads"
        return "head" if request.method == "HEAD" else ("list" if "prefix" in request.query else "read")

    @staticmethod
    def _xml(text: str) -> web.Response:
        return web.Response(text=f'<?xml version="1.0"?>{text}', content_type="application/xml")
