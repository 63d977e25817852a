from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from gatehouse.domain.common.format_error import FormatError
from gatehouse.domain.formats import onnx_graph as subject
from gatehouse.domain.formats.onnx_graph import (
    ELEMENT_BITS,
    ELEMENT_TYPES,
    MESSAGES,
    OnnxGraph,
    OnnxScan,
)
from gatehouse.domain.formats.parsers import DtypeTotal, Want
from modelfiles import outcome


def scan(model: bytes, *, wants: list[Want] | None = None, most: int = 1 << 30) -> OnnxGraph:
    walk = OnnxScan(len(model))
    step = walk.step()
    while isinstance(step, Want):
        assert step.length > 0
        assert step.offset + step.length <= len(model)
        if wants is not None:
            wants.append(step)
        step = walk.step(model[step.offset :][: min(step.length, most)])
    return step


def rule_of(model: bytes) -> str:
    error = outcome(scan, model)
    assert isinstance(error, FormatError)
    return error.finding.reason


def parsable(model: bytes) -> onnx.ModelProto | None:
    try:
        return onnx.load_model_from_string(model)
    except DecodeError:
        return None


def make(
    *, initializers: tuple[TensorProto, ...] = (), nodes: tuple[onnx.NodeProto, ...] = (), opset: int = 21
) -> onnx.ModelProto:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in "xy")
    graph = helper.make_graph([*nodes, helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y], list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("com.x", 1)])


def weights(name: str, *shape: int) -> TensorProto:
    return numpy_helper.from_array(np.ones(shape, np.float32), name)


