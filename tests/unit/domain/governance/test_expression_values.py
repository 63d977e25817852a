"""Whatever the facts hold, expressions can look at it: one value of a strange type must not make each rule fail."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import worlds
from gatehouse.api import ModelEvaluation, ModelVersion, RegisteredModel
from gatehouse.domain.artifact.model_config import ModelConfig, Quantization, RopeScaling
from gatehouse.domain.artifact.values import ArtifactRecord, ArtifactSummary
from gatehouse.domain.governance.cel import VARIABLES, CompiledExpression, compile_expression
from gatehouse.domain.governance.expression_values import expression_values, plain
from gatehouse.domain.hardware.fit import Fit, fit
from policies import evaluation

TEXT = st.text(max_size=12)
HUGE = st.integers(min_value=-(2**70), max_value=2**70)
SCALARS = (
    st.none()
    | st.booleans()
    | HUGE
    | st.floats()
    | st.text(alphabet=st.characters(codec=None, exclude_categories=()), max_size=8)
    | st.binary(max_size=8)
    | st.datetimes(timezones=st.none() | st.just(UTC) | st.just(timezone(timedelta(hours=14))))
    | st.dates()
    | st.timedeltas()
    | st.decimals()
    | st.uuids()
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
        | st.frozensets(st.text(max_size=3) | st.integers(), max_size=3)
    ),
    max_leaves=12,
)


def looks_at(values: Mapping[str, Any], name: str) -> str | None:
    """What goes wrong when a rule reads a variable; None when nothing does."""
    compiled = compile_expression(f"type({name}) == type({name})")
    assert isinstance(compiled, CompiledExpression)
    judgement = compiled.judge(values)
    return None if judgement.holds else judgement.error or "the rule is not true"


@given(ANYTHING)
def test_the_runtime_takes_whatever_a_fact_may_hold(value: Any) -> None:
    values = {name: plain({"value": value}) for name in VARIABLES if name != "stage"} | {"stage": "staging"}

    assert [looks_at(values, name) for name in VARIABLES] == [None] * len(VARIABLES)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (datetime(2026, 11, 21, 12, tzinfo=UTC), "2026-11-21T12:00:00Z"),
        (datetime(2026, 11, 21, 12, tzinfo=timezone(timedelta(hours=2))), "2026-11-21T10:00:00Z"),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2))), "0001-01-01T00:00:00+02:00"),
        (2**63 - 1, 2**63 - 1),
        (2**63, float(2**63)),
        (10**400, float("inf")),
        (("a", {"b": (1,)}), ["a", {"b": [1]}]),
        ({"b", "a"}, ["a", "b"]),
        (Decimal("1.5"), "1.5"),
    ],
)
def test_how_values_are_shown_to_rules(value: Any, shown: Any) -> None:
    assert plain(value) == shown


def metric(name: str, value: Decimal) -> dict[str, str]:
    return {"name": name, "value": f"{value:f}"}


EVALUATIONS = st.lists(
    st.builds(
        lambda kind, version, metrics, at: evaluation(
            kind=kind,
            dataset={"name": "arc"} | ({"version": version} if version else {}),
            evaluatedAt=at,
            metrics=[metric(name, value) for name, value in metrics.items()],
        ),
        st.sampled_from(["Task", "Bias", "Safety", "Robustness"]),
        st.none() | st.text(min_size=1, max_size=5),
        st.dictionaries(
            st.text(min_size=1, max_size=5), st.decimals("-1000", "1000", places=3), min_size=1, max_size=3
        ),
        st.sampled_from(["2026-11-01T00:00:00Z", "2026-11-01T00:00:00+02:00", "2026-11-01T00:00:00.123456Z"]),
    ),
    max_size=3,
)
VERSIONS = st.builds(
    lambda labels, metrics, properties, lineage: worlds.version(
        metadata={"labels": labels, "creationTimestamp": "2026-11-01T00:00:00Z"},
        metrics=metrics,
        customProperties=properties,
        lineage=lineage,
        submittedBy="carol",
    ),
    st.dictionaries(TEXT, TEXT, max_size=2),
    st.dictionaries(TEXT, st.floats(), max_size=2),
    st.dictionaries(TEXT, TEXT, max_size=2),
    st.fixed_dictionaries({}, optional={"baseModel": TEXT, "trainingData": st.lists(TEXT, max_size=2)}),
)
MODELS = st.builds(
    lambda tags, owners, tasks: worlds.model(tags=tags, owners=owners, tasks=tasks),
    st.dictionaries(TEXT, TEXT, max_size=2),
    st.lists(st.text(min_size=1, max_size=5), max_size=2),
    st.lists(st.text(min_size=1, max_size=5), max_size=2),
)
CONFIGS = st.none() | st.builds(
    ModelConfig,
    num_hidden_layers=st.none() | st.integers(1, 100),
    layer_types=st.dictionaries(TEXT, st.integers(0, 2**70), max_size=2),
    rope_scaling=st.none() | st.builds(RopeScaling, kind=st.none() | TEXT, factor=st.none() | st.floats()),
    quantization=st.none() | st.builds(Quantization, method=st.none() | TEXT),
)
SUMMARIES = st.none() | st.builds(
    ArtifactSummary,
    format=st.just("safetensors"),
    files=st.integers(0, 100),
    total_bytes=HUGE,
    parameters=st.none() | HUGE,
    weights_bytes=st.none() | st.integers(1, 2**50),
    dtypes=st.dictionaries(TEXT, HUGE, max_size=2),
    config=CONFIGS,
    unsafe_files=st.lists(TEXT, max_size=2).map(tuple),
    notes=st.lists(TEXT, max_size=2).map(tuple),
)


@given(VERSIONS, MODELS, SUMMARIES, EVALUATIONS)
def test_rules_can_look_at_every_fact(
    version: ModelVersion, model: RegisteredModel, summary: ArtifactSummary | None, evaluations: list[ModelEvaluation]
) -> None:
    artifact: ArtifactRecord = worlds.record(summary=summary)
    found: Fit | None = None
    if summary is not None and summary.config is None:
        found = fit(summary, worlds.profile().spec, requested_max_model_len=None)
    values = expression_values(version=version, model=model, artifact=artifact, fit=found, evaluations=evaluations)

    assert [looks_at({**values, "stage": "staging"}, name) for name in VARIABLES] == [None] * len(VARIABLES)


@given(TEXT, TEXT)
@example("MIT\0 with exceptions", "MIT")
@example("\0", "")
def test_a_rule_compares_whole_texts(found: str, wanted: str) -> None:
    version = worlds.version(customProperties={found: found})
    values = expression_values(
        version=version, model=worlds.model(), artifact=worlds.record(summary=None), fit=None, evaluations=[]
    )
    for expression in ("version.customProperties.exists(k, k == stage)", "stage in version.customProperties"):
        compiled = compile_expression(expression)
        assert isinstance(compiled, CompiledExpression)
        assert compiled.judge({**values, "stage": plain(wanted)}).holds == (plain(found) == plain(wanted))


def test_the_age_of_an_evaluation_can_be_asked_for() -> None:
    compiled = compile_expression("evaluations.exists(e, timestamp(e.evaluatedAt) > timestamp('2026-11-01T00:00:00Z'))")
    assert isinstance(compiled, CompiledExpression)
    values = expression_values(
        version=worlds.version(), model=worlds.model(), artifact=worlds.record(), fit=None, evaluations=[evaluation()]
    )

    assert compiled.judge({**values, "stage": "staging"}).holds
