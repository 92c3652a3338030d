/*
 * Computing, calls, and a table that is read and written all the time; what is watched lies in the same page as the
 * table and is written once, at the start. No system call until the end. The first argument is the number of rounds.
 */
#include "runtime.h"

struct page {
    long before[4];
    long watched[4];
    uint64_t table[448];
};
_Alignas(4096) struct page page;
uint64_t seed = 0x9E3779B97F4A7C15;

NOINLINE uint64_t turn(uint64_t x)
{
    x ^= x << 13;
    x ^= x >> 7;
    return x ^ x << 17;
}

NOINLINE uint64_t pass(uint64_t x)
{
    for (int at = 0; at < 448; at++) {
        x = turn(x);
        page.table[at] += x & 0xffff;
        if (x & 8)
            x += page.table[(at * 7) % 448];
    }
    return x;
}

int main(int argc, char **argv)
{
    long wanted = rounds_wanted(argc, argv, 1L << 40);
    for (int at = 0; at < 4; at++)
        page.watched[at] = at;
    for (long round = 0; round < wanted; round++) {
        seed = pass(seed);
        page.before[round & 3] = (long)seed;
    }
    return (int)(seed & 1);
}
