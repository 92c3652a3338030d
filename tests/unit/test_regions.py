"""The ordered set of mappings, without an engine: what lies where, how much there is, where there is room."""

from __future__ import annotations

import errno

import pytest

from backends.emulated.regions import LIMIT, MIN_ADDRESS, PAGE, USER_END, Region, Regions, page_down, page_up
from backends.emulated.shared import SharedMemory

A = 0x10_0000
R, RW = 1, 3
TOP = 0x7FFF_F7FF_F000


def refused() -> pytest.RaisesExc[OSError]:
    return pytest.RaisesExc(OSError, check=lambda error: error.errno == errno.ENOMEM)


def pages(first: int, last: int, prot: int = RW, **more: object) -> Region:
    """The pages first..last - 1 after A."""
    return Region(A + first * PAGE, A + last * PAGE, prot, **more)  # type: ignore[arg-type]


def filled(*regions: Region) -> Regions:
    books = Regions()
    for region in regions:
        books.insert(region)
    return books


def shown(books: Regions) -> list[tuple[int, int]]:
    """Each region's first and last page after A."""
    return [((region.start - A) // PAGE, (region.end - A) // PAGE) for region in books]


@pytest.mark.parametrize(
    ("address", "down", "up"),
    [(0, 0, 0), (1, 0, PAGE), (PAGE - 1, 0, PAGE), (PAGE, PAGE, PAGE), (PAGE + 1, PAGE, 2 * PAGE)],
)
def test_pages_begin_at_multiples_of_4096(address: int, down: int, up: int) -> None:
    assert (page_down(address), page_up(address)) == (down, up)


class TestLooking:
    def test_a_region_holds_its_first_byte_and_not_the_one_after_its_last(self) -> None:
        region = pages(1, 2)
        books = filled(region)
        found = [books.at(A + at) for at in (PAGE - 1, PAGE, 2 * PAGE - 1, 2 * PAGE)]
        assert found == [None, region, region, None]

    def test_above_is_the_next_that_begins_later(self) -> None:
        first, second = pages(1, 2), pages(3, 4)
        books = filled(second, first)
        assert [books.above(A + n * PAGE) for n in range(4)] == [first, second, second, None]

    def test_a_range_sees_the_parts_inside_it_in_order(self) -> None:
        books = filled(pages(4, 8), pages(0, 2), pages(2, 4, R))
        found = books.within(A + PAGE, A + 5 * PAGE)
        assert list(found) == [pages(1, 2), pages(2, 4, R), pages(4, 5)]

    def test_a_range_between_regions_sees_none(self) -> None:
        assert not list(filled(pages(0, 1), pages(2, 3)).within(A + PAGE, A + 2 * PAGE))


class TestCutting:
    def test_a_part_of_a_file_begins_further_in_the_file(self) -> None:
        whole = pages(0, 4, R, path="/lib/x", offset=0x3000)
        assert whole.cut(A + PAGE, A + 2 * PAGE).offset == 0x4000

    def test_a_part_of_shared_memory_begins_further_in_it(self) -> None:
        whole = pages(0, 4, shared=True, backing=SharedMemory(4 * PAGE))
        assert whole.cut(A + 2 * PAGE, A + 9 * PAGE) == pages(
            2, 4, shared=True, backing=whole.backing, offset=2 * PAGE
        )

    def test_memory_of_no_file_has_no_offset(self) -> None:
        assert pages(0, 4, path="[heap]").cut(A + PAGE, A + 2 * PAGE).offset == 0

    @pytest.mark.parametrize(
        ("start", "end", "left"),
        [
            (0, 8, []),
            (1, 3, [(0, 1), (3, 4), (5, 6)]),
            (2, 5, [(0, 2), (5, 6)]),
            (4, 5, [(0, 4), (5, 6)]),
            (5, 6, [(0, 4)]),
        ],
    )
    def test_removing_leaves_what_reaches_out(
        self, start: int, end: int, left: list[tuple[int, int]]
    ) -> None:
        books = filled(pages(0, 4), pages(5, 6))
        books.remove(A + start * PAGE, A + end * PAGE)
        assert shown(books) == left
        for n in range(8):
            held = any(first <= n < last for first, last in left)
            assert (books.at(A + n * PAGE) is not None) == held


class TestNeighbours:
    def test_a_region_that_fills_a_gap_joins_both_sides(self) -> None:
        assert shown(filled(pages(0, 1), pages(2, 3), pages(1, 2))) == [(0, 3)]

    def test_a_file_goes_on_only_where_its_bytes_do(self) -> None:
        first = pages(0, 1, R, path="/lib/x", offset=0)
        assert shown(filled(first, pages(1, 2, R, path="/lib/x", offset=PAGE))) == [(0, 2)]
        assert shown(filled(first, pages(1, 2, R, path="/lib/x", offset=0))) == [(0, 1), (1, 2)]

    @pytest.mark.parametrize(
        "other",
        [
            pages(1, 2, R),
            pages(1, 2, path="[heap]"),
            pages(1, 2, shared=True),
            pages(1, 2, backing=SharedMemory(PAGE)),
        ],
    )
    def test_another_kind_stays_apart(self, other: Region) -> None:
        assert shown(filled(pages(0, 1), other)) == [(0, 1), (1, 2)]


class TestPlacing:
    def test_fresh_addresses_go_down_from_mmap_base_and_never_come_back(self) -> None:
        books = Regions()
        assert [books.place(None, size * PAGE, fixed=False) for size in (1, 2, 1)] == [
            TOP - PAGE,
            TOP - 3 * PAGE,
            TOP - 4 * PAGE,
        ]

    def test_what_lies_in_the_way_is_passed(self) -> None:
        books = filled(Region(TOP - 3 * PAGE, TOP - PAGE, RW))
        assert books.place(None, 2 * PAGE, fixed=False) == TOP - 5 * PAGE

    def test_a_hint_off_a_page_means_its_page(self) -> None:
        assert Regions().place(A + 5, PAGE, fixed=False) == A

    def test_a_hint_where_something_is_or_too_low_is_not_followed(self) -> None:
        books = filled(pages(1, 2))
        assert books.place(A, 2 * PAGE, fixed=False) == TOP - 2 * PAGE
        assert books.place(MIN_ADDRESS - PAGE, PAGE, fixed=False) == TOP - 3 * PAGE

    def test_a_hint_in_the_range_given_out_is_not_followed_though_nothing_is_there(self) -> None:
        books = Regions()
        books.place(None, 4 * PAGE, fixed=False)
        assert books.place(TOP - 5 * PAGE, 2 * PAGE, fixed=False) == TOP - 6 * PAGE

    def test_what_a_fixed_address_takes_of_the_range_given_out_and_below_is_never_fresh(self) -> None:
        books = Regions()
        books.place(None, 4 * PAGE, fixed=False)
        assert books.place(TOP - 5 * PAGE, 2 * PAGE, fixed=True) == TOP - 5 * PAGE
        assert books.place(None, PAGE, fixed=False) == TOP - 6 * PAGE

    def test_a_fixed_address_elsewhere_changes_nothing_for_others(self) -> None:
        books = Regions()
        books.place(A, PAGE, fixed=True)
        books.place(USER_END - PAGE, PAGE, fixed=True)
        assert books.place(None, PAGE, fixed=False) == TOP - PAGE

    @pytest.mark.parametrize(("address", "size"), [(MIN_ADDRESS - PAGE, PAGE), (USER_END - PAGE, 2 * PAGE)])
    def test_a_fixed_address_outside_user_space_is_enomem(self, address: int, size: int) -> None:
        with refused():
            Regions().place(address, size, fixed=True)

    def test_more_than_can_ever_be_mapped_takes_no_address(self) -> None:
        books = Regions()
        with refused():
            books.place(None, 2 * LIMIT + PAGE, fixed=False)
        assert books.place(None, PAGE, fixed=False) == TOP - PAGE


class TestCounting:
    """A page too many is refused, which tells what is counted."""

    def claimed(self, size: int, prot: int) -> Regions:
        books = Regions()
        books.claim(A, A + size, prot)
        books.insert(Region(A, A + size, prot))
        return books

    @pytest.mark.parametrize(("limit", "prot"), [(LIMIT, RW), (2 * LIMIT, 0)])
    def test_the_last_page_fits_and_the_next_does_not(self, limit: int, prot: int) -> None:
        books = self.claimed(limit - PAGE, prot)
        high = A + 4 * LIMIT
        books.claim(high, high + PAGE, prot)
        with refused():
            books.claim(high + PAGE, high + 2 * PAGE, prot)

    def test_what_is_replaced_is_not_counted_twice(self) -> None:
        books = self.claimed(LIMIT, RW)
        books.claim(A, A + LIMIT, RW)

    def test_what_was_refused_is_not_counted(self) -> None:
        books = self.claimed(LIMIT - PAGE, RW)
        high = A + 4 * LIMIT
        with refused():
            books.claim(high, high + 2 * PAGE, RW)
        books.claim(high, high + PAGE, RW)

    def test_reserved_memory_counts_once_it_becomes_accessible(self) -> None:
        books = self.claimed(LIMIT + PAGE, 0)
        with refused():
            books.claim(A, A + LIMIT + PAGE, R)
        books.claim(A, A + LIMIT, R)

    @pytest.mark.parametrize(("limit", "prot"), [(LIMIT, RW), (2 * LIMIT, 0)])
    def test_giving_back_makes_room(self, limit: int, prot: int) -> None:
        books = self.claimed(limit, prot)
        books.claim(A, A + PAGE, None)
        books.remove(A, A + PAGE)
        books.claim(A, A + PAGE, prot)


def test_a_copy_is_changed_apart() -> None:
    books = filled(pages(0, 2))
    books.claim(A + 4 * LIMIT, A + 5 * LIMIT, RW)
    books.place(None, PAGE, fixed=False)
    copy = books.copy()
    books.remove(A, A + PAGE)
    assert (shown(books), shown(copy)) == ([(1, 2)], [(0, 2)])
    copy.insert(pages(8, 9))
    assert shown(books) == [(1, 2)]
    assert copy.place(None, PAGE, fixed=False) == TOP - 2 * PAGE
    with refused():
        copy.claim(A + 9 * PAGE, A + 10 * PAGE, RW)
