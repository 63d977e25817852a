"""Files of ONNX models."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper


def onnx_model(location: str) -> bytes:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[64], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, [64])
    graph = helper.make_graph([helper.make_node("Identity", ["w"], ["y"])], "g", [], [value], [tensor])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]).SerializeToString()


DATA = np.arange(64, dtype=np.float32).tobytes()
