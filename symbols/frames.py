"""Call stacks: by the unwind rules of each module, and by guesses, marked as such, where it has none.

Stacks of programs of 32 bits are walked by their frame pointers, and every caller is marked as a guess.

The rule of each pc is found once and kept. A walk can say which words it read, so that whoever sees the same pc, rsp,
rbp and words again knows that the stack is the same without walking it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from symbols.cfi import Place, Row
from symbols.frame_expression import evaluate
from symbols.frame_guess import Guesser, Shape
from symbols.space import AddressSpace

__all__ = ["Unwinder"]

Read = Callable[[int, int], bytes]
Frames = tuple[tuple[int, bool], ...]
Registers = Callable[[str], int]

RULES_LIMIT = 1 << 17
MASK = (1 << 64) - 1
BP, SP, PC = 6, 7, 16
_NAMES = ("rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", *(f"r{n}" for n in range(8, 16)), "rip")
_KEPT = (3, 6, 12, 13, 14, 15)  # what a callee must keep: rbx, rbp, r12 to r15 (psABI 3.2.1)


class _Unreadable(ValueError):
    """Memory or a register that the walk needs is not there."""


class Unwinder:
    """Walks stacks of one address space. `read(address, size)` may raise anything, or give less, where nothing is."""

    def __init__(self, space: AddressSpace, read: Read) -> None:
        self._space = space
        self._read = read
        self._forget()

    def walk(self, pc: int, sp: int, bp: int, limit: int = 16, regs: Registers | None = None) -> Frames:
        """((ip, guessed)...), innermost first: the pc itself, then return addresses; at most `limit`."""
        return self.walk_traced(pc, sp, bp, limit, regs)[0]

    def walk_registers(
        self, pc: int, sp: int, bp: int, limit: int, regs: Registers
    ) -> tuple[tuple[int, bool, dict[str, int]], ...]:
        """(ip, guessed, registers) of each frame, as `walk` finds them.

        Of the innermost frame no registers are given, they are `regs`; of a caller those that the rules bring back or that every callee
        keeps. `rip` is where it goes on, `rsp` what it is then. What is not known is not there.
        """
        walk = self._begin(pc, sp, bp, regs)
        rows = ((address, guessed, walk.registers()) for address, guessed in self._callers(walk, limit))
        return (pc, False, {}), *rows

    def walk_traced(
        self, pc: int, sp: int, bp: int, limit: int = 16, regs: Registers | None = None
    ) -> tuple[Frames, tuple[tuple[int, int], ...], bool]:
        """The frames, the (address, size) of each stack read in order, and whether only rsp and rbp were used."""
        walk = self._begin(pc, sp, bp, regs)
        frames = ((pc, False), *self._callers(walk, limit))
        return frames, tuple(walk.reads), walk.only_sp_bp

    def _begin(self, pc: int, sp: int, bp: int, regs: Registers | None) -> _Walk:
        if self._modules is not self._space.modules:
            self._forget()
        return _Walk(self._read, pc, sp, bp, regs, self._space.bits // 8)

    def _callers(self, walk: _Walk, limit: int) -> Iterator[tuple[int, bool]]:
        """(ip, guessed) of each caller, the walk standing in it; with the innermost frame at most `limit`."""
        exact = True
        for _ in range(limit - 1):
            try:
                step = self._step(walk, exact)
            except ValueError:  # unreadable memory, or a rule that makes no sense: the stack ends here
                return
            if step is None:
                return
            address, guessed, exact = step
            if not address or not self._runs(address):
                return
            yield address, guessed

    def _forget(self) -> None:
        """Mappings changed: what depends on where modules lie is found again."""
        self._modules = self._space.modules
        self._rules: dict[int, Row | None] = {}
        self._guesser = Guesser(self._space, self._code)

    def _runs(self, address: int) -> bool:
        return self._space.executable(address) or self._space.executable(address - 1)

    def _step(self, walk: _Walk, exact: bool) -> tuple[int, bool, bool] | None:
        """Go to the caller: (its address, guessed, whether the address is exact and not a return address)."""
        pc = walk.pc
        if walk.width == 4:
            address = self._by_frame_pointer(walk, exact)
            return None if address is None else (address, True, False)
        row = self._rule(pc if exact else pc - 1)
        if row is None:
            address = self._guess(walk, exact)
            return None if address is None else (address, True, False)
        if isinstance(row.cfa, bytes):
            cfa = evaluate(row.cfa, walk.register, walk.word)
        else:
            cfa = walk.register(row.cfa[0]) + row.cfa[1] & MASK
        if cfa <= walk.sp and not row.signal:
            return None
        place: Place = row.places.get(row.return_register)
        if place is None:
            return None
        if place[0] == "at" and isinstance(place[1], int):
            address = walk.word(cfa + place[1], 8)
        else:
            address = walk.value(walk.located(place, cfa))
        walk.go(address, cfa, row)
        return address, False, row.signal

    def _by_frame_pointer(self, walk: _Walk, exact: bool) -> int | None:
        """The caller where rbp points at its saved self and the return address; at a function's start rsp points at that."""
        if exact and self._function(walk.pc) == walk.pc:
            return self._try(walk, walk.sp, None)
        bp = walk.register(BP)
        return self._try(walk, bp + walk.width, bp)

    def _guess(self, walk: _Walk, exact: bool) -> int | None:
        pc = walk.pc
        shape = self._guesser.shape(pc, self._function(pc if exact else pc - 1))
        if not self._space.executable(
            pc
        ):  # called through a wild pointer: only the return address was pushed
            shape = Shape(False, 0, None) if exact else None
        if shape is not None:
            base = walk.register(BP) if shape.by_bp else walk.sp
            found = self._try(
                walk, base + shape.offset, None if shape.saved_bp is None else base + shape.saved_bp
            )
            if found is not None:
                return found
        bp = walk.register(BP)
        return self._try(walk, bp + 8, bp) if bp % 8 == 0 else None

    def _try(self, walk: _Walk, place: int, saved_bp: int | None) -> int | None:
        if place < walk.sp:
            return None
        try:
            address = walk.word(place, walk.width)
        except ValueError:
            return None
        if not self._guesser.returns_to(address):
            return None
        walk.climb(address, place + walk.width, saved_bp)
        return address

    def _function(self, pc: int) -> int | None:
        """Where the function around a pc begins."""
        module = self._space.module_at(pc)
        if module is None or module.names is None:
            return None
        found = module.names.table.at(pc - module.bias)
        return None if found is None else pc - found[1]

    def _rule(self, pc: int) -> Row | None:
        if pc in self._rules:
            return self._rules[pc]
        if len(self._rules) >= RULES_LIMIT:
            self._rules.clear()
        module = self._space.module_at(pc)
        row = None
        if module is not None and module.names is not None:
            row = module.names.frames.row(pc - module.bias)
        self._rules[pc] = row
        return row

    def _code(self, address: int, size: int) -> bytes:
        try:
            return self._read(address, size)
        except Exception:  # whatever the reader's own error is
            return b""


