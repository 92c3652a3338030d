/*
 * signals: a program that watches itself through perf_event_open, and is signalled at each hit.
 *
 * First the puzzle of perf's own test (bp_signal): an execute breakpoint at `stub` and a watchpoint on `the_var` send SIGIO,
 * and an execute breakpoint at the handler `on_io` sends SIGUSR1. `stub` adds 1 to the_var, main adds another: how often
 * does each hit? 1, 2 and 3 times, if EFLAGS.RF is kept in the signal frame and clear in the handler.
 * Then sigtrap: the hit itself is the signal, with the address in si_addr. Then one event too many.
 *
 * Watch `the_var` and `io_signals`: who writes them, a signal's handler among others. `act` is called between the parts: a
 * good place to stop. While the program's three events are on, one register is left. It needs no argument. The exit status is 0 if all is as it should be.
 */
#include "runtime.h"

#define SYS_READ 0
#define SYS_CLOSE 3
#define SYS_RT_SIGACTION 13
#define SYS_IOCTL 16
#define SYS_GETPID 39
#define SYS_FCNTL 72
#define SYS_PERF_EVENT_OPEN 298

#define SIGTRAP 5
#define SIGUSR1 10
#define SIGIO 29
#define ENABLE 0x2400
#define DISABLE 0x2401
#define WRITE 2
#define EXECUTE 4

struct attr { /* struct perf_event_attr */
    uint32_t type, size;
    uint64_t config, sample_period, sample_type, read_format, flags;
    uint32_t wakeup_events, bp_type;
    uint64_t bp_addr, bp_len, rest[5];
    uint32_t more[2];
    uint64_t sig_data, last;
};
_Static_assert(sizeof(struct attr) == 136, "struct perf_event_attr of 136 bytes");

struct action { /* struct kernel_sigaction */
    void (*handler)(int, char *, void *);
    uint64_t flags;
    void (*restorer)(void);
    uint64_t mask;
};

long the_var;
int io_signals, user_signals, traps;
long trap_address;
int stub_event, handler_event, variable_event, trap_event;
long counts[3];
int refused_with;

static long call6(long number, long a, long b, long c, long d, long e)
{
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
    return result;
}

/* One instruction and a return: an execute breakpoint is at the instruction that writes. */
void stub(long *word);
__asm__(".text\n"
        ".globl stub\n"
        ".type stub, @function\n"
        "stub:\n"
        "  incq (%rdi)\n"
        "  ret\n"
        ".size stub, .-stub\n");

__attribute__((naked)) void restorer(void)
{
    __asm__("movl $15, %eax\n\tsyscall"); /* rt_sigreturn */
}

NOINLINE void on_io(int number, char *info, void *context)
{
    (void)number, (void)info, (void)context;
    if (++io_signals > 10) /* RF was lost: it would go on for ever */
        finish(2);
}

NOINLINE void on_user(int number, char *info, void *context)
{
    (void)number, (void)info, (void)context;
    user_signals++;
}

NOINLINE void on_trap(int number, char *info, void *context)
{
    (void)number, (void)context;
    traps++;
    trap_address = *(long *)(info + 16);
}

NOINLINE void act(const char *name)
{
    say(name);
}

static void handle(int number, void (*handler)(int, char *, void *))
{
    struct action action = {handler, 0x04000004, restorer, 0}; /* SA_SIGINFO | SA_RESTORER */
    call6(SYS_RT_SIGACTION, number, (long)&action, 0, 8, 0);
}

/* perf_event_open on itself, opened disabled; `flags` beside disabled, exclude_kernel and exclude_hv. */
static int open_event(int type, void *address, uint64_t flags)
{
    struct attr attr;
    memset(&attr, 0, sizeof attr);
    attr.type = 5;
    attr.size = sizeof attr;
    attr.sample_period = 1;
    attr.flags = 0x61 | flags;
    attr.bp_type = type;
    attr.bp_addr = (uint64_t)address;
    attr.bp_len = 8;
    attr.sig_data = 42;
    return (int)call6(SYS_PERF_EVENT_OPEN, (long)&attr, 0, -1, -1, 0);
}

static int signalled_event(int type, void *address, int signal)
{
    int fd = open_event(type, address, 0);
    call3(SYS_FCNTL, fd, 4, 020002);                         /* F_SETFL, O_ASYNC | O_RDWR */
    call3(SYS_FCNTL, fd, 10, signal);                        /* F_SETSIG */
    call3(SYS_FCNTL, fd, 8, call3(SYS_GETPID, 0, 0, 0));     /* F_SETOWN */
    return fd;
}

static long hits(int fd)
{
    long value = -1;
    call3(SYS_READ, fd, (long)&value, sizeof value);
    return value;
}

static void switch_all(int request)
{
    call3(SYS_IOCTL, stub_event, request, 0);
    call3(SYS_IOCTL, handler_event, request, 0);
    call3(SYS_IOCTL, variable_event, request, 0);
}

static void puzzle(void)
{
    stub_event = signalled_event(EXECUTE, stub, SIGIO);
    handler_event = signalled_event(EXECUTE, on_io, SIGUSR1);
    variable_event = signalled_event(WRITE, &the_var, SIGIO);
    switch_all(ENABLE);
    act("armed\n");
    stub(&the_var);
    the_var++;
    switch_all(DISABLE);
    counts[0] = hits(stub_event);
    counts[1] = hits(handler_event);
    counts[2] = hits(variable_event);
    act("signalled\n");
    call3(SYS_CLOSE, stub_event, 0, 0);
    call3(SYS_CLOSE, handler_event, 0, 0);
    call3(SYS_CLOSE, variable_event, 0, 0);
}

static void trap(void)
{
    trap_event = open_event(WRITE, &the_var, 1ul << 36 | 1ul << 37); /* remove_on_exec, sigtrap */
    call3(SYS_IOCTL, trap_event, ENABLE, 0);
    for (int round = 0; round < 3; round++)
        *(volatile long *)&the_var += 10;
    act("trapped\n");
}

static void one_too_many(void)
{
    int fds[4], got = 0;
    while (got < 4 && (fds[got] = open_event(WRITE, &counts[0], 0)) >= 0)
        got++;
    refused_with = got < 4 ? -fds[got] : 0;
    act("refused\n");
}

int main(int argc, char **argv)
{
    (void)argc, (void)argv;
    handle(SIGIO, on_io);
    handle(SIGUSR1, on_user);
    handle(SIGTRAP, on_trap);
    puzzle();
    trap();
    one_too_many();
    say_number("hits of the instruction", counts[0]);
    say_number("hits of the handler", counts[1]);
    say_number("hits of the variable", counts[2]);
    say_number("SIGIO", io_signals);
    say_number("SIGUSR1", user_signals);
    say_number("SIGTRAP", traps);
    say_number("refused with errno", refused_with);
    return counts[0] != 1 || counts[1] != 3 || counts[2] != 2 || io_signals != 3 || user_signals != 3 || traps != 3
        || trap_address != (long)&the_var || the_var != 32 || refused_with != 28;
}
