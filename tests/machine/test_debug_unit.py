"""What one CPU's debug registers do to a running program: faults, traps, DR6, and who survives what.

The rows of tools/testing/selftests/breakpoints/breakpoint_test.c are here: 48 stores, 48 loads, 12 executions,
icebp and int3.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from backends import dr
from backends.base import Launch
from backends.emulated.backend import EmulatedBackend
from backends.emulated.debug_unit import DebugUnit, RegisterUndefined
from backends.emulated.icicle import IcicleEngine
from backends.model import BreakpointRequest
from backends.ring import create_memfd
from tests.machine.code import DATA, START, program
from tests.machine.emulated import run

STORES = {1: "8803", 2: "668903", 4: "8903", 8: "488903"}
LOADS = {1: "8a03", 2: "668b03", 4: "8b03", 8: "488b03"}
MODES = {"global": 0b10, "local": 0b01, "both": 0b11}


def loaded(path: str) -> EmulatedBackend:
    backend = EmulatedBackend(create_memfd(1 << 10))
    backend.launch(Launch(path, stacks=False))
    return backend


def finish(backend: EmulatedBackend) -> None:
    backend.resume()
    for _ in range(1000):
        if not backend.running:
            return
        backend.run_slice()
    raise AssertionError("still running")


def poke_slot(backend: EmulatedBackend, slot: int, address: int, length: int, kind: str, mode: int) -> None:
    """breakpoint_test.c set_breakpoint_addr and toggle_breakpoint."""
    nibble = {1: 0, 2: 4, 4: 0xC, 8: 8}[length] | {"x": 0, "w": 1, "rw": 3}[kind]
    backend.ptrace_poke(None, slot, address)
    backend.ptrace_poke(None, 7, nibble << 16 + 4 * slot | mode << 2 * slot | mode << 8)


def test_dr4_and_dr5_are_aliases_until_cr4_de_makes_them_undefined() -> None:
    # kvm-unit-tests x86/debug.c, "DR4 alias" and "DR4 reserved"
    unit = DebugUnit(IcicleEngine(), lambda _address: -1)
    unit.write(4, 0xFFFF4FF2)
    assert unit.read(4) == unit.read(6) == 0xFFFF4FF2
    unit.write(5, 0x2)
    assert unit.read(5) == unit.read(7) == 0x402
    unit.cr4 = dr.CR4_DE
    for register in (4, 5):
        with pytest.raises(RegisterUndefined):
            unit.read(register)
        with pytest.raises(RegisterUndefined):
            unit.write(register, 0)
    assert unit.read(6) == 0xFFFF4FF2


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("slot", range(4))
@pytest.mark.parametrize("length", [1, 2, 4, 8])
@pytest.mark.parametrize("kind", ["w", "rw"])
def test_ptrace_data_watchpoint_stops_once(
    tmp_path: Path, mode: str, slot: int, length: int, kind: str
) -> None:
    access = bytes.fromhex((STORES if kind == "w" else LOADS)[length])
    backend = loaded(program(tmp_path / "p", access + b"\x90"))
    poke_slot(backend, slot, DATA, length, kind, MODES[mode])
    finish(backend)
    view = backend.view()
    assert view.stop.reason == "hit"
    assert view.tasks[0].pc == START + len(access)
    assert view.tasks[0].virtual_dr6 == dr.DR6_BASE | 1 << slot
    finish(backend)
    assert backend.view().stop.reason == "exit"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("slot", range(4))
def test_ptrace_execute_breakpoint_stops_once_and_then_runs_on(tmp_path: Path, mode: str, slot: int) -> None:
    backend = loaded(program(tmp_path / "p", b"\x90\x90\x90"))
    poke_slot(backend, slot, START + 1, 1, "x", MODES[mode])
    finish(backend)
    view = backend.view()
    assert view.stop.reason == "hit"
    assert view.tasks[0].pc == START + 1
    finish(backend)
    assert backend.view().stop.reason == "exit"
    assert backend.view().hits == 1


@pytest.mark.parametrize(("code", "after"), [("f1", 1), ("cc", 1)])
def test_icebp_and_int3_are_sigtrap(tmp_path: Path, code: str, after: int) -> None:
    view = run([program(tmp_path / "p", bytes.fromhex(code))], []).view
    assert view.exit_status == -5
    assert view.cpus[0].db_count == (code == "f1")


def test_icebp_sets_no_bit_in_dr6(tmp_path: Path) -> None:
    cpu = run([program(tmp_path / "p", b"\xf1")], []).view.cpus[0]
    assert cpu.dr6 == dr.DR6_BASE
    assert cpu.last_db == "trap: icebp"


def test_a_data_hit_reports_the_next_instruction_and_both_values(tmp_path: Path) -> None:
    result = run([program(tmp_path / "p", bytes.fromhex("48c7030500000048830302"))], [(DATA, 8, "w")])
    assert [(hit.insn_ip, hit.ip, hit.old, hit.value, hit.access) for hit in result.hits] == [
        (START, START + 7, 0, 5, "w"),
        (START + 7, START + 11, 5, 7, "w"),
    ]


def test_an_execute_hit_comes_before_the_instruction(tmp_path: Path) -> None:
    # inc qword [rbx] under an execute slot and a write slot: a fault, then a trap
    result = run([program(tmp_path / "p", bytes.fromhex("48ff03"))], [(START, 1, "x"), (DATA, 8, "w")])
    assert [(hit.slot, hit.ip, hit.access) for hit in result.hits] == [(0, START, "x"), (1, START + 3, "w")]
    assert not any(hit.same_db for hit in result.hits)


def test_two_slots_on_one_access_come_as_one_db(tmp_path: Path) -> None:
    result = run([program(tmp_path / "p", bytes.fromhex("488903"))], [(DATA, 4, "w"), (DATA + 4, 4, "rw")])
    assert [(hit.slot, hit.same_db) for hit in result.hits] == [(0, False), (1, True)]
    assert result.view.cpus[0].db_count == 1
    assert result.view.cpus[0].dr6 == dr.DR6_BASE | 0b11


def test_rep_traps_after_each_element_at_itself_and_after_the_last_at_the_next(tmp_path: Path) -> None:
    # mov rdi, rbx; mov ecx, 4; rep stosb
    code = bytes.fromhex("4889dfb904000000f3aa")
    result = run([program(tmp_path / "p", code)], [(DATA, 4, "w")])
    rep = START + 8
    assert [hit.insn_ip for hit in result.hits] == [rep] * 4
    assert [hit.ip for hit in result.hits] == [rep, rep, rep, rep + 2]


@pytest.mark.parametrize("watched", [False, True])
def test_an_element_of_rep_is_not_an_instruction(tmp_path: Path, watched: bool) -> None:
    code = bytes.fromhex("4889dfb964000000f3aa")
    result = run([program(tmp_path / "p", code)], [(DATA, 8, "w")] if watched else [])
    assert result.view.instructions == 1 + 3 + 3


def test_a_failing_cmpxchg_is_a_write(tmp_path: Path) -> None:
    # mov eax, 9; lock cmpxchg [rbx], rcx: fails, the memory keeps its value
    result = run([program(tmp_path / "p", bytes.fromhex("b809000000f0480fb10b"))], [(DATA, 8, "w")])
    assert [(hit.access, hit.old, hit.value) for hit in result.hits] == [("w", 0, 0)]


def test_a_faulting_instruction_drops_its_data_match(tmp_path: Path) -> None:
    # mov rsi, rbx; mov edi, 0x10; movsq reads the watched bytes, and writes where nothing is mapped
    view = run([program(tmp_path / "p", bytes.fromhex("4889debf1000000048a5"))], [(DATA, 8, "rw")]).view
    assert view.exit_status == -11
    assert view.hits == 0


def test_a_store_across_a_page_boundary_hits_the_second_page(tmp_path: Path) -> None:
    result = run([program(tmp_path / "p", bytes.fromhex("488983fc0f0000"))], [(DATA + 0x1000, 4, "w")])
    assert [hit.address for hit in result.hits] == [DATA + 0x1000]


def test_a_neighbouring_store_does_not_hit(tmp_path: Path) -> None:
    assert not run([program(tmp_path / "p", bytes.fromhex("488943088843ff"))], [(DATA, 8, "rw")]).hits


def test_a_misaligned_register_covers_the_aligned_block(tmp_path: Path) -> None:
    backend = loaded(program(tmp_path / "p", bytes.fromhex("8803884304")))
    backend.write_dr(0, 0, DATA + 3)
    backend.write_dr(0, 7, dr.dr7_encode(0, 4, "w"))
    finish(backend)
    assert backend.view().hits == 1


def test_a_single_step_sets_bs_beside_the_hit(tmp_path: Path) -> None:
    backend = loaded(program(tmp_path / "p", bytes.fromhex("48890390")))
    backend.arm((BreakpointRequest(DATA, 8, "w"),))
    backend.step(1, over_calls=False)
    assert backend.view().cpus[0].dr6 == dr.DR6_BASE | dr.DR6_BS
    backend.step(1, over_calls=False)
    view = backend.view()
    assert view.cpus[0].dr6 == dr.DR6_BASE | dr.DR6_BS | 1
    assert view.hits == 1
    assert view.cpus[0].db_count == 2


def test_the_trap_flag_of_the_program_traps_after_the_next_instruction(tmp_path: Path) -> None:
    # pushf; or dword [rsp], 0x100; popf; nop; nop
    result = run([program(tmp_path / "p", bytes.fromhex("9c810c24000100009d9090"))], [])
    assert result.view.exit_status == -5
    assert result.view.cpus[0].dr6 == dr.DR6_BASE | dr.DR6_BS


def test_a_bit_toggled_by_hand_is_obeyed(tmp_path: Path) -> None:
    backend = loaded(program(tmp_path / "p", bytes.fromhex("488903488903")))
    (armed,) = backend.arm((BreakpointRequest(DATA, 8, "w"),))
    view = backend.write_dr(0, 7, backend.view().cpus[0].dr7 & ~0b10)
    assert view.cpus[0].changed_dr7 == 0b10
    assert view.cpus[0].changed_by == "hand"
    assert view.cpus[0].cpu_dr7 & 0b10
    assert view.breakpoints[0].id == armed.id
    finish(backend)
    assert backend.view().hits == 0


def test_a_register_written_by_hand_hits_without_an_owner(tmp_path: Path) -> None:
    backend = loaded(program(tmp_path / "p", bytes.fromhex("488903")))
    backend.write_dr(0, 2, DATA)
    view = backend.write_dr(0, 7, dr.dr7_encode(2, 8, "w"))
    assert [(slot.index, slot.breakpoint) for slot in view.cpus[0].slots] == [(2, None)]
    assert view.breakpoints == ()
    finish(backend)
    assert backend.view().hits == 1


@pytest.mark.parametrize("code", ["e4f4", "ee", "fa", "f4", "0f20c0", "0f23f8", "0f30", "0f011e"])
def test_privileged_instructions_give_sigsegv(tmp_path: Path, code: str) -> None:
    assert run([program(tmp_path / "p", bytes.fromhex(code))], []).view.exit_status == -11


@pytest.mark.parametrize(
    ("code", "signal"),
    [
        ("0f0b", 4),  # ud2
        ("31c9f7f1", 8),  # div ecx, ecx being 0
        ("ba01000000b901000000f7f1", 8),  # div ecx: 2^32 / 1 does not fit
        ("b8000000809983c9fff7f9", 8),  # idiv ecx: INT_MIN / -1
        ("66b80080b1fff6f9", 8),  # idiv cl: -32768 / -1
        ("0f01d0", 4),  # xgetbv without XSAVE
    ],
)
def test_exceptions_of_user_mode_are_signals(tmp_path: Path, code: str, signal: int) -> None:
    assert run([program(tmp_path / "p", bytes.fromhex(code))], []).view.exit_status == -signal


@pytest.mark.parametrize("code", ["b8f9ffffff99b903000000f7f9", "31d2b8ffffffffb902000000f7f1"])
def test_a_division_that_fits_runs(tmp_path: Path, code: str) -> None:
    assert run([program(tmp_path / "p", bytes.fromhex(code))], []).view.exit_status == 0


@pytest.mark.parametrize("scan", ["0fbdc1", "0fbcc1", "480fbdc1", "660fbcc1"])  # bsr, bsf, 64 and 16 bits
def test_a_bit_scan_of_zero_leaves_its_destination_alone(tmp_path: Path, scan: str) -> None:
    # mov rax, 0x1122334455667788; xor ecx, ecx; bsr eax, ecx; mov [rbx], rax
    code = bytes.fromhex("48b88877665544332211" + "31c9" + scan + "488903")
    result = run([program(tmp_path / "p", code)], [])
    assert result.backend.read(DATA, 8) == bytes.fromhex("8877665544332211")


def test_what_cannot_be_run_rightly_stops_the_task_with_its_name_address_and_bytes(tmp_path: Path) -> None:
    view = run([program(tmp_path / "p", bytes.fromhex("d9fe"))], []).view
    assert view.state == "failed"
    assert f"{START:#x}: fsin (d9 fe)" in view.stop.text


def test_the_machine_stays_open_after_an_unsupported_instruction(tmp_path: Path) -> None:
    result = run([program(tmp_path / "p", bytes.fromhex("660f3800c1"))], [])  # pshufb
    assert result.view.state == "failed"
    assert result.backend.read(START, 2) == b"\x66\x0f"
    assert {register.name: register.value for register in result.backend.registers(None)}["rip"] == START


def test_cpuid_describes_no_avx_and_no_xsave(tmp_path: Path) -> None:
    # mov eax, 1; cpuid; mov [rbx], ecx; mov [rbx+8], edx
    result = run([program(tmp_path / "p", bytes.fromhex("48c7c001000000530fa25b890b895308"))], [])
    ecx = int.from_bytes(result.backend.read(DATA, 4), "little")
    edx = int.from_bytes(result.backend.read(DATA + 8, 4), "little")
    assert not ecx & (1 << 28 | 1 << 26 | 1 << 27)
    assert edx & 1 << 26


@pytest.mark.parametrize("jit", [False, True], ids=["interpreted", "translated"])
def test_a_late_execute_breakpoint_in_running_code_is_seen(tmp_path: Path, jit: bool) -> None:
    # mov ecx, -1; loop: nop; nop; nop; dec ecx; jnz loop
    backend = loaded(program(tmp_path / "p", bytes.fromhex("b9ffffffff909090ffc975f9")))
    if jit:
        backend.translate()
    backend.resume()
    for _ in range(5):
        backend.run_slice()
    backend.arm((BreakpointRequest(START + 6, 1, "x", stop=True),))
    for _ in range(5):
        if backend.running:
            backend.run_slice()
    view = backend.view()
    assert view.stop.reason == "hit"
    assert view.tasks[0].pc == START + 6
