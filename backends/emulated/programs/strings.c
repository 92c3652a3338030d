/*
 * strings: the same 64 bytes written in four ways.
 *
 * Watch `target` (or `target/8`): `rep movsb` writes it byte by byte, one hit for each element that falls into the
 * window, with the address of the `rep` itself while elements remain and of the next instruction for the last.
 * `rep stosq` clears it, 8 bytes an element. copy_sse writes 16 bytes at once (movups): one hit. copy_bytes is a loop.
 * Watch `source/8:rw`: the copies read it; only fill writes it.
 *
 * The first argument is the number of rounds; without one it goes on for hours.
 */
#include "runtime.h"

#define PAUSE 6000
#define SIZE 64

_Alignas(64) char source[SIZE];
_Alignas(64) char target[SIZE];
long checksum;
uint64_t seed = 0xBF58476D1CE4E5B9;

NOINLINE void copy_rep(void *to, const void *from, size_t size)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
}

NOINLINE void clear_rep(void *to, size_t words)
{
    __asm__ volatile("rep stosq" : "+D"(to), "+c"(words) : "a"(0L) : "memory");
}

NOINLINE void copy_sse(char *to, const char *from, size_t size)
{
    for (size_t at = 0; at < size; at += 16)
        __asm__ volatile("movups (%1), %%xmm0\n\tmovups %%xmm0, (%0)" : : "r"(to + at), "r"(from + at) : "xmm0", "memory");
}

NOINLINE void copy_bytes(volatile char *to, const char *from, size_t size)
{
    while (size--)
        *to++ = *from++;
}

NOINLINE void fill(uint64_t pattern)
{
    uint64_t *words = (uint64_t *)source;
    for (int at = 0; at < SIZE / 8; at++)
        words[at] = pattern + (uint64_t)at;
}

NOINLINE long sum(const char *bytes, size_t size)
{
    long result = 0;
    while (size--)
        result = result * 31 + *bytes++;
    return result;
}

int main(int argc, char **argv)
{
    long wanted = rounds_wanted(argc, argv, 50 * 1000 * 1000);
    for (long round = 0; round < wanted; round++) {
        seed = mix(seed, PAUSE);
        fill(seed);
        copy_rep(target, source, SIZE);
        checksum += sum(target, SIZE) & 0xffff;
        clear_rep(target, SIZE / 8);
        seed = mix(seed, PAUSE);
        copy_sse(target, source, SIZE);
        checksum = checksum * 3 ^ sum(target, SIZE);
        seed = mix(seed, PAUSE);
        copy_bytes(target, source, SIZE);
        if (round % 1024 == 1023)
            say_number("checksum", checksum);
    }
    say_number("checksum", checksum);
    return 0;
}
