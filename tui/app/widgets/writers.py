"""Who does it: each instruction that hit a watch once, with exact totals, rate, times, last values, tasks and stacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from textual.events import Click
from textual.strip import Strip

from backends.model import Site
from tui.app import numbers, records
from tui.app.hit_columns import delta_text, put_change, time_text
from tui.app.hit_groups import Group
from tui.app.line import Line, without_offset
from tui.app.panel import Panel
from tui.app.rates import Meter
from tui.app.records import Record, record_of_site
from tui.app.shown import shown
from tui.app.site_facts import SiteFacts, SiteHits
from tui.session.escape import one_line

if TYPE_CHECKING:
    from tui.app.widgets.site_stacks import StacksPanel

__all__ = ["WritersPanel"]

_ORDERS: Final = ("most hits first", "fastest first", "latest first", "earliest first", "by name")
_FRAME: Final = 0.004
_MEASURED: Final = 512
"""Sites whose rate is measured: the busiest ones."""


class WritersPanel(Panel, can_focus=True, inherit_bindings=False):
    """The cursor stays on its site when the order changes."""

    title = "SITES"
    where = "writers"
    help: ClassVar[
        str
    ] = """Each instruction that hit a watch, once. Totals are exact: every hit counts, also those that the ring has
overwritten; tasks and stacks are counted from the hits that the ring kept when this view was opened.

hits, share   of all hits of the watches that are shown
rate          measured over the last second
first, ago    the machine's clock at the first hit, and how long ago the last one was: in instructions on the emulated
              machine (M: millions, G: thousands of millions), in seconds live
old, new      what the last hit changed
tasks         how many did it, the one that did it most first

