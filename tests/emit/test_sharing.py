"""Kernels that differ in numbers alone become one function, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import mcuc
import small_models
from mcuc.emit.sharing import shared

KERNEL = """/* {title} */
static inline int32_t @FN@_at(int32_t x)
{{
    return x * {step} + 1;
}}

static void @FN@(MCUC_KERNEL_ARGS, const int8_t *weights)
{{
    const int8_t *taps[{length}];
    for (int32_t x = x0; x < {width}; x++) {{
        taps[2] = rows[0] + @FN@_at(x) * {step} + {pad}u;
    }}
}}
"""


def kernel(title: str = "", step: int = 1, width: int = 8, length: int = 3, pad: int = 0) -> str:
    return KERNEL.format(title=title, step=step, width=width, length=length, pad=pad)


def test_numbers_that_differ_are_read_and_equal_columns_are_one() -> None:
    first, second = kernel("3x3", 5, 16), kernel("4x4", 6, 20)
    found = shared([first, second])
    assert [found[t].numbers for t in (first, second)] == [(5, 16), (6, 20)]
    text = found[first].text
    assert text == found[second].text
    assert "static inline int32_t @FN@_at(const int32_t *numbers, int32_t x)" in text
    assert "static void @FN@(const int32_t *numbers, MCUC_KERNEL_ARGS" in text
    assert "return x * numbers[0] + 1;" in text and "x < numbers[1];" in text
    assert "taps[2] = rows[0] + @FN@_at(numbers, x) * numbers[0] + 0u;" in text


def test_what_differs_in_more_than_numbers_stays_apart() -> None:
    assert shared([kernel(step=1), kernel(step=2) + "\n"]) == {}
    assert shared([kernel(length=3), kernel(length=4)]) == {}, "an array's length is fixed"
    assert shared([kernel(pad=1), kernel(pad=2)]) == {}, "a number with a suffix has a type"
    assert shared([kernel()]) == {}
    assert shared([kernel(step=2**31), kernel(step=2**31 + 1)]) == {}, "a number of 64 bits"
    assembly = [f'static void @FN@(void)\n{{\n    __asm__("asr r0, #{n}");\n}}\n' for n in (3, 4)]
    assert shared(assembly) == {}


def test_a_model_for_little_code_has_less_of_it_and_the_same_answers(tmp_path: Path) -> None:
    """Three depthwise and three pointwise layers of different sizes."""
    model = tmp_path / "net.tflite"
    model.write_bytes(small_models.exported(small_models.chain_graph()))
    goals = ("latency", "flash")
    done = {goal: mcuc.compile(model, optimize=goal, name="chain", out=tmp_path / goal) for goal in goals}
    assert all(d.report.verify.bit_exact for d in done.values())
    assert done["flash"].report.flash.code < 0.7 * done["latency"].report.flash.code
    code = {goal: d.emitted.files["chain.c"] for goal, d in done.items()}
    assert "numbers[" in code["flash"] and "numbers" not in code["latency"]
