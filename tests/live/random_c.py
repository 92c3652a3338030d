"""Random C programs that need no library: structures with bit fields, arrays and vectors, numbers of every size, calls through
pointers, copies, and instructions that compilers do not choose by themselves."""

from __future__ import annotations

import random
from typing import Final, NamedTuple

__all__ = ["STACK", "STACK_TOP", "Program", "program"]

STACK: Final = "stack_area"
"""The variable that the program has its stack in."""
STACK_TOP: Final = 16_000
"""Where the stack begins, from the variable on."""

_INTEGERS: Final = (
    *("char", "signed char", "unsigned char", "short", "unsigned short"),
    *("int", "unsigned", "long", "unsigned long", "__int128"),
)
_BITS: Final = {"int": 32, "unsigned": 32, "long": 64, "unsigned long": 64, "short": 16, "unsigned char": 8}
_FLOATS: Final = ("float", "double", "long double")
_LANES: Final = {"v4si": 4, "v8hi": 8, "v16qi": 16, "v2di": 2, "v4sf": 4, "v2df": 2}
_SHUFFLED_BY: Final = {"v4sf": "v4si", "v2df": "v2di"}

_HEAD: Final = r"""
typedef int v4si __attribute__((vector_size(16)));
typedef short v8hi __attribute__((vector_size(16)));
typedef signed char v16qi __attribute__((vector_size(16)));
typedef long v2di __attribute__((vector_size(16)));
typedef float v4sf __attribute__((vector_size(16)));
typedef double v2df __attribute__((vector_size(16)));
typedef unsigned long ul;
typedef unsigned u32;
void *memcpy(void *to, const void *from, ul size) {
    void *all = to;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) :: "memory");
    return all;
}
void *memset(void *to, int byte, ul size) {
    void *all = to;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(byte) : "memory");
    return all;
}
void *memmove(void *to, const void *from, ul size) {
    char *a = to;
    const char *b = from;
    if (a < b) for (ul i = 0; i < size; i++) a[i] = b[i];
    else while (size--) a[size] = b[size];
    return to;
}
int memcmp(const void *left, const void *right, ul size) {
    const unsigned char *a = left, *b = right;
    for (; size--; a++, b++) if (*a != *b) return *a - *b;
    return 0;
}
char stack_area[16384] __attribute__((aligned(64)));
volatile int depth, fuel = 60;
"""
_START: Final = r"""
__asm__(".globl _start\n_start: lea stack_area+16000(%rip), %rsp\n xor %ebp, %ebp\n call body\n mov %eax, %edi\n"
        " and $127, %edi\n xor %ecx, %ecx\n xor %r11d, %r11d\n cmp %rsp, %rsp\n mov $60, %eax\n syscall\n hlt\n");
"""
_ENDS: Final = (
    *("",) * 5,
    "cmp %rax,%rax; ud2",
    "cmp %rax,%rax; mov $0,%ecx; mov %rax,(%rcx)",
    "xor %ecx,%ecx; cmp %rax,%rax; idivq %rcx",
    "cmp %rax,%rax; int3",
    "lea 1(%rsp),%rcx; and $-16,%rcx; cmp %rax,%rax; movaps %xmm0,3(%rcx)",
    "mov $0x8000000000000000,%rcx; cmp %rax,%rax; addl $5,(%rcx)",
    "xor %ecx,%ecx; mov %rsp,%rsi; cmp %rax,%rax; pushq (%rcx)",
    "cmp %rax,%rax; movl $1,_start(%rip)",
    "cmp %rax,%rax; jmp *_start(%rip)",
    "xor %ecx,%ecx; cmp %rax,%rax; call *%rcx",
    "cmp %rax,%rax; hlt",
)
"""By itself, or by a fault; the comparison defines the flags that are looked at afterwards."""
_ASSEMBLY: Final = (
    '__asm__ volatile("lock; xaddq %0,%1" : "+r"(a), "+m"(own[0]) :: "memory", "cc");',
    '__asm__ volatile("lock; incl %0" : "+m"(own[1]) :: "cc");',
    "a = __sync_val_compare_and_swap(&own[1], own[1], a);",
    "a += __atomic_exchange_n(&own[2], a, 5);",
    '__asm__ volatile("movntiq %1,%0" : "=m"(own[3]) : "r"(a));',
    '{ ul b = (ul)a & 255; __asm__ volatile("btcq %1,%0; cmp %1,%1" : "+m"(*(char(*)[64])own) : "r"(b) : "cc"); }',
    '__asm__ volatile("std; mov $3,%%ecx; lea 40+%0,%%rdi; rep stosl; cld; cmp %%rcx,%%rcx"'
    ' : "+m"(*(char(*)[64])own) :: "rdi", "rcx", "memory", "cc");',
    '__asm__ volatile("push $0x2b; mov (%%rsp),%%ss; nop; pop %%rcx" ::: "rcx", "memory");',
    '{ char *q = (char *)own + (u & 7); __asm__ volatile("movups %%xmm0,(%0); maskmovdqu %%xmm1,%%xmm0" :: "D"(q) : "memory"); }',
    '__asm__ volatile("fldt %0; fld1; faddp; fstpt %0" : "+m"(wide[0]));',
    # neither the x87's pointers nor what else a processor leaves there
    '__asm__ volatile("fxsave %0" : "=m"(*(char(*)[512])image)); memset(image + 6, 0, 18); memset(image + 28, 0, 4);',
    '__asm__ volatile("cmpxchg16b %0" : "+m"(*(v2di *)own), "+a"(a), "+d"(r) : "b"(1L), "c"(2L) : "cc", "memory");',
    '__asm__ volatile("cmpxchg8b %0; mov %%eax,%%eax; mov %%edx,%%edx"'
    ' : "+m"(own[5]), "+a"(a), "+d"(r) : "b"(1L), "c"(2L) : "cc", "memory");',
)
_NOT_STEPPED: Final = (
    '__asm__ volatile("cmp %%rsp,%%rsp; pushf; popq %0; and $0,%0" : "=r"(a) :: "memory", "cc");'
)
"""pushf shows the TF of a step on silicon."""


