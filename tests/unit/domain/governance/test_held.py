"""The submitter writes the model's tier, licence and labels; whatever is done to them, no policy is escaped."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import worlds
from gatehouse.api import ModelRegistry, RegisteredModel
from gatehouse.api.registered_model import RiskTier
from gatehouse.domain.governance.held import Held, held_under
from gatehouse.domain.governance.policy import CompiledPolicy, applying
from gatehouse.domain.version.decision_record import known_holding
from gatehouse.domain.version.lifecycle import Decision, decide
from gatehouse.domain.version.records import VersionRecord
from policies import approval, policy

LOW = policy("low", match={"riskTiers": ["Low"]})
HIGH = policy("high", match={"riskTiers": ["High"]}, approvals=[{"stage": "staging"}])
OPEN = policy("open", licenses=["MIT"])
CHAT = policy("chat", match={"modelSelector": {"matchLabels": {"kind": "chat"}}}, licenses=["None-Such"])
ALL = (LOW, HIGH, OPEN, CHAT)


def model(*, labels: dict[str, str] | None = None, **spec: Any) -> RegisteredModel:
    made = worlds.model(**({"license": "MIT"} | spec))
    return made.model_copy(update={"metadata": made.metadata.model_copy(update={"labels": labels or {}})})


@dataclass
class Story:
    """A version through changes of its model, as the operator sees them: the row is all that it remembers."""

    policies: tuple[CompiledPolicy, ...] = ALL
    registry: ModelRegistry = field(default_factory=worlds.registry)
    row: VersionRecord | None = None
    first: Held = field(default_factory=Held)

    def judged(self, under: RegisteredModel, **changes: Any) -> Decision:
        held = known_holding(self.row) or self.first
        found = applying(
            self.policies,
            under,
            {},
            tier=held_under(held, under, self.registry).risk_tier,
            held=held.names(self.policies),
        )
        decision = decide(
            worlds.facts(
                version=changes.pop("version", worlds.version(submittedBy="carol")),
                model=under,
                registry=self.registry,
                policies=found,
                policy_names=frozenset(each.name for each in self.policies),
                held=held,
                row=self.row,
                holder_exists=self.row is not None,
                **changes,
            )
        )
        assert decision.record is not None
        self.row = VersionRecord(
            **{name: getattr(decision.record, name) for name in VersionRecord.__dataclass_fields__}
            | {"id": 7, "model_id": 3}
        )
        return decision


def test_a_lowered_tier_changes_nothing_for_a_version_that_was_submitted_with_a_higher_one() -> None:
    story = Story()
    assert story.judged(model(riskTier="High")).phase == "Pending Review"
    lowered = story.judged(model(riskTier="Low"))

    assert (lowered.phase, lowered.reason) == ("Pending Review", "ApprovalOwed")
    assert set(lowered.outcomes) == {"high", "open"}
    # Approvals of the lower tier do not count either.
    assert story.judged(model(riskTier="Low"), approvals=(approval("bob", riskTier="Low"),)).phase == "Pending Review"
    assert story.judged(model(riskTier="Low"), approvals=(approval("bob", riskTier="High"),)).phase == "Ready to Deploy"


def test_nor_does_making_model_and_version_anew() -> None:
    story = Story()
    story.judged(model(riskTier="High"))
    again = worlds.version(metadata={"uid": "v-2"}, submittedBy="carol")

    assert story.judged(model(riskTier="Low"), version=again).phase == "Pending Review"


def test_a_draft_is_held_to_nothing_yet() -> None:
    story = Story()
    story.judged(model(riskTier="High"), version=worlds.version(state="Draft"))

    assert story.judged(model(riskTier="Low")).phase == "Ready to Deploy"


@pytest.mark.parametrize(
    ("named", "by", "counts"),
    [
        (None, None, "Medium"),
        ("Low", None, "Medium"),
        ("High", None, "High"),
        ("Low", "ai-admin", "Low"),
        ("High", "ai-admin", "High"),
    ],
)
def test_below_the_registrys_default_a_tier_counts_when_somebody_vouches(
    named: RiskTier | None, by: str | None, counts: RiskTier
) -> None:
    registry = worlds.registry(defaultRiskTier="Medium")
    by_itself = held_under(Held(), model(riskTier=named, classifiedBy=by), registry)

    assert by_itself.risk_tier == counts


def test_another_licence_does_not_replace_the_one_it_was_submitted_under_until_somebody_vouches() -> None:
    story = Story()
    assert story.judged(model(license="proprietary")).reason == "LicenseNotAllowed"
    renamed = story.judged(model(license="MIT"))

    assert renamed.reason == "LicenseNotAllowed"
    assert "proprietary, which the model named before" in renamed.message
    assert "classifiedBy" in renamed.message
    assert story.judged(model(license="MIT", riskTier="Low", classifiedBy="ai-admin")).phase == "Ready to Deploy"


def test_rules_are_asked_for_each_licence_and_see_the_tier_that_counts() -> None:
    rule = {"name": "r", "expression": "model.license == 'MIT' && model.riskTier == 'High'", "message": "m"}
    story = Story(policies=(policy("rules", rules=[rule]),))
    assert story.judged(model(riskTier="High")).phase == "Ready to Deploy"
    assert story.judged(model(riskTier="Low")).phase == "Ready to Deploy"
    assert story.judged(model(license="Apache-2.0")).reason == "RuleNotMet"
    assert story.judged(model(license="MIT")).reason == "RuleNotMet"


def test_a_label_that_is_changed_leaves_the_policy_that_selected_by_it() -> None:
    story = Story()
    assert story.judged(model(labels={"kind": "chat"})).reason == "LicenseNotAllowed"
    assert story.judged(model(labels={"kind": "other"})).outcomes["chat"] == "Denies"
    assert story.judged(model()).outcomes["chat"] == "Denies"


def test_whoever_keeps_a_policy_can_let_go_by_its_match() -> None:
    story = Story()
    story.judged(model(labels={"kind": "chat"}))
    story.policies = (LOW, policy("chat", match={"riskTiers": ["High"]}, licenses=["None-Such"]))

    assert "chat" not in story.judged(model()).outcomes


def test_a_new_version_starts_with_what_its_model_is_held_to() -> None:
    kept = held_under(Held(), model(riskTier="High"), worlds.registry()).under([CHAT])
    story = Story(first=Held.parse(kept.text()))

    assert set(story.judged(model(riskTier="Low")).outcomes) == {"chat", "high", "open"}


@pytest.mark.parametrize("spoiled", ['{"riskTier":"None"}', "[]", "nonsense", '{"riskTier":"Low","licenses":5}'])
def test_a_spoiled_memory_is_the_strictest(spoiled: str) -> None:
    assert Held.parse(spoiled).risk_tier == "High"


MODELS = st.builds(
    lambda tier, license_, kind: model(
        riskTier=tier, license=license_, labels={"kind": kind} if kind is not None else {}
    ),
    st.none() | st.sampled_from(["Low", "Medium", "High"]),
    st.none() | st.sampled_from(["MIT", "mit", "proprietary", "None-Such"]),
    st.none() | st.sampled_from(["chat", "other"]),
)


@given(st.lists(MODELS, min_size=1, max_size=5), st.booleans())
def test_no_way_of_changing_the_model_clears_what_one_of_its_states_would_not(
    states: list[RegisteredModel], approved: bool
) -> None:
    approvals = (approval("bob", riskTier="High"),) if approved else ()
    story = Story()
    decisions = [story.judged(each, approvals=approvals) for each in states]

    for each in states:
        # A licence that is named later than the version was submitted is no other licence.
        if each.spec.license is not None and decisions[-1].cleared_for:
            assert Story().judged(each, approvals=approvals).cleared_for