def external(location: str, **entries: str) -> TensorProto:
    tensor = TensorProto(name="e", data_type=TensorProto.FLOAT16, dims=[4, 8], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def elements(graph: onnx.GraphProto | onnx.FunctionProto) -> Iterator[int]:
    """Of each weight, as ONNX's own classes show it."""
    if isinstance(graph, onnx.GraphProto):
        yield from (int(np.prod(tensor.dims, dtype=object)) for tensor in graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t") and node.op_type == "Constant" and node.domain in {"", "ai.onnx"}:
                yield int(np.prod(attribute.t.dims, dtype=object))
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from elements(inner)


def counted(model: onnx.ModelProto) -> int | None:
    found = [number for graph in (model.graph, *model.functions) for number in elements(graph)]
    return sum(found) if found else None


SMALL = make(
    initializers=(weights("w", 3, 5), numpy_helper.from_array(np.zeros(7, np.int64), "i")),
    nodes=(helper.make_node("Constant", [], ["c"], value=weights("c", 2, 2)),),
).SerializeToString()


def test_sums_of_a_model() -> None:
    graph = scan(SMALL)
    assert graph.ir_version == onnx.load_model_from_string(SMALL).ir_version
    assert graph.opsets == {"": 21, "com.x": 1}
    assert (graph.nodes, graph.parameters, graph.tensor_bytes) == (2, 26, 132)
    assert graph.dtypes == {"FLOAT": DtypeTotal(19, 76), "INT64": DtypeTotal(7, 56)}
    assert graph.external == {}


@pytest.mark.parametrize("number", [number for number, name in ELEMENT_TYPES.items() if name in ELEMENT_BITS])
def test_raw_data_has_the_length_that_onnx_writes(number: int) -> None:
    array = np.zeros(5, helper.tensor_dtype_to_np_dtype(number))
    tensor = numpy_helper.from_array(array, "t")
    assert tensor.data_type == number
    assert scan(make(initializers=(tensor,)).SerializeToString()).dtypes == {
        ELEMENT_TYPES[number]: DtypeTotal(5, len(tensor.raw_data))
    }
    tensor.raw_data += b"\0"
    assert rule_of(make(initializers=(tensor,)).SerializeToString()) == "TensorInvalid"


def test_nodes_of_nested_graphs_and_functions_count() -> None:
    inner = helper.make_graph([helper.make_node("Relu", ["x"], ["z"])], "inner", [], [])
    model = make(nodes=(helper.make_node("If", ["x"], ["z"], then_branch=inner, else_branch=inner),))
    body = [helper.make_node("Relu", ["a"], ["b"])]
    model.functions.append(helper.make_function("d", "f", ["a"], ["b"], body, [helper.make_opsetid("other", 9)]))
    graph = scan(model.SerializeToString())
    assert graph.nodes == 5
    assert "other" not in graph.opsets


def constant(*shape: int, **changes: str) -> onnx.NodeProto:
    return helper.make_node(changes.pop("op_type", "Constant"), [], ["c"], value=weights("c", *shape), **changes)


def branch(*nodes: onnx.NodeProto, initializers: tuple[TensorProto, ...] = ()) -> onnx.GraphProto:
    return helper.make_graph(list(nodes), "branch", [], [], list(initializers))


def if_(*branches: onnx.GraphProto) -> onnx.NodeProto:
    return helper.make_node("If", ["x"], ["z"], then_branch=branches[0], else_branch=branches[-1])


@pytest.mark.parametrize(
    ("nodes", "parameters"),
    [
        ((constant(2, 3),), 6),
        ((constant(2, 3, domain="ai.onnx"),), 6),
        ((constant(2, 3), constant(4)), 10),
        ((if_(branch(constant(5)), branch(constant(7))),), 12),
        ((if_(branch(if_(branch(constant(5)), branch())), branch(initializers=(weights("w", 3),))),), 8),
        ((helper.make_node("Loop", [], [], body=branch(constant(9))),), 9),
        # A value that a shape is filled with, and one of an operator that nobody knows, are no weights.
        ((constant(3), constant(1, op_type="ConstantOfShape")), 3),
        ((constant(3), constant(8, domain="com.x")), 3),
        ((constant(3), helper.make_node("Any", [], ["c"], domain="com.x", values=[weights("c", 8)])), 3),
        # Nothing tells how many there are.
        ((), None),
        ((constant(1, op_type="ConstantOfShape"),), None),
        (
            (constant(3), helper.make_node("LinearRegressor", ["x"], ["z"], domain="ai.onnx.ml", coefficients=[1.0])),
            None,
        ),
        (
            (if_(branch(helper.make_node("SVMRegressor", ["x"], ["z"], domain="ai.onnx.ml")), branch(constant(3))),),
            None,
        ),
    ],
)
def test_weights_in_constant_nodes_count_wherever_they_are(
    nodes: tuple[onnx.NodeProto, ...], parameters: int | None
) -> None:
    graph = scan(make(nodes=nodes).SerializeToString())
    assert graph.parameters == parameters
    assert graph.tensor_bytes == (None if parameters is None else parameters * 4)
    assert graph.dtypes == ({} if parameters is None else {"FLOAT": DtypeTotal(parameters, parameters * 4)})


def test_constants_of_functions_and_sparse_ones_count() -> None:
    model = make(
        nodes=(helper.make_node("f", ["x"], ["z"], domain="d"), helper.make_node("f", ["x"], ["z"], domain="d"))
    )
    model.functions.append(helper.make_function("d", "f", ["a"], ["b"], [constant(6)], [helper.make_opsetid("", 9)]))
    values = TensorProto(name="v", data_type=TensorProto.FLOAT16, dims=[4], raw_data=bytes(8))
    indices = TensorProto(name="i", data_type=TensorProto.INT64, dims=[4], raw_data=bytes(32))
    sparse = helper.make_node("Constant", [], ["s"], sparse_value=helper.make_sparse_tensor(values, indices, [100]))
    model.graph.node.append(sparse)
    assert scan(model.SerializeToString()).dtypes == {"FLOAT": DtypeTotal(6, 24), "FLOAT16": DtypeTotal(4, 8)}


def test_data_of_constants_may_lie_beside_the_model() -> None:
    node = helper.make_node("Constant", [], ["c"], value=external("w.bin"))
    graph = scan(make(nodes=(node,)).SerializeToString())
    assert (graph.parameters, graph.tensor_bytes, graph.external) == (32, 64, {"w.bin": 64})


def test_the_name_of_an_operator_may_follow_its_attributes() -> None:
    tensor = TensorProto(data_type=TensorProto.FLOAT, dims=[3, 5]).SerializeToString()
    attribute, name = field(5, field(5, tensor)), field(4, b"Constant")
    assert scan(whole(field(1, attribute + name))).parameters == 15
    # The last one holds, as for protobuf.
    assert scan(whole(field(1, name + attribute + field(4, b"Relu")))).parameters is None
    assert scan(whole(field(1, field(4, b"Relu") + attribute + name))).parameters == 15
    # Of two tensors as one protobuf would make a third.
    twice = field(5, field(5, tensor) + field(5, tensor))
    assert rule_of(whole(field(1, twice + name))) == "TensorInvalid"
    assert rule_of(whole(field(1, field(4, b"C" * 5000)))) == "WireInvalid"


NODES = st.recursive(
    st.builds(
        lambda op_type, domain, shape: constant(*shape, op_type=op_type, domain=domain),
        st.sampled_from(["Constant", "ConstantOfShape", "constant"]),
        st.sampled_from(["", "ai.onnx", "com.x"]),
        st.lists(st.integers(0, 3), max_size=3),
    ),
    lambda inner: st.builds(
        if_,
        *[
            st.builds(
                lambda nodes, shapes: branch(*nodes, initializers=tuple(weights("w", shape) for shape in shapes)),
                st.lists(inner, max_size=3),
                st.lists(st.integers(0, 4), max_size=2),
            )
        ]
        * 2,
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(
    nodes=st.lists(NODES, max_size=4), body=st.lists(NODES, max_size=2), shapes=st.lists(st.integers(0, 9), max_size=3)
)
def test_weights_are_those_that_onnx_shows(
    nodes: list[onnx.NodeProto], body: list[onnx.NodeProto], shapes: list[int]
) -> None:
    model = make(initializers=tuple(weights("w", shape) for shape in shapes), nodes=tuple(nodes))
    model.functions.append(helper.make_function("d", "f", ["a"], ["b"], body, [helper.make_opsetid("", 9)]))
    graph = scan(model.SerializeToString())
    assert graph.parameters == counted(model)
    assert graph.tensor_bytes == (None if graph.parameters is None else graph.parameters * 4)


def test_steps_over_large_data() -> None:
    model = make(initializers=tuple(weights(f"w{index}", 1000, 1000) for index in range(5))).SerializeToString()
    wants: list[Want] = []
    assert scan(model, wants=wants).parameters == 5_000_000
    assert len(wants) <= 6
    assert sum(want.length for want in wants) < 200_000


def test_many_small_tensors_are_read_straight_on() -> None:
    model = make(initializers=tuple(weights(f"w{index}", 1000) for index in range(1000))).SerializeToString()
    wants: list[Want] = []
    assert scan(model, wants=wants).parameters == 1_000_000
    assert len(wants) < 20
    assert sum(want.length for want in wants) <= len(model)


def test_the_data_of_constants_is_stepped_over_in_branches_too() -> None:
    inner = branch(*(constant(1000, 1000) for _ in range(3)))
    wants: list[Want] = []
    assert scan(make(nodes=(if_(inner, branch()),)).SerializeToString(), wants=wants).parameters == 3_000_000
    assert len(wants) <= 6
    assert sum(want.length for want in wants) < 200_000


def test_short_answers_are_asked_for_again() -> None:
    assert scan(SMALL, most=7) == scan(SMALL)


def answer_nothing() -> None:
    walk = OnnxScan(len(SMALL))
    walk.step()
    for _ in range(subject.MAX_REQUESTS + 1):
        walk.step(b"")


def test_no_answer_at_all_comes_to_an_end() -> None:
    with pytest.raises(FormatError, match="TooScattered"):
        answer_nothing()


def test_external_data() -> None:
    tensors = (external("w.bin", offset="4096", length="64"), external("w.bin"), external("more/v.bin"))
    graph = scan(make(initializers=tensors).SerializeToString())
    assert graph.external == {"w.bin": 4160, "more/v.bin": 64}
    assert (graph.parameters, graph.tensor_bytes) == (96, 192)


@pytest.mark.parametrize(
    ("tensor", "rule"),
    [
        (external("../w.bin"), "HostileName"),
        (external("/etc/passwd"), "HostileName"),
        (external("a\nb"), "HostileName"),
        (external(""), "HostileName"),
        (external("x" * 5000), "HostileName"),
        (external("w.bin", offset="-1"), "ExternalDataInvalid"),
        (external("w.bin", offset="9" * 20), "ExternalDataInvalid"),
        (external("w.bin", length="63"), "ExternalDataInvalid"),
        (TensorProto(name="t", data_type=1, dims=[-1]), "TensorInvalid"),
        (TensorProto(name="t", data_type=1, dims=[1 << 40, 1 << 40]), "TensorInvalid"),
        (TensorProto(name="t", data_type=99, dims=[1]), "TensorInvalid"),
        (TensorProto(name="t", data_type=0, dims=[1]), "TensorInvalid"),
        (TensorProto(name="t", data_type=1, dims=[2], raw_data=b"1234567"), "TensorInvalid"),
    ],
)
def test_refuses_a_bad_tensor(tensor: TensorProto, rule: str) -> None:
    assert rule_of(make(initializers=(tensor,)).SerializeToString()) == rule


def field(number: int, content: bytes) -> bytes:
    size, length = len(content), b""
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def whole(graph: bytes) -> bytes:
    return b"\x08\x08" + field(7, graph) + field(8, b"\x10\x15")


def nested(depth: int) -> bytes:
    graph = b""
    for _ in range(depth):
        graph = field(1, field(5, field(6, graph)))
    return whole(graph)


def test_packed_dimensions() -> None:
    model = whole(field(5, field(1, b"\x03\x80\x01") + b"\x10\x01"))
    expected = parsable(model)
    assert expected is not None
    assert list(expected.graph.initializer[0].dims) == [3, 128]
    assert scan(model).parameters == 384
    assert rule_of(whole(field(5, field(1, b"\x03\x80") + b"\x10\x01"))) == "WireInvalid"
    assert rule_of(whole(field(5, field(1, b"\x01" * 5000) + b"\x10\x01"))) == "WireInvalid"


def test_depth_is_that_of_protobuf() -> None:
    assert parsable(nested(33)) is not None
    assert scan(nested(33)).nodes == 33
    assert parsable(nested(34)) is None
    assert rule_of(nested(34)) == "TooDeep"


@pytest.mark.parametrize(
    ("model", "rule"),
    [
        (b"", "NoGraph"),
        (b"\x08\x08", "NoGraph"),
        (b"\x08\x08\x3a\x00", "NoGraph"),
        (b"\x00\x00", "WireInvalid"),
        (b"\x3a\x05\x00", "WireInvalid"),
        (b"\x0b", "WireInvalid"),
        (b"\x0f", "WireInvalid"),
        (b"\xff" * 30, "WireInvalid"),
        (b"<html>not a model</html>", "WireInvalid"),
    ],
)
def test_refuses_what_is_no_model(model: bytes, rule: str) -> None:
    assert rule_of(model) == rule


def test_refuses_more_than_protobuf_can_hold_without_reading() -> None:
    with pytest.raises(FormatError, match="ObjectTooLarge"):
        OnnxScan(1 << 31)


def test_agrees_with_onnx_on_every_truncation() -> None:
    whole_graph = scan(SMALL)
    for size in range(len(SMALL)):
        cut = SMALL[:size]
        graph = outcome(scan, cut)
        if parsable(cut) is None:
            assert isinstance(graph, FormatError)
            assert graph.finding.reason == "WireInvalid"
        elif isinstance(graph, FormatError):
            assert graph.finding.reason == "NoGraph"
        else:
            # Cut between two fields of the model: what is left is a model.
            assert (graph.nodes, graph.opsets) == (whole_graph.nodes, {"": 21})


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_changed_bytes_are_parsed_as_onnx_parses_them(data: st.DataObject) -> None:
    model = bytearray(SMALL)
    for _ in range(data.draw(st.integers(1, 3))):
        model[data.draw(st.integers(0, len(model) - 1))] = data.draw(st.integers(0, 255))
    graph = outcome(scan, bytes(model))
    expected = parsable(bytes(model))
    if expected is None:
        # What a field holds, packed numbers and UTF-8, is onnx's business; the frame is ours as well.
        return
    if isinstance(graph, OnnxGraph):
        assert graph.nodes == len(expected.graph.node)
        assert graph.ir_version == expected.ir_version
        assert graph.parameters == counted(expected)
    else:
        assert graph.finding.reason in {"NoGraph", "TensorInvalid", "ExternalDataInvalid", "HostileName", "WireInvalid"}


@given(st.binary(max_size=100))
def test_arbitrary_bytes(data: bytes) -> None:
    for model in (data, b"\x08\x08" + data, SMALL[:40] + data):
        assert isinstance(outcome(scan, model), OnnxGraph | FormatError)


def messages() -> Iterator[tuple[str, dict[int, str]]]:
    waiting = list(onnx.ModelProto.DESCRIPTOR.file.message_types_by_name.values())
    while waiting:
        message = waiting.pop()
        waiting.extend(message.nested_types)
        fields = {each.number: each.message_type.full_name for each in message.fields if each.message_type}
        yield message.full_name.removeprefix("onnx."), {n: kind.removeprefix("onnx.") for n, kind in fields.items()}


def test_the_schema_is_that_of_the_onnx_package() -> None:
    assert {kind: fields for kind, fields in messages() if fields} == MESSAGES
    assert {n: name for name, n in TensorProto.DataType.items() if n} == ELEMENT_TYPES
