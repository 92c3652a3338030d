"""What an ip can mean, by the code around it; each shape by hand."""

from __future__ import annotations

import numpy as np
import pytest

from symbols.code import Code
from symbols.sites import SITE, Sites

START = 0x401000
NOTHING = {
    "before": None,
    "repeated": None,
    "entry": False,
    "jumps": False,
    "returned": False,
    "hidden": False,
}


class Memory:
    """Code at START; `function_at` says that it is one function, unless `known` is false."""

    def __init__(self, code: str, *, known: bool = True) -> None:
        self.data = bytes.fromhex(code)
        self.known = known
        self.reads = 0

    def read(self, address: int, size: int) -> bytes:
        self.reads += 1
        if not START <= address < START + len(self.data):
            raise OSError("no memory")
        return self.data[address - START : address - START + size]

    def function_at(self, address: int) -> tuple[int, int] | None:
        inside = self.known and START <= address < START + len(self.data)
        return (START, len(self.data)) if inside else None


def sites_of(memory: Memory) -> tuple[Code, Sites]:
    code = Code(memory.read, memory.function_at)
    return code, Sites(code)


def site(memory: Memory, ip: int) -> dict[str, int | bool | None]:
    """The site `ip` bytes behind START, its instructions as offsets from there, None for no instruction."""
    code, sites = sites_of(memory)
    found = sites.of(np.array([START + ip], np.uint64))
    assert found.dtype == SITE
    row = dict(zip(SITE.names or (), found[0].tolist(), strict=True))
    for name in ("before", "repeated"):
        row[name] = int(code.addresses[row[name]]) - START if row[name] >= 0 else None
    return row


SHAPES = [
    ("90 48890b 90", 4, {"before": 1}),  # nop; mov [rbx], rcx; nop
    ("90 48890b 90", 3, {}),  # no instruction ends in the middle of one
    ("90 4889cb 90", 4, {}),  # mov rbx, rcx touches no memory
    ("90 48890b 90", 0, {"entry": True}),
    ("90 f3aa 90", 1, {"repeated": 1}),  # rep stosb that has elements left
    ("90 f3aa 90", 3, {"before": 1}),  # and one that is done
    ("90 aa 90", 1, {}),  # stosb alone is done once
    ("90 f3c3", 1, {}),  # and a ret does not repeat, whatever stands before it
    ("ff13 90", 2, {"returned": True}),  # call [rbx]: what is behind it was returned to
    ("e8fb0f0000 90", 5, {"returned": True}),  # call to elsewhere
    ("e800000000 90", 5, {"before": 0}),  # call to what is behind it pushes, and goes on
    ("ff23 90", 2, {"jumps": True}),  # jmp [rbx] never goes on
    ("ff23 90", 1, {"jumps": True}),
    ("c3 90", 1, {}),  # nor does ret
    ("ebfe 90", 2, {}),  # nor jmp
    ("7401 90 48890b 90", 6, {"before": 3}),  # behind a jump that may be taken
    (
        "7401 f0ff06 90",
        5,
        {"before": 2, "hidden": True},
    ),  # je +1; lock inc dword [rsi]: entered behind its prefix
    ("7401 f0ff06 ff03 90", 7, {"before": 5}),  # and what follows it, which is not
    ("7401 f0ff06 90", 2, {}),  # nor is what comes before it
]


@pytest.mark.parametrize(("code", "ip", "expected"), SHAPES)
def test_the_code_around_an_ip_says_what_it_can_mean(code: str, ip: int, expected: dict[str, object]) -> None:
    assert site(Memory(code), ip) == NOTHING | expected


def test_where_no_function_is_known_the_bytes_before_say_what_ends_at_an_ip() -> None:
    code = "4883ec10488b07488d3c4748894424084889f84801d8488b542410488b0c2448890b" * 3
    end = len(code) // 2
    assert site(Memory(code, known=False), end) == NOTHING | {"before": end - 3}
    assert site(Memory("48890b", known=False), 3) == NOTHING  # too few of them


@pytest.mark.parametrize("ip", [0, 1, START - 1, START + 64, (1 << 64) - 1])
def test_an_ip_where_nothing_can_be_read_means_nothing(ip: int) -> None:
    _, sites = sites_of(Memory("48890b"))
    assert sites.of(np.array([ip], np.uint64))[0].tolist() == (-1, -1, False, False, False, False)


def test_each_ip_of_a_batch_has_its_own_site_whatever_their_order() -> None:
    code, sites = sites_of(Memory("48890b ff13 f3aa 90"))

    def alone(ip: int) -> object:
        return sites.of(np.array([ip], np.uint64))[0].tolist()

    late = [START + 7, START + 3]
    expected = {ip: alone(ip) for ip in late}
    batch = [START + ip for ip in (5, 3, 0, 7, 3, 5, 8)]
    found = sites.of(np.array(batch, np.uint64))
    assert [found[batch.index(ip)].tolist() for ip in late] == [expected[ip] for ip in late]
    assert [each.tolist() for each in found] == [alone(ip) for ip in batch]
    assert code.addresses[found["before"][1]] == START
    assert found["returned"].tolist() == [True, False, False, False, False, True, False]
    assert found["repeated"].tolist() == [found["repeated"][0], -1, -1, -1, -1, found["repeated"][0], -1]


def test_what_an_ip_means_is_worked_out_once_until_it_is_forgotten() -> None:
    memory = Memory("90 48890b 90")
    code, sites = sites_of(memory)
    ips = np.full(1000, START + 4, np.uint64)
    assert (sites.of(ips)["before"] == sites.of(ips)["before"][0]).all()
    read = memory.reads
    assert sites.of(ips)["before"][0] >= 0
    assert memory.reads == read
    memory.data = bytes.fromhex("90 4889cb 90")
    assert sites.of(ips)["before"][0] >= 0
    code.forget()
    sites.forget()
    assert sites.of(ips)["before"][0] == -1
