"""The placeholders of a query, as an attacker would use them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.domain.deployment.queries import AnalysisSubject, filled, pods_of

SUBJECT = AnalysisSubject(namespace="chatbots", service="chat-12345678", stable_service="chat", served_name="g/3.1")


def test_each_placeholder_is_replaced() -> None:
    query = "{{namespace}}|{{ pods }}|{{stablePods}}|{{servedName}}|[{{window}}]|{{namespace}}"
    assert filled(query, SUBJECT, window="2m") == (
        "chatbots|chat-12345678-predictor-[a-z0-9]+(-[a-z0-9]+)?|chat-predictor-[a-z0-9]+(-[a-z0-9]+)?|g/3.1|[2m]|chatbots"
    )


@pytest.mark.parametrize(
    "query", ["{{pod}}", "{{Pods}}", "{{}}", "{{ }}", "{{pods", "{{{pods}}}", "{{a b}}", "{{pods|x}}"]
)
def test_an_unknown_placeholder_is_named(query: str) -> None:
    with pytest.raises(ValueError, match=r"expected one of \{\{namespace\}\}, \{\{pods\}\}") as caught:
        filled(f"up{query}", SUBJECT, window="2m")
    assert "{{" in str(caught.value)


@pytest.mark.parametrize("served", ['x"', "x'", "x`", "x\\", "x\n", "x{", "x}", "é", "x y", "x,y"])
def test_a_value_that_could_end_a_string_is_refused(served: str) -> None:
    subject = AnalysisSubject(namespace="a", service="b", stable_service=None, served_name=served)
    with pytest.raises(ValueError, match="could end a string of PromQL"):
        filled('up{a="{{servedName}}"}', subject, window="2m")


def test_a_value_is_not_read_for_placeholders() -> None:
    subject = AnalysisSubject(namespace="a", service="b", stable_service=None, served_name="c")
    assert filled("{{stablePods}}", subject, window="1m") == "-"


NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,46}[a-z0-9])?", fullmatch=True)
HASHES = st.from_regex(r"[a-z0-9]{8,10}", fullmatch=True)
ENDS = st.from_regex(r"[a-z0-9]{5}", fullmatch=True)


def pod_name(service: str, hash_: str, end: str) -> str:
    """The name of a Pod of a Deployment, as Kubernetes makes it."""
    return f"{service}-predictor-{hash_}-"[:58] + end


@given(NAMES, HASHES, ENDS)
def test_the_expression_matches_the_pods_of_the_service(service: str, hash_: str, end: str) -> None:
    assert re.fullmatch(pods_of(service), pod_name(service, hash_, end))


@given(NAMES, NAMES, HASHES, ENDS)
def test_the_expression_matches_no_pod_of_another_service(service: str, other: str, hash_: str, end: str) -> None:
    for name in {other, f"{service}-{other}", f"{service}-predictor-{other}", f"{service}-12345678"} - {service}:
        if len(name) <= 36 and len(service) <= 36:
            assert not re.fullmatch(pods_of(service), pod_name(name, hash_, end))
