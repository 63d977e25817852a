"""Users of a MinIO: what is sent to its admin API, what each may do, and what its answers mean."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from minio.crypto import decrypt
from urllib3 import HTTPResponse, PoolManager
from urllib3.exceptions import NewConnectionError

from gatehouse.storage.s3.users import (
    StoreAdministrator,
    StoreUser,
    UsersNotReady,
    UsersRefused,
    ensure_users,
    policy_of,
)

ROOT = StoreAdministrator(url="http://minio.minio.svc:9000", name="gatehouse", secret_key="the-root-password")
READER = StoreUser(name="gatehouse-operator", secret_key="the-reader-s-key", access="read", bucket="models")
WRITER = StoreUser(name="gatehouse-uploader", secret_key="the-writer-s-key", access="write", bucket="models")


@dataclass(frozen=True, kw_only=True)
class Sent:
    method: str
    command: str
    query: dict[str, list[str]]
    body: bytes = field(repr=False)


class Server(PoolManager):
    """Stands where MinIO would: keeps what was sent, and answers alike."""

    def __init__(self, *, status: int = 200, body: bytes = b"", error: Exception | None = None) -> None:
        super().__init__()
        self.sent: list[Sent] = []
        self.hosts: set[str] = set()
        self._status, self._body, self._error = status, body, error

    def urlopen(self, method: str, url: str, redirect: bool = True, **kw: Any) -> Any:
        address = urlsplit(url)
        self.hosts.add(f"{address.scheme}://{address.netloc}")
        command = address.path.removeprefix("/minio/admin/v3/")
        self.sent.append(Sent(method=method, command=command, query=parse_qs(address.query), body=kw["body"] or b""))
        if self._error is not None:
            raise self._error
        return HTTPResponse(body=io.BytesIO(self._body), status=self._status, preload_content=True)


def opened(body: bytes) -> Any:
    """What MinIO reads of a body that was sealed with the administrator's password."""
    response = HTTPResponse(body=io.BytesIO(body), preload_content=False)
    return json.loads(decrypt(response, ROOT.secret_key))


def test_each_user_gets_its_policy_its_key_and_that_policy_alone_in_this_order() -> None:
    server = Server()
    ensure_users(ROOT, [READER, WRITER], http=server)
    assert [(each.method, each.command) for each in server.sent] == 2 * [
        ("PUT", "add-canned-policy"),
        ("PUT", "add-user"),
        ("PUT", "set-user-or-group-policy"),
    ]
    for user, (policy, made, bound) in zip((READER, WRITER), (server.sent[:3], server.sent[3:]), strict=True):
        assert policy.query == {"name": [user.name]}
        assert json.loads(policy.body) == policy_of(user)
        assert made.query == {"accessKey": [user.name]}
        assert opened(made.body) == {"status": "enabled", "secretKey": user.secret_key}
        assert bound.query == {"isGroup": ["false"], "policyName": [user.name], "userOrGroup": [user.name]}
    assert server.hosts == {"http://minio.minio.svc:9000"}


def test_no_key_is_sent_in_clear_or_shown() -> None:
    server = Server()
    ensure_users(ROOT, [READER, WRITER], http=server)
    for secret in (ROOT.secret_key, READER.secret_key, WRITER.secret_key):
        assert all(secret.encode() not in each.body and secret not in str(each.query) for each in server.sent)
        assert secret not in repr(ROOT) + repr(READER) + repr(WRITER)


def matching(user: StoreUser, effect: str, action: str, resource: str) -> bool:
    """Whether a statement of that effect is about it; one without resources is about all of them."""
    return any(
        any(fnmatchcase(action, pattern) for pattern in statement["Action"])
        and any(fnmatchcase(resource, pattern) for pattern in statement.get("Resource", ["*"]))
        for statement in policy_of(user)["Statement"]
        if statement["Effect"] == effect
    )


def allows(user: StoreUser, action: str, resource: str) -> bool:
    """As MinIO judges it: something allows it, and nothing denies it."""
    return matching(user, "Allow", action, resource) and not matching(user, "Deny", action, resource)


