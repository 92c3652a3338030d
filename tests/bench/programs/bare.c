/* What bare mode costs: a loop with nothing armed, the same with a quiet slot, then hits. A letter is printed before each part. */
#include "bare.h"

volatile uint64_t table[64], quiet_word, hot;

__asm__(".text\n"
        "on_debug:\n"
        "  pushq %rax\n"
        "  movl $0xffff0ff0, %eax\n"
        "  movq %rax, %dr6\n"
        "  popq %rax\n"
        "  iretq\n");
extern char on_debug[];

NOINLINE static void work(long rounds)
{
    uint64_t x = 88172645463325252ull;
    while (rounds--) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        table[x & 63] += x;
    }
}

int main(void)
{
    set_gate(1, on_debug);
    load_idt();
    print("a");
    work(100000);
    print("b");
    WRITE_DR(0, &quiet_word);
    WRITE_DR(7, SLOT(0, WRITE, EIGHT));
    work(100000);
    print("c");
    WRITE_DR(0, &hot);
    for (int i = 0; i < 10000; i++)
        hot = i;
    print("d");
    (void)print_hex;
    return 0;
}
