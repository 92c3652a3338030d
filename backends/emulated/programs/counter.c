/*
 * counter: one counter, several writers, several ways to reach them.
 *
 * Watch `counter`: worker_step adds one at each step, audit takes some back now and then. Two instructions, three
 * call paths (main -> worker -> worker_step, main -> audit -> worker_step, main -> audit).
 * Watch `total`: one writer, a different value each time.
 * Watch `cfg+16/8` (that is cfg.limits[2]): add_limit raises it, reset_one puts it back to zero. Who resets it?
 * Watch `reset_one:x`: how often, and from where, it is called.
 *
 * Some 20,000 instructions of plain computing lie between two steps. The first argument is the number of steps;
 * without one it goes on for hours.
 */
#include "runtime.h"

#define PAUSE 2500 /* rounds of mix() between two steps */

struct cfg {
    long limits[4];
    int verbose;
};

long counter;
long total;
struct cfg cfg = {{10, 20, 30, 40}, 0};
uint64_t seed = 0x9E3779B97F4A7C15;

NOINLINE void add_limit(int which, long amount)
{
    cfg.limits[which] += amount;
}

NOINLINE void reset_one(int which)
{
    cfg.limits[which] = 0;
}

NOINLINE long worker_step(long step)
{
    seed = mix(seed, PAUSE);
    counter++;
    total += (long)(seed & 0xff);
    if (step % 4 == 0)
        add_limit((int)(seed >> 8 & 3), 1 + (long)(seed >> 16 & 7));
    return counter;
}

NOINLINE long worker(long first, long steps)
{
    long last = 0;
    for (long step = first; step < first + steps; step++)
        last = worker_step(step);
    return last;
}

NOINLINE void audit(long step)
{
    for (int which = 0; which < 4; which++)
        if (cfg.limits[which] > 100)
            reset_one(which);
    worker_step(step);
    counter -= 2;
}

int main(int argc, char **argv)
{
    long wanted = rounds_wanted(argc, argv, 50 * 1000 * 1000);
    long done = 0;
    while (done < wanted) {
        long part = wanted - done < 64 ? wanted - done : 64;
        worker(done, part);
        done += part;
        audit(done);
        if (done % 4096 == 0)
            say_number("counter", counter);
    }
    say_number("counter", counter);
    say_number("total", total);
    for (int which = 0; which < 4; which++)
        say_number("limit", cfg.limits[which]);
    return 0;
}
