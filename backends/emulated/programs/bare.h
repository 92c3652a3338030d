/* The whole support of bare programs: an entry, an IDT, output by a port, and the debug registers. */
#ifndef BARE_H
#define BARE_H

#include <stdint.h>

#define NOINLINE __attribute__((noinline, noclone))

struct frame {
    uint64_t rip, cs, rflags, rsp, ss;
};

enum { BS = 1 << 14, BD = 1 << 13, RF = 1 << 16, TF = 1 << 8 };
enum { EXECUTE = 0, WRITE = 1, PORT = 2, ACCESS = 3 };
enum { ONE = 0, TWO = 1, EIGHT = 2, FOUR = 3 };

#define SLOT(n, kind, length) (2ul << 2 * (n) | (uint64_t)((kind) | (length) << 2) << (16 + 4 * (n)))
#define READ_DR(n) \
    ({ \
        uint64_t value_; \
        __asm__ volatile("mov %%dr" #n ", %0" : "=r"(value_)); \
        value_; \
    })
#define WRITE_DR(n, what) __asm__ volatile("mov %0, %%dr" #n : : "r"((uint64_t)(what)) : "memory")

static inline void out8(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static void print(const char *text)
{
    while (*text)
        out8(0xE9, (uint8_t)*text++);
}

static void print_hex(uint64_t value)
{
    print("0x");
    int shift = 60;
    while (shift && !(value >> shift))
        shift -= 4;
    for (; shift >= 0; shift -= 4)
        out8(0xE9, (uint8_t)"0123456789abcdef"[value >> shift & 15]);
}

__attribute__((noreturn)) static void leave(int status)
{
    out8(0xF4, (uint8_t)status);
    for (;;)
        __asm__ volatile("hlt");
}

static struct {
    uint16_t low, selector;
    uint8_t ist, type;
    uint16_t middle;
    uint32_t high, zero;
} idt[32];

static void set_gate(int vector, void *handler)
{
    uint64_t address = (uint64_t)handler;
    idt[vector].low = (uint16_t)address;
    idt[vector].selector = 8;
    idt[vector].type = 0x8E;
    idt[vector].middle = (uint16_t)(address >> 16);
    idt[vector].high = (uint32_t)(address >> 32);
}

static void load_idt(void)
{
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) idtr = {sizeof idt - 1, (uint64_t)idt};
    __asm__ volatile("lidt %0" : : "m"(idtr) : "memory");
}

int main(void);

__attribute__((noreturn, used)) void start_c(void)
{
    leave(main());
}

static char stack[16384] __attribute__((used, aligned(16)));

__asm__(".text\n"
        ".globl _start\n"
        ".type _start, @function\n"
        "_start:\n"
        "  leaq stack+16384(%rip), %rsp\n"
        "  xorl %ebp, %ebp\n"
        "  call start_c\n"
        ".size _start, .-_start\n");

#endif
