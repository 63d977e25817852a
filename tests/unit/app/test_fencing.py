"""Who lost the Lease changes nothing after the new holder, in whatever order they renew, are stopped, send and arrive.

Leadership, the client, the writer and the keeper are the real ones; the API server is a map with resourceVersions, and
the network keeps a request for as long as it likes, also one that nobody waits for any more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.aio.client.configuration import Configuration

from gatehouse.api.meta import ANNOTATION_WRITER
from gatehouse.cluster.client import ApiClient
from gatehouse.cluster.errors import FAILED_TEST, FENCING
from gatehouse.cluster.writer import KubernetesWriter
from gatehouse.controllers.lookup import Objects
from gatehouse.controllers.vetted_artifacts import EVERY, VettedArtifactsKeeper
from gatehouse.domain.common.revision import Revision
from gatehouse.runtime.leader import Leader
from gatehouse.runtime.lease import LeaderOptions
from runtime.fakes import FakeClock, FakeLease, settle
from unit.controllers.keeping import LIMIT, STAGES, URIS, World, admitted

NAMES: Final = ("one", "two", "three")
VETTED: Final = frozenset((stage, uri) for stage in STAGES for uri in URIS[:3])
LESS: Final = frozenset({(STAGES[0], URIS[0])})


@dataclass
class Request:
    """One request on its way to the API server; ``answer`` is where somebody waits for it, or does no more."""

    who: str
    method: str
    name: str
    body: Any
    answer: asyncio.Future[tuple[int, Any]]


@dataclass
class Server:
    """The API server: VettedArtifacts, the Lease, and who leads as far as its admission has heard."""

    clock: FakeClock
    admission_hears: bool
    lease: FakeLease = field(default_factory=FakeLease)
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    version: int = 0
    flying: list[Request] = field(default_factory=list)
    sent: list[tuple[str, str]] = field(default_factory=list)
    accepted: list[tuple[str, str, str]] = field(default_factory=list)
    astray: list[str] = field(default_factory=list)
    """Who sent something while another held the Lease."""

    @property
    def holder(self) -> str:
        return self.lease.record.holder if self.lease.record else ""

    def arrive(self, request: Request) -> None:
        """What becomes of it, whether or not anybody still waits."""
        answer = self._handle(request)
        if not request.answer.done():
            request.answer.set_result(answer)

    def _handle(self, request: Request) -> tuple[int, Any]:
        there = self.objects.get(request.name)
        made = self._made(request, there)
        if isinstance(made, tuple):
            return made
        writer = (made or there or {})["metadata"]["annotations"].get(ANNOTATION_WRITER, "")
        if self.admission_hears and writer != self.holder:
            return 403, {"reason": "Forbidden", "message": f"{FENCING}: {self.holder} leads"}
        self.accepted.append((request.who, request.method, request.name))
        if made is None:
            del self.objects[request.name]
            return 200, {}
        self.version += 1
        made["metadata"] |= {"resourceVersion": str(self.version)}
        self.objects[request.name] = made
        return 200, {"metadata": made["metadata"]}

    def _made(self, request: Request, there: dict[str, Any] | None) -> dict[str, Any] | tuple[int, Any] | None:
        """The object as it would be, None for one that would be gone, or the refusal."""
        conflict = 409, {"reason": "Conflict", "message": "changed"}
        body = request.body
        if request.method == "POST":
            if there is not None:
                return conflict
            return {**body, "metadata": {**body["metadata"], "uid": f"u-{self.version}"}}
        if there is None:
            return 404, {"reason": "NotFound", "message": "gone"}
        metadata = there["metadata"]
        if request.method == "DELETE":
            wanted = body["preconditions"]
            return None if wanted.items() <= metadata.items() else conflict
        if isinstance(body, list):
            tests = {each["path"].rpartition("/")[2]: each["value"] for each in body if each["op"] == "test"}
            if not tests.items() <= metadata.items():
                return 422, {"reason": "Invalid", "message": FAILED_TEST}
            [writer] = [each["value"] for each in body if each["path"].startswith("/metadata/annotations/")]
            [spec] = [each["value"] for each in body if each["path"] == "/spec"]
            return {"metadata": {**metadata, "annotations": {ANNOTATION_WRITER: writer}}, "spec": spec}
        given = {name: body["metadata"][name] for name in ("uid", "resourceVersion")}
        if not given.items() <= metadata.items():
            return conflict
        return {**there, "metadata": {**metadata, "annotations": body["metadata"]["annotations"]}}


@dataclass
class Answer:
    status: int
    payload: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    async def read(self) -> bytes:
        return self.payload


@dataclass
class Session:
    """The connections of one process. Reads are answered at once."""

    server: Server
    who: str
    waiting: Request | None = None

    @contextlib.asynccontextmanager
    async def request(
        self,
        method: str,
        url: str,
        *,
        data: bytes | None,
        params: Mapping[str, str] | None,
        timeout: Any,  # noqa: ASYNC109 - as aiohttp has it
        **_: Any,
    ) -> AsyncIterator[Answer]:
        if method == "GET":
            items = [{"metadata": each["metadata"], "spec": each["spec"]} for each in self.server.objects.values()]
            yield Answer(200, orjson.dumps({"metadata": {}, "items": items}))
            return
        if self.server.holder != self.who:
            self.server.astray.append(self.who)
        assert params is not None
        assert 0 < timeout.total <= LeaderOptions().renew_deadline
        assert params["timeout"] == f"{timeout.total:.3f}s"
        body = orjson.loads(data or b"null")
        name = body["metadata"]["name"] if method == "POST" else url.rpartition("/")[2]
        sent = Request(self.who, method, name, body, asyncio.get_running_loop().create_future())
        self.server.sent.append((self.who, name))
        self.server.flying.append(sent)
        self.waiting = sent
        status, answer = await sent.answer
        yield Answer(status, orjson.dumps(answer))


@dataclass
class Gate(Configuration):
    """Where a process is stopped: before its last look at the clock."""

    opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def auth_settings(self) -> dict[str, Any]:  # type: ignore[override]
        await self.opened.wait()
        self.opened.clear()
        return {}


class Process(World):
    """One operator: its cache, and what it believes to be cleared."""

    def __init__(self, server: Server, who: str) -> None:
        super().__init__(vetted=VETTED)
        self.server, self.name = server, who
        self.leader = Leader(
            client=server.lease, identity=who, clock=server.clock, wall=lambda: self.now_, draw=lambda: 1.0
        )
        self.gate = Gate()
        self.session = Session(server, who)
        client = ApiClient.__new__(ApiClient)
        vars(client).update(_configuration=self.gate, _base="", _observe=None, _session=self.session, fence=None)
        writer = KubernetesWriter(client.fenced(self.leader), written=self._written, name=who)
        self.keeper = VettedArtifactsKeeper(
            objects=Objects(self),  # type: ignore[arg-type]
            writer=writer,
            clock=self,
            limit=LIMIT,
            term=self.leader,
        )
        self.work: asyncio.Task[Any] | None = None
        self.led = self.listed = False

    async def renew(self) -> None:
        """Renews, or takes what is free; whoever led and does no more has ended."""
        if self.led and not self.leader.leads:
            return
        await self.leader._attempt(5.0)
        self.led = self.led or self.leader.leads

    def start(self) -> None:
        """A pass of the keeper, if none is under way. The first one begins with a list."""
        if not self.led or (self.work is not None and not self.work.done()):
            return
        if not self.listed:
            self.hear()
            self.listed = True
        self.work = asyncio.ensure_future(self.keeper("", EVERY))

    def hear(self) -> None:
        self.cached = {name: body["spec"] for name, body in self.server.objects.items()}
        self.heard = {name: Revision.of(body["metadata"]) for name, body in self.server.objects.items()}

    def give_up(self) -> None:
        """The request is on its way still."""
        sent = self.session.waiting
        if sent is not None and not sent.answer.done():
            sent.answer.set_exception(TimeoutError())

    def _written(self, _kind: str, body: Mapping[str, Any]) -> None:
        name = body["metadata"]["name"]
        self.cached[name], self.heard[name] = body["spec"], Revision.of(body["metadata"])

    async def go_on(self) -> None:
        """Every step up to the end of the pass, with a network that is quick."""
        while self.work is not None and not self.work.done():
            self.gate.opened.set()
            await settle()
            for sent in [each for each in self.server.flying if each.who == self.name]:
                self.server.flying.remove(sent)
                self.server.arrive(sent)
            await settle()

    async def bring(self) -> None:
        """A whole pass."""
        self.start()
        await self.go_on()
        assert self.work is not None
        self.work.result()

    async def end(self) -> None:
        if self.work is not None:
            self.work.cancel()
            await asyncio.gather(self.work, return_exceptions=True)


@dataclass
class Cluster:
    server: Server
    processes: tuple[Process, ...]

    async def end(self) -> None:
        for each in self.processes:
            await each.end()


def make_cluster(*, admission_hears: bool) -> Cluster:
    server = Server(FakeClock(), admission_hears)
    return Cluster(server, tuple(Process(server, name) for name in NAMES))


def steps_of(*processes: int) -> st.SearchStrategy[tuple[str, int]]:
    words = ["renew", "pass", "step", "step", "send", "send", "give up", "hear", "finish", "finish"]
    return st.one_of(
        st.tuples(st.sampled_from(words), st.sampled_from(processes)),
        st.tuples(st.just("arrive"), st.integers(0, 5)),
        st.tuples(st.just("facts"), st.sampled_from([fact * 3 + process for process in processes for fact in (0, 1)])),
    )


OF_THE_OLD: Final = st.lists(steps_of(0), max_size=10)
OF_BOTH: Final = st.lists(steps_of(0, 1), max_size=15)
OF_ALL: Final = st.lists(
    st.one_of(steps_of(0, 1, 2), st.tuples(st.just("wait"), st.sampled_from([1, 3, 8, 12]))), max_size=20
)
TAKEN_OVER: Final = [("renew", 1), ("wait", 11), ("renew", 1)]
FACTS: Final = (frozenset[tuple[str, str]](), LESS)


async def play(cluster: Cluster, steps: Sequence[tuple[str, int]]) -> None:
    for word, number in steps:
        if word == "wait":
            await cluster.server.clock.run(number)
        elif word == "arrive":
            if flying := cluster.server.flying:
                cluster.server.arrive(flying.pop(number % len(flying)))
        elif word == "facts":
            cluster.processes[number % 3].vetted = FACTS[number // 3]
        else:
            await do(cluster.processes[number], word)
        await settle()


async def do(process: Process, word: str) -> None:
    match word:
        case "renew":
            await process.renew()
        case "pass":
            process.start()
        case "step":
            process.gate.opened.set()
        case "give up":
            process.give_up()
        case "hear" if process.listed:
            process.hear()
        case "send":
            process.start()
            process.gate.opened.set()
        case "finish":
            process.start()
            await process.go_on()


@given(before=OF_THE_OLD, taken=OF_BOTH, then=OF_ALL, admission_hears=st.booleans())
def test_no_write_of_an_old_holder_is_accepted_after_one_of_the_new_holder(
    before: list[tuple[str, int]], taken: list[tuple[str, int]], then: list[tuple[str, int]], admission_hears: bool
) -> None:
    """Each object by itself; and none at all where admission has heard of the new holder."""

    async def run() -> None:
        cluster = make_cluster(admission_hears=admission_hears)
        # So that there is something to be late with.
        await cluster.processes[0].renew()
        await cluster.processes[0].bring()
        await play(cluster, [*before, *TAKEN_OVER, *taken, *then])
        for sent in cluster.server.flying:
            cluster.server.arrive(sent)
        assert cluster.server.astray == []
        terms = list(dict.fromkeys(each.holder for each in cluster.server.lease.writes))
        accepted = cluster.server.accepted
        for number, (who, _, name) in enumerate(accepted):
            for later, method, same in accepted[number + 1 :]:
                if admission_hears or (same == name and method != "POST"):
                    assert terms.index(later) >= terms.index(who), accepted
        await cluster.end()

    asyncio.run(run())


async def take_over(cluster: Cluster) -> tuple[Process, Process]:
    """The first has written; now it is stopped, and the second leads."""
    old, new, _ = cluster.processes
    await old.renew()
    await old.bring()
    assert admitted({name: body["spec"] for name, body in cluster.server.objects.items()}) == old.vetted
    return old, new


async def lead(cluster: Cluster, new: Process) -> None:
    await new.renew()
    await cluster.server.clock.run(LeaderOptions().duration + 1)
    await new.renew()
    assert new.leader.leads
    assert new.leader.took_over


async def test_one_that_is_stopped_between_computing_and_sending_sends_nothing() -> None:
    cluster = make_cluster(admission_hears=False)
    old, new = await take_over(cluster)
    old.vetted = LESS
    old.start()
    await settle()
    await lead(cluster, new)
    sent = len(cluster.server.sent)
    await old.go_on()
    assert old.work is not None
    assert old.work.result().retry
    assert len(cluster.server.sent) == sent
    await cluster.end()


@pytest.mark.parametrize("admission_hears", [True, False])
async def test_what_is_long_under_way_comes_too_late(admission_hears: bool) -> None:
    """Sent while the old one led. The new one has nothing to change, and marks everything all the same."""
    cluster = make_cluster(admission_hears=admission_hears)
    old, new = await take_over(cluster)
    old.vetted = LESS
    old.start()
    old.gate.opened.set()
    await settle()
    [late] = cluster.server.flying
    cluster.server.flying.clear()
    old.give_up()
    await lead(cluster, new)
    await new.bring()
    marked = [(who, method) for who, method, _ in cluster.server.accepted if who == "two"]
    assert marked == [("two", "PATCH")] * len(cluster.server.objects)
    before = dict(cluster.server.objects)
    cluster.server.arrive(late)
    assert cluster.server.objects == before
    assert admitted({name: body["spec"] for name, body in before.items()}) == VETTED
    await cluster.end()


async def test_a_lease_that_was_handed_over_costs_no_write() -> None:
    cluster = make_cluster(admission_hears=True)
    old, new = await take_over(cluster)
    accepted = len(cluster.server.accepted)
    await old.leader.release()
    await new.renew()
    assert new.leader.leads
    await new.bring()
    assert len(cluster.server.accepted) == accepted
    # What it changes later bears its name.
    new.vetted = LESS
    await new.bring()
    assert cluster.server.accepted[accepted:]
    assert {who for who, *_ in cluster.server.accepted[accepted:]} == {"two"}
    await cluster.end()


async def test_one_that_does_not_lead_yet_or_gave_the_lease_back_writes_nothing() -> None:
    cluster = make_cluster(admission_hears=False)
    old, _ = await take_over(cluster)
    await old.leader.release()
    old.vetted = frozenset()
    sent = len(cluster.server.sent)
    await old.bring()
    assert len(cluster.server.sent) == sent
    await cluster.end()