MODELS, OBJECT = "arn:aws:s3:::models", "arn:aws:s3:::models/granite/config.json"
READS = [
    ("s3:ListBucket", MODELS),
    ("s3:ListBucketVersions", MODELS),
    ("s3:GetBucketLocation", MODELS),
    ("s3:GetObject", OBJECT),
    ("s3:GetObjectVersion", OBJECT),
]
WRITES = [
    ("s3:PutObject", OBJECT),
    ("s3:DeleteObject", OBJECT),
    ("s3:AbortMultipartUpload", OBJECT),
    ("s3:ListMultipartUploadParts", OBJECT),
    ("s3:ListBucketMultipartUploads", MODELS),
]
NOBODYS = [
    ("s3:CreateBucket", MODELS),
    ("s3:DeleteBucket", MODELS),
    ("s3:PutBucketPolicy", MODELS),
    ("s3:PutBucketVersioning", MODELS),
    ("s3:PutLifecycleConfiguration", MODELS),
    ("s3:DeleteObjectVersion", OBJECT),
    ("s3:BypassGovernanceRetention", OBJECT),
    ("s3:GetObject", "arn:aws:s3:::another/granite/config.json"),
    ("s3:ListBucket", "arn:aws:s3:::another"),
    ("s3:ListBucket", "arn:aws:s3:::models-of-others"),
    ("admin:CreateUser", "*"),
]


@pytest.mark.parametrize(("action", "resource"), READS + WRITES + NOBODYS)
def test_a_reader_reads_a_writer_writes_and_nobody_does_more(action: str, resource: str) -> None:
    case = (action, resource)
    assert allows(READER, action, resource) == (case in READS)
    assert allows(WRITER, action, resource) == (case in READS + WRITES)


@pytest.mark.parametrize(
    "action", ["CreateUser", "CreateServiceAccount", "UpdateServiceAccount", "AttachUserOrGroupPolicy"]
)
def test_what_minio_lets_every_user_do_about_itself_is_denied(action: str) -> None:
    """It is allowed there unless a policy denies it."""
    for user in (READER, WRITER):
        assert matching(user, "Deny", f"admin:{action}", "*")
        assert not [case for case in READS + WRITES if matching(user, "Deny", *case)]


def test_no_policy_allows_more_than_one_bucket_or_a_pattern_of_actions() -> None:
    for user in (READER, WRITER):
        for statement in (each for each in policy_of(user)["Statement"] if each["Effect"] == "Allow"):
            assert not [action for action in statement["Action"] if "*" in action]
            assert [each.removesuffix("/*") for each in statement["Resource"]] == [MODELS]


@pytest.mark.parametrize(
    ("status", "body", "raised", "said"),
    [
        (
            403,
            b'{"Code": "SignatureDoesNotMatch", "Message": "x"}',
            UsersRefused,
            "HTTP 403 SignatureDoesNotMatch; the",
        ),
        (403, b"<Error/>", UsersRefused, "restart the store after a change"),
        (400, b'{"Code": "XMinioAdminInvalidSecretKey"}', UsersRefused, "HTTP 400 XMinioAdminInvalidSecretKey$"),
        (400, b'{"Code": "\\u001b[31m"}', UsersRefused, "HTTP 400$"),
        (307, b"", UsersRefused, "HTTP 307$"),
        (500, b"[]", UsersNotReady, "HTTP 500$"),
        (503, b'{"Code": "XMinioServerNotInitialized"}', UsersNotReady, "HTTP 503 XMinioServerNotInitialized$"),
        (429, b'{"Code": 7}', UsersNotReady, "HTTP 429$"),
    ],
)
def test_what_an_answer_means(status: int, body: bytes, raised: type[Exception], said: str) -> None:
    server = Server(status=status, body=body)
    with pytest.raises(raised, match=said) as refused:
        ensure_users(ROOT, [READER], http=server)
    assert "making user gatehouse-operator at http://minio.minio.svc:9000" in str(refused.value)
    assert len(server.sent) == 1, "what is refused goes no further"
    assert ROOT.secret_key not in str(refused.value)


def test_no_answer_is_not_ready() -> None:
    server = Server(error=NewConnectionError(None, "refused"))  # type: ignore[arg-type]  # the pool is not looked at
    with pytest.raises(UsersNotReady, match=r"no answer \(NewConnectionError\)$"):
        ensure_users(ROOT, [READER], http=server)
