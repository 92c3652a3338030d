/* A program at privilege level 0 that is its own debugger: it arms DR0 to DR3 itself and takes each #DB by its IDT. */
#include "bare.h"

enum { ROUNDS = 50 };

volatile uint32_t counter;
volatile uint64_t pair;
volatile uint32_t visits, exceptions, steps, wrong;
static volatile int quiet;
static volatile uint64_t expected;

/* What the handler of #DB sees: the frame on the stack, and DR6, which it must clear by itself. */
__attribute__((interrupt, used)) static void on_debug(struct frame *frame)
{
    uint64_t dr6 = READ_DR(6);
    exceptions++;
    if (!quiet) {
        print("  #DB at ");
        print_hex(frame->rip);
        print(", DR6 ");
        print_hex(dr6);
        print(dr6 & BD ? " general detect" : dr6 & BS ? " single step" : "");
        print("\n");
    }
    if ((dr6 & (BS | BD | 15)) != expected)
        wrong++;
    if (dr6 & BS && ++steps % 4 == 0)
        frame->rflags &= ~(uint64_t)TF;
    if (dr6 & 2 && !(dr6 & BS))
        frame->rflags |= RF; /* DR1 is an execute slot: without RF its fault would come again for ever */
    WRITE_DR(6, 0xFFFF0FF0);
}

NOINLINE static void add_one(void)
{
    counter++;
}

NOINLINE static void reset(void)
{
    counter = 0;
}

NOINLINE static void visit(void)
{
    visits++;
}

NOINLINE static void say(const char *what, uint64_t bits)
{
    expected = bits;
    if (!quiet)
        print(what);
}

static void one_round(void)
{
    say("DR0 watches counter: a write each\n", 1);
    WRITE_DR(0, &counter);
    WRITE_DR(7, SLOT(0, WRITE, FOUR));
    add_one();
    add_one();
    reset();

    say("DR1 breaks at visit(): a fault, before it runs\n", 2);
    WRITE_DR(1, visit);
    WRITE_DR(7, SLOT(1, EXECUTE, ONE));
    visit();

    say("DR2 and DR3 share a pair of words: one #DB for one store, with both bits\n", 12);
    WRITE_DR(2, &pair);
    WRITE_DR(3, (char *)&pair + 4);
    WRITE_DR(7, SLOT(2, WRITE, FOUR) | SLOT(3, ACCESS, FOUR));
    pair = 0x100000001;

    say("TF: four single steps\n", BS);
    WRITE_DR(7, 0);
    __asm__ volatile("pushfq\n orq $0x100, (%%rsp)\n popfq\n nop\n nop\n nop\n nop" : : : "memory", "cc");

    say("DR7.GD: the registers are guarded, and the guard is gone in the handler\n", BD);
    WRITE_DR(7, 1 << 13);
    WRITE_DR(0, 0);

    say("CR4.DE: DR3 watches port 80\n", 8);
    uint64_t cr4;
    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
    __asm__ volatile("mov %0, %%cr4" : : "r"(cr4 | 8));
    WRITE_DR(3, 0x80);
    WRITE_DR(7, SLOT(3, PORT, ONE));
    out8(0x80, 1);
    WRITE_DR(7, 0);
    __asm__ volatile("mov %0, %%cr4" : : "r"(cr4));

    say("int1: a #DB without a bit in DR6\n", 0);
    __asm__ volatile("int1");
}

int main(void)
{
    set_gate(1, on_debug);
    load_idt();
    for (int round = 0; round < ROUNDS; round++) {
        one_round();
        quiet = 1;
    }
    print("exceptions ");
    print_hex(exceptions);
    print(", not as expected ");
    print_hex(wrong);
    print("\n");
    return wrong != 0;
}
