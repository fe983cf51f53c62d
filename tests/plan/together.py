"""Many small networks in one executable, so that one compilation checks them all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness import STRICT, assert_equal, run_reference, samples

from mcuc.emit.model import emit
from mcuc.emulate import host
from mcuc.ir import Graph
from mcuc.plan import Plan
from mcuc.schedule import Schedule
from mcuc.toolchain import build_host_executable

Part = tuple[Graph, Schedule, Plan]


def build_together(
    parts: Sequence[Part], folder: Path, sanitize: bool = True, emulate_dsp: bool = False
) -> list[host.HostModel]:
    """All networks in one executable, which runs the one by whose name it is called; warnings are errors."""
    lines, switch = ["#define _POSIX_C_SOURCE 200112L"], []
    for number, (graph, schedule, placed) in enumerate(parts):
        name = f"n{number}"
        emitted = emit(graph, schedule, placed, name, "test", 16, 1024, small_code=number % 2 == 1)
        host.write_sources(emitted, folder)
        (folder / f"{name}_main.c").write_text(emitted.host_main, encoding="utf-8")
        lines += [f"#define main {name}_main", f"#define hashes {name}_hashes",
                  *(f'#include "{name}{end}.c"' for end in ("", "_weights", "_main")), "#undef main", "#undef hashes"]
        switch.append(f'    if (strcmp(me, "{name}") == 0) return {name}_main(argc, argv);')
    lines += ["int main(int argc, char **argv)", "{", "    const char *me = strrchr(argv[0], '/') + 1;", *switch,
              "    return 9;", "}", ""]
    (folder / "all.c").write_text("\n".join(lines), encoding="utf-8")
    flags = (*STRICT, *(["-DMCUC_EMULATE_DSP"] if emulate_dsp else []))
    program = build_host_executable([folder / "all.c"], [folder], folder / "all", sanitize=sanitize, extra_flags=flags)
    for number in range(len(parts)):
        (folder / f"n{number}").symlink_to(program)
    return [host.HostModel(folder / f"n{number}", graph, 0) for number, (graph, _, _) in enumerate(parts)]


def check_together(sources: Sequence[Graph], parts: Sequence[Part], folder: Path, count: int = 4) -> int:
    """The C of every part equals the NumPy reference of its source graph, in both buffer modes; the host program fails
    by itself where a run changes the caller's input. Returns the output elements that were compared."""
    compared = 0
    for source, model in zip(sources, build_together(parts, folder), strict=True):
        inputs = samples(source, count)
        wanted = run_reference(source, inputs)
        for inside in (False, True):
            found = host.run(model, inputs, inside=inside, timeout_s=20).outputs
            assert_equal(wanted, [[out[n] for out in found] for n in range(count)], f"inside={inside}\n{model.graph}")
        compared += 2 * sum(out.size for sample in wanted for out in sample)
    return compared