class _Saved:
    """A register of a caller that lies in memory and has not been needed yet."""

    __slots__ = ("address",)

    def __init__(self, address: int) -> None:
        self.address = address


_LOST = _Saved(-1)


class _Walk:
    """The registers of the frame a walk is at, and what it has read. `width` is that of a register on the stack, in bytes."""

    def __init__(self, read: Read, pc: int, sp: int, bp: int, regs: Registers | None, width: int = 8) -> None:
        self.width = width
        self.pc = pc
        self.sp = sp
        self.reads: dict[tuple[int, int], None] = {}
        self.only_sp_bp = True
        self._read = read
        self._regs = regs
        self._known: dict[int, int | _Saved] = {BP: bp, SP: sp, PC: pc}
        self._innermost = True

    def word(self, address: int, size: int) -> int:
        """Memory as a number. Raises ValueError where there is none."""
        try:
            data = self._read(address & MASK, size)
        except Exception:  # whatever the reader's own error is
            data = b""
        if len(data) != size:
            raise _Unreadable
        self.reads[address & MASK, size] = None
        return int.from_bytes(data, "little")

    def register(self, number: int) -> int:
        """A register of this frame. Raises ValueError where it is not known."""
        known = self._known.get(number)
        if isinstance(known, int):
            return known
        if known is None:
            if self._regs is None or number >= len(_NAMES) or not (self._innermost or number in _KEPT):
                raise _Unreadable
            self.only_sp_bp = False
            value = self._regs(_NAMES[number])
        elif known is _LOST:
            raise _Unreadable
        else:
            value = self.word(known.address, self.width)
        self._known[number] = value
        return value

    def registers(self) -> dict[str, int]:
        """All registers of this frame that are known, by name."""
        out = {}
        for number, name in enumerate(_NAMES):
            try:
                out[name] = self.register(number)
            except ValueError:
                continue
        return out

    def located(self, place: Place, cfa: int) -> int | _Saved:
        """Where a rule says that a register of the caller is. Raises ValueError where it does not."""
        if place is None:
            raise _Unreadable
        kind, detail = place
        if isinstance(detail, bytes):
            value = evaluate(detail, self.register, self.word, (cfa,))
            return _Saved(value) if kind == "expression" else value
        if kind == "register":
            return self.register(detail)
        return _Saved(cfa + detail & MASK) if kind == "at" else cfa + detail & MASK

    def value(self, found: int | _Saved) -> int:
        return self.word(found.address, 8) if isinstance(found, _Saved) else found

    def go(self, address: int, cfa: int, row: Row) -> None:
        """Become the caller's frame as the rules say."""
        known = self._known
        kept: dict[int, int | _Saved] = {n: known[n] for n in _KEPT if n in known}
        if row.saved is not None:
            for number, offset in row.saved:
                kept[number] = _Saved(cfa + offset & MASK)
            self._enter(address, cfa, kept, row.signal)
            return
        for number, place in row.places.items():
            if number not in (row.return_register, SP):
                try:
                    kept[number] = self.located(place, cfa)
                except ValueError:
                    kept[number] = _LOST
        sp = row.places.get(SP)
        stack = cfa if sp is None else self.value(self.located(sp, cfa))
        self._enter(address, stack, kept, row.signal)

    def climb(self, address: int, sp: int, saved_bp: int | None) -> None:
        """Become the caller's frame by a guess."""
        kept: dict[int, int | _Saved] = dict.fromkeys(_KEPT, _LOST)
        kept[BP] = _Saved(saved_bp) if saved_bp is not None else self._known.get(BP, 0)
        self._enter(address, sp, kept, False)

    def _enter(self, address: int, sp: int, kept: dict[int, int | _Saved], signal: bool) -> None:
        self._innermost = self._innermost and signal
        self.pc, self.sp = address, sp
        self._known = kept
        self._known[SP], self._known[PC] = sp, address
