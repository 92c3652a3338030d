"""What `trace` says of the instruction and of values: from the kernel's reading, and from registers alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live.tracing import WAYS, build, needs_breakpoints, trace

pytestmark = [pytest.mark.live, pytest.mark.slow, needs_breakpoints]

SOURCE = r"""
volatile long counter;
int main(void) {
    long at;
    __asm__ volatile(
        "movq $5, %0\n movq %0, %%rax\n addq $2, %%rax\n movq %%rax, %0\n"
        "movl $9, %%ecx\n lock cmpxchgq %%rcx, %0\n"
        "movl $11, %%edx\n xchgq %%rdx, %0\n movq %0, %%rax"
        : "+m"(counter), "=&a"(at) :: "rcx", "rdx", "memory");
    return (int)at;
}
"""
STRINGS = r"""
#include <string.h>
char block[64];
int main(void) {
    __asm__ volatile("rep stosb" :: "D"(block), "c"(24), "a"(7) : "memory");
    return 0;
}
"""


@pytest.mark.parametrize("way", WAYS)
def test_values_come_from_memory_or_from_the_registers_that_hold_them(tmp_path: Path, way: str) -> None:
    hits = trace(way, ["counter:rw"], "--", str(build(tmp_path, "p", SOURCE))).hits
    assert [(hit["access"], hit["insn"].split()[0]) for hit in hits] == [
        *(("w", "mov"), ("r", "mov"), ("w", "mov"), ("w", "lock"), ("w", "xchg"), ("r", "mov")),
    ]
    values = [(hit["value"], hit["value_from"], hit["old"], hit["old_from"]) for hit in hits]
    if way == "bpf":
        assert values == [
            *((5, "trap", None, None), (5, "trap", 5, "trap"), (7, "trap", 5, "previous")),
            *((9, "trap", 7, "decoded"), (11, "trap", 9, "decoded"), (11, "trap", 11, "trap")),
        ]
    else:  # rcx could tell what the exchange stored if the flags said whether it did; rdx is not in a record
        assert values == [
            *((5, "decoded", None, None), (5, "decoded", 5, "decoded"), (7, "decoded", 5, "previous")),
            *((None, None, 7, "previous"), (None, None, None, None), (11, "decoded", 11, "decoded")),
        ]


@pytest.mark.parametrize("way", WAYS)
def test_each_element_of_a_rep_is_made_by_the_rep(tmp_path: Path, way: str) -> None:
    hits = trace(way, ["block+8/8"], "--", str(build(tmp_path, "p", STRINGS))).hits
    assert len(hits) == 8
    assert {hit["insn"] for hit in hits} == {"rep stosb byte ptr [rdi], al"}
    assert {hit["insn_ip"] for hit in hits} == {hits[0]["ip"]}


@pytest.mark.parametrize("way", WAYS)
def test_a_call_is_the_culprit_of_the_return_address_it_pushes(tmp_path: Path, way: str) -> None:
    source = r"""
char stack[4096] __attribute__((aligned(16)));
__attribute__((naked)) void callee(void) { __asm__("nop; ret"); }
int main(void) {
    __asm__ volatile("mov %%rsp, %%rbx; lea stack+1024(%%rip), %%rsp; call callee; mov %%rbx, %%rsp" ::: "rbx", "memory");
    return 0;
}
"""
    options = [] if way == "bpf" else ["--stack"]  # else perf's records have no rsp
    hits = trace(way, ["stack+1016/8:rw"], *options, "--", str(build(tmp_path, "p", source))).hits
    assert [(hit["access"], hit["insn"].split()[0]) for hit in hits] == [("w", "call"), ("r", "ret")]
    assert hits[0]["value"] == hits[1]["value"]
    assert hits[0]["symbol"].startswith("main+")
    assert hits[1]["symbol"] == "callee+0x1"
