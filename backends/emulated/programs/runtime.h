/* The whole C library of these programs: an entry, three system calls, printing. One include per program. */
#ifndef RUNTIME_H
#define RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#define NOINLINE __attribute__((noinline, noclone))

int main(int argc, char **argv);

static inline long call3(long number, long a, long b, long c)
{
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}

__attribute__((noreturn)) void finish(int status)
{
    for (;;)
        call3(231, status, 0, 0); /* exit_group */
}

__attribute__((noreturn, used)) void start_c(long *stack)
{
    finish(main((int)stack[0], (char **)(stack + 1)));
}

__asm__(".text\n"
        ".globl _start\n"
        ".type _start, @function\n"
        "_start:\n"
        "  .cfi_startproc\n"
        "  .cfi_undefined rip\n"
        "  xorl %ebp, %ebp\n"
        "  movq %rsp, %rdi\n"
        "  andq $-16, %rsp\n"
        "  call start_c\n"
        "  hlt\n"
        "  .cfi_endproc\n"
        ".size _start, .-_start\n");

NOINLINE void say(const char *text)
{
    size_t length = 0;
    while (text[length])
        length++;
    call3(1, 1, (long)text, (long)length); /* write */
}

NOINLINE void say_number(const char *name, long value)
{
    char line[96];
    char digits[24];
    int at = 0, n = 0;
    unsigned long rest = value < 0 ? -(unsigned long)value : (unsigned long)value;
    while (*name && at < 64)
        line[at++] = *name++;
    line[at++] = ' ';
    if (value < 0)
        line[at++] = '-';
    do
        digits[n++] = (char)('0' + rest % 10);
    while (rest /= 10);
    while (n)
        line[at++] = digits[--n];
    line[at++] = '\n';
    call3(1, 1, (long)line, at);
}

/* The first argument as a number, or what is usual. */
NOINLINE long rounds_wanted(int argc, char **argv, long usual)
{
    long value = 0;
    const char *digit = argc > 1 ? argv[1] : "";
    while (*digit >= '0' && *digit <= '9')
        value = value * 10 + *digit++ - '0';
    return argc > 1 ? value : usual;
}

/* Plain computing in registers: it touches no memory, so a watch stays quiet while it runs. 6 instructions a round. */
NOINLINE uint64_t mix(uint64_t x, long rounds)
{
    while (rounds-- > 0) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    return x;
}

/* What the compiler may call by itself. */
NOINLINE void *memcpy(void *to, const void *from, size_t size)
{
    void *start = to;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
    return start;
}

NOINLINE void *memset(void *to, int byte, size_t size)
{
    void *start = to;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(byte) : "memory");
    return start;
}

#endif
