"""How the generated C names its arenas: one `arena`, or `arenas[]` where the plan has several RAM regions."""

from __future__ import annotations

from typing import Any

from mcuc.plan import Plan

KEPT = "kept"  # the start of the memory that the caller keeps for the states, inside the generated functions


def base(plan: Plan, number: int) -> str:
    """C expression of an arena's start inside the generated functions. number: 0 where there is one."""
    return f"base{number}" if plan.several else "base"


def own_base(plan: Plan, node: str) -> str:
    """The start of the arena with the node's scratch and, of a stream's first node, its counters."""
    return base(plan, plan.own_region.get(node, 0))


def address(plan: Plan, tensor: str) -> str:
    """C expression, an int8_t *, of a tensor in its arena."""
    return f"(int8_t *)({base(plan, plan.arena_of(tensor))} + {plan.tensors[tensor]}u)"


def passed(plan: Plan, number: int) -> str:
    """C expression of an arena as a caller's macro has it: the parameter, or its element."""
    return f"(arenas)[{number}]" if plan.several else "(arena)"


def arena_context(plan: Plan) -> dict[str, Any]:
    """What the templates need.

    arena_parameter, arena_argument: of every entry point; no_arena: C condition that one is NULL; arena_address: all
    addresses in one integer, for the check of alignment; bases: what the functions call their starts, with what the
    caller passed; arenas: of several regions, each with its macros' values and the test programs' variable;
    arena_region: the name of the only region, None where none or several were named. pass_on: what an entry point
    hands on to another one. A model with states takes the memory that the caller keeps for them in front.
    """
    several = [
        {"number": i, "region": a.name, "bytes": a.bytes, "work": a.work, "symbol": arena_symbol(plan, i)}
        for i, a in enumerate(plan.arenas if plan.several else ())
    ]
    if not several:
        return _with_state(plan, {
            "arena_parameter": "void *arena",
            "arena_argument": "arena",
            "pass_on": "arena",
            "no_arena": "arena == NULL",
            "arena_address": "(uintptr_t)arena",
            "bases": [{"name": "base", "passed": "arena"}],
            "arenas": several,
            "arena_region": plan.arenas[0].name if plan.arenas else None,
        })
    elements = [f"arenas[{a['number']}]" for a in several]
    addresses = " | ".join(f"(uintptr_t){e}" for e in elements)
    return _with_state(plan, {
        "arena_parameter": "void *const arenas[]",
        "arena_argument": "arenas",
        "pass_on": "arenas",
        "no_arena": " || ".join(["arenas == NULL", *(f"{e} == NULL" for e in elements)]),
        "arena_address": f"({addresses})" if len(elements) > 1 else addresses,
        "bases": [{"name": f"base{i}", "passed": e} for i, e in enumerate(elements)],
        "arenas": several,
        "arena_region": None,
    })


def _with_state(plan: Plan, context: dict[str, Any]) -> dict[str, Any]:
    if not plan.state_bytes:
        return context
    return {
        **context,
        "arena_parameter": f"void *state, {context['arena_parameter']}",
        "pass_on": f"state, {context['pass_on']}",
        "no_arena": f"state == NULL || {context['no_arena']}",
        "arena_address": f"((uintptr_t)state | {context['arena_address']})",
        "bases": [*context["bases"], {"name": KEPT, "passed": "state"}],
    }


def arena_symbol(plan: Plan, number: int) -> str:
    """The variable of the test firmware that is that arena."""
    return f"mcuc_arena_{number}" if plan.several else "mcuc_arena"