class Program(NamedTuple):
    """C, the flags for gcc, and how many instructions are to be stepped first."""

    source: str
    flags: tuple[str, ...]
    steps: int


class _Field(NamedTuple):
    """Something that can be assigned to. `place` has %s for an index; `kind`: "i", "f", or the name of a vector."""

    place: str
    kind: str


def program(seed: int) -> Program:
    """The program of a seed."""
    chance = random.Random(seed)
    steps = chance.choice([0, 0, 0, 0, 30, 300])
    source = _Writer(chance, steps).program()
    flags = [
        *(chance.choice(["-O0", "-O1", "-O2", "-O3", "-Os"]), "-w", "-nostdlib", "-static", "-no-pie"),
        *("-ffreestanding", "-fno-stack-protector", "-fno-math-errno", "-fno-strict-aliasing", "-fwrapv"),
        *("-mpreferred-stack-boundary=4", "-mcx16", chance.choice(["-fno-pie", "-fpie"])),
    ]
    for flag, share in (
        ("-ffast-math", 0.1), ("-mno-red-zone", 0.2), ("-minline-all-stringops", 0.3), ("-mfpmath=387", 0.15),
        ("-fno-omit-frame-pointer", 0.2), ("-fno-tree-vectorize", 0.2), ("-mtune=atom", 0.1),
        ("-mstringop-strategy=rep_8byte", 0.2),
    ):  # fmt: skip
        if chance.random() < share:
            flags.append(flag)
    return Program(source, (*flags, "-lgcc"), steps)