Left and Right choose the watch, o another order, / shows only names, sources or watches with these words, Enter shows
the hits of the site. f keeps the order as it is while you read."""

    def __init__(self, id: str) -> None:  # noqa: A002 - Textual's word
        super().__init__(id)
        self.only: tuple[int, ...] = ()
        """The breakpoints whose sites are shown: those of one watch, or one of another owner; none: all."""
        self.order = 0
        self.words = ""
        self.facts = SiteFacts()
        self.stacks: StacksPanel | None = None
        self._ring: object = None
        self._meter = Meter()
        self._key: tuple[int, int] | None = None
        self._top = 0
        self._rows = 1
        self._kept: tuple[Site, ...] | None = None
        self._before = ""
        self._more = False

    @property
    def following(self) -> bool:
        """The order follows the hits."""
        return self._kept is None

    # What time brings

    def advance(self) -> None:
        """A frame: count the tasks and stacks of new hits for a few milliseconds."""
        ring = self.scene.ring
        if ring is not self._ring:
            self._ring, self.facts, self._meter, self._kept = ring, SiteFacts(), Meter(), None
        if ring is not None and ring.head and not self.facts.work(ring, _FRAME) and not self._more:
            self._more = True
            self.call_later(self._go_on)

    def _go_on(self) -> None:
        self._more = False
        if self.shown:
            self.advance()

    def sampled(self) -> None:
        """Exact totals and rates."""
        app = self.desk_app
        app.machine.count_sites()
        busiest = self.scene.sites[:_MEASURED]
        if busiest or not self.scene.hits:  # before they are known none of them has a rate
            self._meter.sample(app.clock(), {_meter_key(site): site.count for site in busiest})
        self.redraw()

    # What is shown

    def redraw(self) -> None:
        """The stacks are those of the site under the cursor."""
        super().redraw()
        if self.stacks is not None:
            self.stacks.redraw()

    def sites(self) -> list[Site]:
        """In their order."""
        if self._kept is not None:
            now = {_key(site): site for site in self.scene.sites}
            return [now.get(_key(site), site) for site in self._kept]
        return self._sorted([site for site in self.scene.sites if self._wanted(site)])

    def _wanted(self, site: Site) -> bool:
        scene = self.scene
        if self.only and site.breakpoint not in self.only:
            return False
        if not self.words:
            return True
        name = scene.names.of(site.insn_ip)
        text = f"{name.symbol} {name.source} {scene.label_of(site.breakpoint)}".lower()
        return all(word in text for word in self.words.split())

    def _sorted(self, sites: list[Site]) -> list[Site]:
        match self.order:
            case 1:
                sites.sort(key=lambda site: -(self._meter.rate(_meter_key(site)) or 0))
            case 2:
                sites.sort(key=lambda site: -site.last_ns)
            case 3:
                sites.sort(key=lambda site: site.first_ns)
            case 4:
                sites.sort(key=lambda site: self.scene.names.of(site.insn_ip).symbol)
            case _:
                sites.sort(key=lambda site: -site.count)
        return sites

    def chosen(self) -> Site | None:
        """The site under the cursor."""
        sites = self.sites()
        return next((site for site in sites if _key(site) == self._key), sites[0] if sites else None)

    def chosen_hits(self) -> SiteHits:
        """Its tasks and stacks."""
        site = self.chosen()
        return self.facts.of(site.breakpoint, site.insn_ip) if site is not None else SiteHits((), ())

    def selected_hit(self) -> Record | None:
        """The last hit of the site, if the ring still has it."""
        last = max((group.last for group in self.chosen_hits().tasks), default=-1)
        ring = self.scene.ring
        found = records.read(ring, last, 1) if ring is not None and last >= 0 else []
        return found[0] if found and found[0].seq == last else None

    # Keys

    def arrow(self, right: int, down: int) -> bool:
        """Up and down a site; to the sides another watch."""
        if right:
            choices = [(), *self._choices()]
            at = choices.index(self.only) if self.only in choices else 0
            self.only = choices[(at + right) % len(choices)]
            self._kept = None
        self._walk(down)
        return True

    def page(self, by: int) -> bool:
        """By windows."""
        self._walk(by * max(1, self._rows - 1))
        return True

    def oldest(self) -> bool:
        """The first."""
        self._walk(-len(self.scene.sites))
        return True

    def newest(self) -> bool:
        """The last."""
        self._walk(len(self.scene.sites))
        return True

    def _walk(self, by: int) -> None:
        sites = self.sites()
        keys = [_key(site) for site in sites]
        at = keys.index(self._key) if self._key in keys else 0
        if sites:
            at = max(0, min(len(sites) - 1, at + by))
            self._key = keys[at]
        self.redraw()
        self.post_message(self.Moved())

    def toggle_follow(self) -> bool:
        """Keep the order as it is, or sort again as hits come."""
        self._kept = tuple(self.sites()) if self._kept is None else None
        self.redraw()
        return True

    def sort_otherwise(self) -> None:
        """The next order."""
        self.order = (self.order + 1) % len(_ORDERS)
        self._kept = None
        self.redraw()

    def open(self) -> bool:
        """The hits of the site."""
        site = self.chosen()
        if site is not None:
            self.desk_app.show_hits_later(f"at={site.insn_ip:#x} bp={site.breakpoint}")
        return True

    def leave(self) -> bool:
        """Escape takes the words away, then the choice of a watch."""
        if not self.words and not self.only:
            return False
        self.words, self.only = "", self.only if self.words else ()
        self.redraw()
        return True

    def line_text(self, purpose: str) -> str:
        """The words that are there."""
        self._before = self.words
        return self.words

    def line_typed(self, purpose: str, text: str) -> str:
        """They act while they are typed."""
        self.words = text.strip().lower()
        self._kept = None
        self.redraw()
        return ""

    def line_done(self, purpose: str, text: str | None) -> str:
        """Kept, or as it was."""
        self.line_typed(purpose, self._before if text is None else text)
        return ""

    def on_click(self, event: Click) -> None:
        """The site under the mouse."""
        sites = self.sites()
        at = self._top + event.y - 2
        if event.y >= 2 and at < len(sites):
            self._key = _key(sites[at])
            self._walk(0)

    def on_mouse_scroll_up(self) -> None:
        """Three sites."""
        self._walk(-3)

    def on_mouse_scroll_down(self) -> None:
        """Three sites."""
        self._walk(3)

    # The picture

    def lines(self, width: int, height: int) -> list[Strip]:
        """The rule, the heading, the sites."""
        ink, sites = self.ink, self.sites()
        self._rows = room = max(1, height - 2)
        keys = [_key(site) for site in sites]
        at = keys.index(self._key) if self._key in keys else 0
        self._top = max(0, min(self._top, at, len(sites) - room), at - room + 1)
        total = sum(site.count for site in sites)
        order = _ORDERS[self.order] + (", kept" if self._kept is not None else "")
        right = f"{len(sites)} sites, {order}" if len(sites) > room else order
        after = numbers.counted(total, "hit")
        if self.words:
            after += f"  / {one_line(self.words)}"
        one = bool(sites) and len({self.scene.label_of(site.breakpoint) for site in sites}) == 1
        cells = _Cells(width, watch=not one)
        title = self._title(self.only or ((sites[0].breakpoint,) if one else ()))
        out = [self.rule(width, title, after=after, right=right), self._head(width, cells)]
        for number, site in enumerate(sites[self._top : self._top + room], self._top):
            out.append(self._site(width, cells, site, total, number == at))
        if not sites:
            text = self._nothing()
            out.append(self.line(width).add(f"  {text}", ink.muted).strip())
        return out

    def _nothing(self) -> str:
        view = self.scene.view
        if self.scene.sites:
            return "no site is like that: Esc shows all"
        watched = view is None or view.breakpoints
        return "nothing has hit yet" if watched else "nothing is watched yet: w watches a variable"

    def _choices(self) -> list[tuple[int, ...]]:
        """Breakpoints by the watch they belong to; one of another owner by itself."""
        scene = self.scene
        found: dict[tuple[bool, int], list[int]] = {}
        for each in scene.view.breakpoints if scene.view else ():
            watch = scene.watches.get(each.id)
            found.setdefault((watch is None, each.id if watch is None else watch), []).append(each.id)
        return [tuple(found[key]) for key in sorted(found)]

    def _title(self, only: tuple[int, ...]) -> str:
        scene = self.scene
        if not only:
            return "WHO DOES IT, all watches"
        view = scene.view
        kind = next((each.type for each in view.breakpoints if each.id in only), "") if view else ""
        verb = {"w": "WRITES", "rw": "READS OR WRITES", "x": "EXECUTES", "r": "READS"}.get(kind, "HITS")
        return f"WHO {verb} {scene.label_of(only[0])}"

    def _head(self, width: int, cells: _Cells) -> Strip:
        ink = self.ink
        line = (
            self.line(width)
            .add(" ")
            .add("hits", ink.muted, cells.hits, right=True)
            .add("share", ink.muted, cells.share, right=True)
        )
        line.add("rate/s", ink.muted, 7, right=True)
        if cells.first:
            line.add("first", ink.muted, cells.first, right=True)
        instructions = self.scene.view is None or self.scene.view.clock == "instructions"
        ago = "insns ago" if instructions and cells.last > 8 else "last ago" if cells.last > 8 else "ago"
        line.add(ago, ink.muted, cells.last, right=True).add("  ")
        line.add(f"old {self.glyphs.arrow} new", ink.muted, cells.change).add(" ")
        line.add("tasks", ink.muted, cells.tasks).add(" ").add("done by", ink.muted, cells.by).add(" ")
        if cells.source:
            line.add("source", ink.muted, cells.source).add(" ")
        return line.add("watch" if cells.watch else "", ink.muted).strip()

    def _site(self, width: int, cells: _Cells, site: Site, total: int, here: bool) -> Strip:
        ink, scene, glyphs = self.ink, self.scene, self.glyphs
        clock = scene.view.clock if scene.view else "instructions"
        line = self.line(width).add(glyphs.cursor if here else " ", ink.rule_focus)
        line.add(numbers.count(site.count), ink.strong, cells.hits, right=True)
        share = 100 * site.count / max(1, total)
        line.add(f"{share:.{cells.decimals}f} %", ink.base, cells.share, right=True)
        line.add(numbers.rate(self._meter.rate(_meter_key(site))), ink.base, 7, right=True)
        if cells.first:
            line.add(time_text(site.first_ns, clock), ink.muted, cells.first, right=True)
        ago = max(0, scene.view.time_ns - site.last_ns) if scene.view else 0
        line.add(delta_text(ago, clock), ink.muted, cells.last, right=True).add("  ")
        start = line.at
        change = Line(min(cells.change, line.room), ink.base, glyphs.ellipsis)
        if site.value is not None or site.old is not None:
            put_change(change, record_of_site(site), glyphs, ink, scene.signed(site.breakpoint))
        for segment in change.strip():
            line.add(segment.text, segment.style)
        line.to(start + cells.change).add(" ")
        line.add(self._who(site, width), ink.base, cells.tasks).add(" ")
        name = scene.names.of(site.insn_ip)
        line.add(without_offset(name.symbol, cells.by), ink.symbol, cells.by).add(" ")
        if cells.source:
            line.add_end(name.source, ink.muted, cells.source).add(" ")
        if cells.watch:
            line.add_end(scene.label_of(site.breakpoint), ink.muted)
        return line.strip((ink.cursor if self.has_focus else ink.cursor_far) if here else None)

    def _who(self, site: Site, width: int) -> str:
        tasks = self.facts.of(site.breakpoint, site.insn_ip).tasks
        if not tasks:
            return self.glyphs.unknown
        comm = self.name_of(tasks[0]) if width >= 112 else ""
        more = f" +{len(tasks) - 1}" if len(tasks) > 1 else ""
        return f"{tasks[0].key}{more}" + (f" {comm}" if comm else "")

    def name_of(self, task: Group) -> str:
        """A task's name: as it is now, or of one that has ended as it was at its last hit."""
        view, ring = self.scene.view, self.scene.ring
        living = next((each.comm for each in view.tasks if each.tid == task.key), "") if view else ""
        if living or ring is None:
            return shown(living)
        last = records.read(ring, task.last, 1)
        return self.scene.comm(last[0].comm) if last and last[0].seq == task.last else ""


class _Cells:
    """Widths of the columns that depend on that of the panel; what has none is not shown.

    `watch` is False where all sites are of one watch, which the title names.
    """

    def __init__(self, width: int, watch: bool) -> None:
        narrow = width < 112
        self.hits, self.share, self.decimals, self.last = (9, 6, 0, 8) if narrow else (10, 8, 1, 10)
        self.first = 15 if width >= 140 else 0
        self.watch = 0 if not watch else 14 if width < 180 else 24
        self.change = (9 if watch else 12) if narrow else 15 if width < 180 else 30
        self.tasks = (7 if watch else 9) if narrow else 14
        self.source = 0 if width < 100 else 16 if width < 180 else 24
        fixed = 1 + self.hits + self.share + 7 + self.first + self.last + 2 + self.change + 1 + self.tasks + 2
        left = width - fixed - (self.source + 1 if self.source else 0)
        self.by = max(8, left - self.watch)


def _key(site: Site) -> tuple[int, int]:
    return site.breakpoint, site.insn_ip


def _meter_key(site: Site) -> int:
    return site.insn_ip << 32 | site.breakpoint
