/*
 * Nothing but hits. MODE says how `hot` is reached; `warm`, `cool` and `cold` are its quiet neighbours.
 * The first argument is the number of rounds.
 */
#include "runtime.h"

#define WRITE 0   /* one store a round */
#define DEEP 1    /* the same, 16 frames down */
#define DESCEND 2 /* down 16 frames and up again for each store */
#define READ 3    /* one load and one store a round */
#define FOUR 4    /* four variables in turn */
#define REP 5     /* eight bytes by `rep stosb`: eight hits a round */

long hot, warm, cool, cold;
long total;

NOINLINE void strike(long rounds)
{
    for (long n = 0; n < rounds; n++) {
#if MODE == READ
        total += *(volatile long *)&hot;
        *(volatile long *)&hot = n;
#elif MODE == FOUR
        *(volatile long *)&hot = n;
        *(volatile long *)&warm = n;
        *(volatile long *)&cool = n;
        *(volatile long *)&cold = n;
#elif MODE == REP
        memset(&hot, (int)n, sizeof hot);
#else
        *(volatile long *)&hot = n + 1;
#endif
    }
}

NOINLINE long descend(int depth, long rounds)
{
    if (depth > 1)
        return descend(depth - 1, rounds) + 1;
    strike(rounds);
    return 1;
}

int main(int argc, char **argv)
{
    long wanted = rounds_wanted(argc, argv, 1L << 40);
#if MODE == DEEP
    total = descend(13, wanted);
#elif MODE == DESCEND
    for (long round = 0; round < wanted; round++)
        total += descend(13, 1);
#else
    strike(wanted);
#endif
    return 0;
}