class _Writer:
    """One program. Expressions and statements nest less deep the deeper they are."""

    def __init__(self, chance: random.Random, steps: int) -> None:
        self._chance = chance
        self._one = chance.choice
        self._steps = steps
        self._fields: list[_Field] = []
        self._structures = 0

    def program(self) -> str:
        chance = self._chance
        structures = [self._structure(number) for number in range(chance.randrange(1, 4))]
        self._structures = len(structures)
        count = chance.randrange(2, 6)
        functions = [self._function(number) for number in range(count)]
        names = ",".join(f"f{number}" for number in range(count))
        calls = "".join(
            f"r = r * 31 + f{chance.randrange(count)}(r, {chance.uniform(-1e3, 1e3):.5}, {chance.randrange(1 << 32)}u);\n"
            for _ in range(chance.randrange(2, 7))
        )
        end = self._one(_ENDS)
        last = f'__asm__ volatile("{end}");' if end else ""
        return "\n".join(
            (
                _HEAD,
                *structures,
                *(f"long f{number}(long, double, u32);" for number in range(count)),
                f"long (*volatile table[])(long, double, u32) = {{{names}}};",
                *functions,
                f"int body(void) {{ long r = {chance.getrandbits(62)};\n{calls}{last} return (int)(r ^ r >> 32); }}",
                _START,
            )
        )

    def _structure(self, number: int) -> str:
        chance, name = self._chance, f"g{number}"
        packed = chance.random() < 0.3
        members = []
        for at in range(chance.randrange(3, 11)):
            kind, member = chance.randrange(10), f"m{at}"
            if kind < 2:
                of = self._one(tuple(_BITS))
                members.append(f"{of} {member}:{chance.randrange(1, _BITS[of] + 1)};")
                self._fields.append(_Field(f"{name}.{member}", "i"))
            elif kind < 8:
                length = self._one([0, 0, chance.randrange(2, 17 if kind < 6 else 9)])
                volatile = "volatile " if kind < 6 and chance.random() < 0.15 else ""
                of = volatile + self._one(_INTEGERS if kind < 6 else _FLOATS)
                members.append(f"{of} {member}{f'[{length}]' if length else ''};")
                index = f"[%s%{length}u]" if length else ""
                self._fields.append(_Field(f"{name}.{member}{index}", "i" if kind < 6 else "f"))
            elif not packed:
                of = self._one(tuple(_LANES))
                members.append(f"{of} {member};")
                self._fields.append(_Field(f"{name}.{member}", of))
        self._fields.append(_Field(f"{name}.last", "i"))
        attribute = " __attribute__((packed))" if packed else ""
        return f"struct s{number} {{ {' '.join(members)} int last; }}{attribute} {name}, {name}b, {name}a[3];"

    def _function(self, number: int) -> str:
        body = "\n    ".join(self._statement() for _ in range(self._chance.randrange(3, 14)))
        return (
            f"static long own{number}[8] __attribute__((aligned(16)));\n"
            f"__attribute__((noinline, noclone)) long f{number}(long a, double x, u32 u) {{\n"
            f"    long r = a, *own = own{number}; u32 i = u & 7;\n"
            "    static long double wide[1]; static char image[512] __attribute__((aligned(16)));\n"
            f"    {body}\n    return r + a + u + (x > 0);\n}}"
        )

    def _place(self, kind: str) -> str:
        """What can be assigned to, of the structure, its twin or its array; "" where there is none."""
        found = [field.place for field in self._fields if field.kind == kind]
        if not found:
            return ""
        place = self._one(found)
        if self._chance.random() < 0.15:
            place = place.replace(".", "b.", 1)
        elif self._chance.random() < 0.15:
            place = place.replace(".", f"a[{self._one(['0', '1', '2', 'i%3u'])}].", 1)
        return place.replace("%s", self._one(["i", "u", "(u32)a", str(self._chance.randrange(9)), "(i+1)"]))

    def _whole(self, deep: int = 0) -> str:
        chance, one = self._chance, self._one
        kind = chance.randrange(14)
        if deep > 3 or kind < 2:
            return one(
                [str(chance.randrange(-9, 100)), f"0x{chance.getrandbits(40):x}L", "a", "u", "i", "(ul)r"]
            )
        if kind < 6:
            return self._place("i")
        deep += 1
        if kind < 9:
            return f"({self._whole(deep)} {one('+-*&|^')} {self._whole(deep)})"
        if kind == 9:
            return f"({self._whole(deep)} {one(['<<', '>>'])} (({self._whole(deep)}) & {one([7, 15, 31])}))"
        if kind == 10:
            divisor = f"(({one(['u32', 'unsigned short', 'unsigned char'])})({self._whole(deep)}) | 1)"
            return f"(({one(['int', 'long', 'u32'])})({self._whole(deep)}) {one('/%')} {divisor})"
        if kind == 11:
            test = f"{self._whole(deep)} {one(['<', '>', '==', '!=', '<='])} {self._whole(deep)}"
            return f"({test} ? {self._whole(deep)} : {self._whole(deep)})"
        if kind == 12:
            call = one([
                "__builtin_popcountl", "__builtin_bswap64", "__builtin_bswap32", "__builtin_parity",
                "(short)", "(signed char)", "(u32)", "!", "~", "-", "__builtin_ctzl(4096 | (long)",
            ])  # fmt: skip
            return f"{call}({self._whole(deep)})" + ")" * call.count("(long)")
        number = self._float(deep + 1)
        if len(number) >= 80:
            return "7"
        return f"(({number}) > -1e9 && ({number}) < 1e9 ? ({one(['int', 'long', 'short'])})({number}) : 3)"

    def _float(self, deep: int = 0) -> str:
        chance, one = self._chance, self._one
        kind = chance.randrange(10)
        if deep > 3 or kind < 2:
            tiny = f"{chance.uniform(-1, 1):.4}e{chance.randrange(-30, 30)}"
            return one([f"{chance.uniform(-100, 100):.6}", tiny, "x", "(double)a", "(float)x", "0.0"])
        if kind < 5:
            return self._place("f") or "x"
        deep += 1
        if kind < 8:
            return f"({self._float(deep)} {one('+-*/')} {self._float(deep)})"
        if kind == 8:
            return f"__builtin_{one(['sqrt', 'sqrtf', 'fabs'])}({self._float(deep)})"
        return f"(({one(_FLOATS)})({self._whole(deep)}))"

    def _statement(self, deep: int = 0) -> str:
        chance, one = self._chance, self._one
        kind = chance.randrange(30)
        if kind < 8:
            operator = one(["=", "=", "+=", "-=", "^=", "|=", "&=", "*="])
            return f"{self._place('i')} {operator} {self._whole()};"
        if kind < 11:
            place = self._place("f")
            return f"{place} {one(['=', '+=', '-=', '*='])} {self._float()};" if place else ";"
        if kind < 14:
            return self._vectors()
        if kind < 23 and deep < 2:
            return self._nested(kind, deep + 1)
        if kind == 23:
            return one(_ASSEMBLY if self._steps else [*_ASSEMBLY, _NOT_STEPPED])
        if kind == 24:
            return self._array()
        result = one(["r ^= %s;", "u += %s;", "a = %s;", "a = %s;"])
        return f"x = {self._float()};" if kind == 25 else result % self._whole().replace("%", "%%") % ()

    def _nested(self, kind: int, deep: int) -> str:
        chance, one = self._chance, self._one

        def inside() -> str:
            return self._statement(deep)

        if kind < 17:
            return f"for (u32 i = 0; i < {chance.randrange(2, 12)}; i++) {{ {inside()} {inside()} }}"
        if kind < 19:
            return f"if ({self._whole(1)}) {{ {inside()} }} else {{ {inside()} }}"
        if kind == 19:
            cases = " ".join(
                f"case {number}: {inside()} {one(['break;', 'break;', ''])}" for number in (0, 1, 2, 4, 5, 6)
            )
            return f"switch ((u32)({self._whole(1)}) % {chance.randrange(3, 9)}) {{ {cases} default: {inside()} }}"
        if kind == 20:
            called = f"table[{chance.randrange(5)} % (sizeof table / 8)]"
            return f"if (depth < 3 && fuel-- > 0) {{ depth++; r += {called}(a, x, u); depth--; }}"
        if kind == 21:
            return f"while (u & {one([1, 3, 7])} && fuel-- > 0) {{ u--; {inside()} }}"
        name = f"g{chance.randrange(self._structures)}"
        return one([
            f"{name}b = {name};", f"{name} = {name}b;", f"{name}a[i % 3] = {name};", f"{name}a[1] = {name}a[2];",
            f"memset(&{name}b, {chance.randrange(256)}, sizeof {name}b);",
            f"memmove(&{name}a[0], (char *)&{name}a[0] + {chance.randrange(16)}, sizeof {name}a[0]);",
        ])  # fmt: skip

    def _vectors(self) -> str:
        one = self._one
        of = one(tuple(_LANES))
        to, left, right = (self._place(of) for _ in range(3))
        if not to:
            return ";"
        floating = of in _SHUFFLED_BY
        operator = one(["+", "-", "*"] if floating else ["+", "-", "*", "&", "^", "|", ">", "=="])
        lanes = ",".join(str(self._chance.randrange(32)) for _ in range(_LANES[of]))
        lane = self._chance.randrange(2)
        return one([
            f"{to} = ({of})({left} {operator} {right});",
            f"{to} = __builtin_shuffle({left}, {right}, ({_SHUFFLED_BY.get(of, of)}){{{lanes}}});",
            f"{to} = {left};",
            f"{to}[{lane}] = ({'double' if floating else 'int'}){self._whole(2)};",
            f"x += {to}[1];" if floating else f"a += (long){to}[{lane}];",
        ])  # fmt: skip

    def _array(self) -> str:
        of = self._one(["float", "double", "int", "short", "long", "unsigned char"])
        length = self._chance.randrange(4, 33)
        return (
            f"{{ {of} t[{length}]; for (u32 i = 0; i < {length}; i++) t[i] = {self._whole(2)};"
            f" for (u32 i = 1; i < {length}; i++) t[i] += t[i - 1];"
            f" a += t[{self._chance.randrange(4)}] < 1e9 && t[0] > -1e9 ? t[1] != 0 : 5; own[i % 4] += a;"
            ' __asm__ volatile("" :: "r"(t) : "memory"); }'
        )
