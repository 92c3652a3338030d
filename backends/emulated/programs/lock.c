/*
 * lock: a lock taken by cmpxchg, and a reference count that one path drops twice.
 *
 * Watch `lock`: acquire takes it (lock cmpxchg), release gives it back (mov). Try_again meets a lock that is held:
 * its cmpxchg fails, and still counts as a write on this CPU, with an unchanged value.
 * Watch `object+8/4` (object.references): get_object adds one (lock xadd), put_object takes one (lock dec). When an
 * error is handled, fail_request and its caller both drop the reference: look for the value that falls below 1.
 * Watch `freed`: how often the count reached zero while somebody still used the object.
 *
 * The first argument is the number of requests; without one it goes on for hours.
 */
#include "runtime.h"

#define PAUSE 3000

struct object {
    long data;
    int references;
    int generation;
};

int lock;
struct object object = {0, 1, 0};
long freed;
long contended;
uint64_t seed = 0xD1342543DE82EF95;

NOINLINE int acquire(int owner)
{
    int expected = 0;
    unsigned char taken;
    __asm__ volatile("lock cmpxchgl %3, %1\n\tsete %0"
                     : "=q"(taken), "+m"(lock), "+a"(expected)
                     : "r"(owner)
                     : "memory", "cc");
    return taken;
}

NOINLINE void try_again(int owner)
{
    if (!acquire(owner))
        contended++;
}

NOINLINE void release(void)
{
    *(volatile int *)&lock = 0;
}

NOINLINE int get_object(void)
{
    int count = 1;
    __asm__ volatile("lock xaddl %0, %1" : "+r"(count), "+m"(object.references) : : "memory", "cc");
    return count;
}

NOINLINE void put_object(void)
{
    unsigned char last;
    __asm__ volatile("lock decl %1\n\tsete %0" : "=q"(last), "+m"(object.references) : : "memory", "cc");
    if (last)
        freed++;
}

NOINLINE int fail_request(void)
{
    put_object(); /* the mistake: request() drops it as well */
    return -1;
}

NOINLINE int request(long number)
{
    int result = 0;
    get_object();
    seed = mix(seed, PAUSE);
    object.data += (long)(seed & 15);
    if (number % 16 == 15)
        result = fail_request();
    put_object();
    return result;
}

NOINLINE void repair(void)
{
    object.references = 1;
    object.generation++;
}

int main(int argc, char **argv)
{
    long wanted = rounds_wanted(argc, argv, 50 * 1000 * 1000);
    for (long number = 0; number < wanted; number++) {
        acquire(1);
        if (number % 8 == 7)
            try_again(2);
        if (request(number) < 0)
            repair();
        release();
        if (number % 4096 == 4095)
            say_number("freed while in use", freed);
    }
    say_number("freed while in use", freed);
    say_number("contended", contended);
    say_number("references", object.references);
    return 0;
}
