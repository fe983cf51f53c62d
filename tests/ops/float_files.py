"""Parts of float .tflite files, which tests of several folders write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ai_edge_litert import schema_py_generated as schema


def operator_of(kind: str, options: str, fields: Mapping[str, Any]) -> tuple[Any, Any]:
    """An operator without its tensors, and the code that it refers to. options: its table, "" for none."""
    code, operator = schema.OperatorCodeT(), schema.OperatorT()
    code.builtinCode = getattr(schema.BuiltinOperator, kind)
    code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
    if options:
        table = getattr(schema, f"{options}T")()
        for key, value in fields.items():
            assert hasattr(table, key), f"{options} has no {key}"
            setattr(table, key, value)
        operator.builtinOptionsType, operator.builtinOptions = getattr(schema.BuiltinOptions, options), table
    return code, operator
