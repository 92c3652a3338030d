"""C programs that open perf events on themselves, after the descriptions of perf's own tests and the kernel's selftests: each
prints the same on this machine's kernel and on the emulated one."""

from __future__ import annotations

__all__ = [
    "ACCOUNT",
    "BACKWARD",
    "BLOCKED",
    "ENDED",
    "ERRORS",
    "EXEC",
    "GROUPS",
    "KERNEL_MODE",
    "LAST_STORES",
    "MIGRATE",
    "OVERFLOW",
    "OWNED",
    "RECORDS",
    "RING",
    "SIGNAL",
    "SIGTRAP",
    "STRESS",
    "WP",
]

_HEAD = r"""
#include <errno.h>
#include <fcntl.h>
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
static int open_event(struct perf_event_attr *attr, int pid, int cpu, int group, unsigned long flags) {
  return syscall(SYS_perf_event_open, attr, pid, cpu, group, flags);
}
static struct perf_event_attr breakpoint(int type, volatile void *address, int length) {
  struct perf_event_attr attr = {0};
  attr.type = PERF_TYPE_BREAKPOINT;
  attr.size = sizeof attr;
  attr.bp_type = type;
  attr.bp_addr = (unsigned long)address;
  attr.bp_len = length;
  attr.sample_period = 1;
  attr.exclude_kernel = attr.exclude_hv = 1;
  return attr;
}
static unsigned long count(int fd) {
  unsigned long value = -1;
  if (read(fd, &value, sizeof value) != sizeof value) return -1;
  return value;
}
static void on_signal(int number, void (*handler)(int, siginfo_t *, void *)) {
  struct sigaction action = {0};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO;
  sigaction(number, &action, 0);
}
static void async(int fd, int number) {
  fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK | O_ASYNC);
  fcntl(fd, F_SETSIG, number);
  fcntl(fd, F_SETOWN, getpid());
}
"""

SIGNAL = (
    _HEAD
    + r"""
// An execute breakpoint on an instruction, one on the handler of its signal, and a watchpoint on what the instruction writes.
static volatile long the_var;
static volatile int ios, users, codes[2];
static volatile int fds[3];
static int watched;
__attribute__((naked, noinline)) void stub(volatile long *p) { asm("incq (%rdi); ret"); }
__attribute__((noinline)) void on_io(int number, siginfo_t *info, void *context) {
  ios++;
  codes[0] |= 1 << info->si_code;
  watched |= (info->si_fd == fds[2]) << 1 | (info->si_fd == fds[0]);
  if (ios > 10) ioctl(fds[0], PERF_EVENT_IOC_DISABLE, 0), ioctl(fds[1], PERF_EVENT_IOC_DISABLE, 0);
}
__attribute__((noinline)) void on_user(int number, siginfo_t *info, void *context) {
  users++;
  codes[1] |= 1 << info->si_code;
}
static int make(int type, void *address, int number) {
  struct perf_event_attr attr = breakpoint(type, address, type == HW_BREAKPOINT_X ? sizeof(long) : 8);
  attr.sample_type = PERF_SAMPLE_IP;
  attr.wakeup_events = 1;
  attr.disabled = 1;
  int fd = open_event(&attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
  if (fd < 0) return -1;
  async(fd, number);
  ioctl(fd, PERF_EVENT_IOC_RESET, 0);
  return fd;
}
int main(void) {
  on_signal(SIGIO, on_io);
  on_signal(SIGUSR1, on_user);
  fds[0] = make(HW_BREAKPOINT_X, stub, SIGIO);
  fds[1] = make(HW_BREAKPOINT_X, on_io, SIGUSR1);
  fds[2] = make(HW_BREAKPOINT_W, (void *)&the_var, SIGIO);
  for (int i = 0; i < 3; i++) if (ioctl(fds[i], PERF_EVENT_IOC_ENABLE, 0)) return 1;
  stub(&the_var);
  the_var++;
  for (int i = 0; i < 3; i++) ioctl(fds[i], PERF_EVENT_IOC_DISABLE, 0);
  printf("%ld %ld %ld, handlers %d %d, codes %x %x, descriptors %d, %ld\n", count(fds[0]), count(fds[1]), count(fds[2]),
         ios, users, codes[0], codes[1], watched, the_var);
  return 0;
}
"""
)
"""tools/perf/tests/bp_signal.c: 1 3 2, handlers 3 3."""

OVERFLOW = (
    _HEAD
    + r"""
static volatile int overflows;
__attribute__((noinline)) int called(int n) { asm volatile(""); return n + 1; }
static void on_io(int number, siginfo_t *info, void *context) { overflows++; }
int main(void) {
  on_signal(SIGIO, on_io);
  struct perf_event_attr attr = breakpoint(HW_BREAKPOINT_X, called, sizeof(long));
  attr.sample_period = 100;
  attr.sample_type = PERF_SAMPLE_IP;
  attr.wakeup_events = 1;
  attr.disabled = 1;
  int fd = open_event(&attr, 0, -1, -1, 0), n = 0;
  if (fd < 0) return 1;
  async(fd, SIGIO);
  ioctl(fd, PERF_EVENT_IOC_RESET, 0);
  ioctl(fd, PERF_EVENT_IOC_ENABLE, 0);
  for (int i = 0; i < 10000; i++) n = called(n);
  ioctl(fd, PERF_EVENT_IOC_DISABLE, 0);
  printf("%ld hits, %d signals, %d\n", count(fd), overflows, n);
  return 0;
}
"""
)
"""tools/perf/tests/bp_signal_overflow.c: 10000 hits, 100 signals."""

ACCOUNT = (
    _HEAD
    + r"""
static volatile long the_var;
void function(void) { asm volatile(""); }
static int wide(int type) {
  struct perf_event_attr attr = breakpoint(type, type == HW_BREAKPOINT_X ? (void *)function : (void *)&the_var,
                                           type == HW_BREAKPOINT_X ? sizeof(long) : 8);
  return open_event(&attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);
}
static int how_many(int type, int *fds) {
  int n = 0;
  while (n < 100 && (fds[n] = wide(type)) >= 0) n++;
  printf("%d then errno %d\n", n, errno);
  return n;
}
int main(void) {
  int fds[100], more[100];
  struct perf_event_attr attr = breakpoint(HW_BREAKPOINT_W, &the_var, 8);
  int fd = wide(HW_BREAKPOINT_W);
  printf("%d %d\n", fd >= 0, fd >= 0 ? ioctl(fd, PERF_EVENT_IOC_MODIFY_ATTRIBUTES, &attr) : errno);
  if (fd < 0) return 0;
  close(fd);
  int n = how_many(HW_BREAKPOINT_W, fds);
  for (int i = 0; i < n; i++) close(fds[i]);
  n = how_many(HW_BREAKPOINT_X, fds);
  for (int i = 0; i < n; i++) close(fds[i]);
  n = how_many(HW_BREAKPOINT_W, fds);
  how_many(HW_BREAKPOINT_X, more);
  attr.bp_type = HW_BREAKPOINT_X;
  attr.bp_addr = (unsigned long)function;
  attr.bp_len = sizeof(long);
  int ret = ioctl(fds[0], PERF_EVENT_IOC_MODIFY_ATTRIBUTES, &attr);
  printf("modified %d\n", ret);
  return 0;
}
"""
)
"""tools/perf/tests/bp_account.c, which needs CAP_PERFMON: 4 of each kind, and they share."""

WP = (
    _HEAD
    + r"""
static volatile long data1;
static volatile unsigned char data2[8] __attribute__((aligned(8)));
static int make(int type, volatile void *address, int length) {
  struct perf_event_attr attr = breakpoint(type, address, length);
  attr.sample_type = PERF_SAMPLE_IP;
  return open_event(&attr, 0, -1, -1, 0);
}
int main(void) {
  long sink;
  int fd = make(HW_BREAKPOINT_R, &data1, 8);
  printf("read only: %d %d\n", fd, errno);
  fd = make(HW_BREAKPOINT_W, &data1, 8);
  sink = data1;
  printf("write only: %ld ", count(fd));
  data1 = sink + 1;
  printf("%ld\n", count(fd));
  close(fd);
  fd = make(HW_BREAKPOINT_RW, &data1, 8);
  sink = data1;
  printf("read or write: %ld ", count(fd));
  data1 = sink + 1;
  printf("%ld\n", count(fd));
  close(fd);
  fd = make(HW_BREAKPOINT_W, &data1, 8);
  data1 = 1;
  printf("modified: %ld ", count(fd));
  struct perf_event_attr attr = breakpoint(HW_BREAKPOINT_W, data2, 2);
  attr.sample_type = PERF_SAMPLE_IP;
  attr.disabled = 1;
  printf("%d ", ioctl(fd, PERF_EVENT_IOC_MODIFY_ATTRIBUTES, &attr));
  data2[1] = 1;
  printf("%ld ", count(fd));
  ioctl(fd, PERF_EVENT_IOC_ENABLE, 0);
  data2[1] = 2;
  printf("%ld ", count(fd));
  data2[2] = 3;
  printf("%ld\n", count(fd));
  attr.bp_type = HW_BREAKPOINT_R;
  printf("%d %d ", ioctl(fd, PERF_EVENT_IOC_MODIFY_ATTRIBUTES, &attr), errno);
  data2[1] = 4;
  printf("%ld\n", count(fd));
  return 0;
}
"""
)
"""tools/perf/tests/wp.c."""

SIGTRAP = (
    _HEAD
    + r"""
#define THREADS 5
static volatile int iterate_on, held[THREADS + 1];
static volatile int signals, wrong;
static siginfo_t first;
static __thread volatile int mine;
static unsigned long sig_data;
static int loops;
static pthread_barrier_t barrier;
static void on_trap(int number, siginfo_t *info, void *context) {
  unsigned long *fields = (unsigned long *)((char *)info + 24);
  if (!__atomic_fetch_add(&signals, 1, __ATOMIC_RELAXED)) first = *info;
  if (info->si_code != 6 || info->si_addr != (void *)&iterate_on || fields[0] != sig_data || fields[1] != 5)
    __atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
  mine++;
}
static void *work(void *arg) {
  pthread_barrier_wait(&barrier);
  for (int i = 0; i < iterate_on; i++) ;
  return (void *)(long)mine;
}
static int run(const char *what, int enable, int modify, int n) {
  struct perf_event_attr attr = breakpoint(HW_BREAKPOINT_RW, &iterate_on, 1);
  attr.disabled = attr.inherit = attr.inherit_thread = attr.remove_on_exec = attr.sigtrap = 1;
  attr.sig_data = sig_data = ~(unsigned long)&iterate_on;
  iterate_on = n;
  signals = wrong = 0;
  int fd = open_event(&attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
  if (fd < 0) return printf("open %d\n", errno), 1;
  pthread_t threads[THREADS];
  pthread_barrier_init(&barrier, 0, THREADS + 1);
  for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], 0, work, 0);
  if (enable) ioctl(fd, PERF_EVENT_IOC_ENABLE, 0);
  if (modify) {
    attr.disabled = 0;
    attr.sig_data = sig_data += 42;
    printf("modify %d ", ioctl(fd, PERF_EVENT_IOC_MODIFY_ATTRIBUTES, &attr));
  }
  pthread_barrier_wait(&barrier);
  long sum = 0;
  for (int i = 0; i < THREADS; i++) {
    void *one;
    pthread_join(threads[i], &one);
    sum += (long)one;
  }
  int before = signals;
  iterate_on = 0;
  printf("%s: %d signals, %ld taken by threads, %d with the store of the parent, %d wrong, count %ld\n", what, before, sum,
         signals, wrong, count(fd));
  ioctl(fd, PERF_EVENT_IOC_DISABLE, 0);
  close(fd);
  return 0;
}
int main(void) {
  on_signal(SIGTRAP, on_trap);
  return run("disabled", 0, 0, 10) || run("enabled", 1, 0, 0) || run("modified", 0, 1, 0) || run("stress", 1, 0, 3000);
}
"""
)
"""tools/perf/tests/sigtrap.c and sigtrap_threads.c: 5 threads read a variable 3000 times each, and are signalled each time."""

STRESS = (
    _HEAD
    + r"""
#define THREADS 5
static volatile int iterate_on, signals, wrong, go_on = 1;
static void on_trap(int number, siginfo_t *info, void *context) {
  if (info->si_code != 6 || info->si_addr != (void *)&iterate_on) wrong++;
  __atomic_fetch_add(&signals, 1, __ATOMIC_RELAXED);
}
static void *work(void *arg) {
  while (iterate_on) ;
  return 0;
}
int main(void) {
  on_signal(SIGTRAP, on_trap);
  struct perf_event_attr attr = breakpoint(HW_BREAKPOINT_RW, &iterate_on, 1);
  attr.disabled = attr.inherit = attr.inherit_thread = attr.remove_on_exec = attr.sigtrap = 1;
  int fd = open_event(&attr, 0, -1, -1, 0), failed = 0;
  iterate_on = -1;
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], 0, work, 0);
  do {
    failed |= ioctl(fd, PERF_EVENT_IOC_ENABLE, 0);
    failed |= ioctl(fd, PERF_EVENT_IOC_DISABLE, 0);
  } while (signals < 1500);
  iterate_on = 0;
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], 0);
  printf("failed %d, enough %d, wrong %d\n", failed, signals >= 1500, wrong);
  return 0;
}
"""
)
"""sigtrap_threads.signal_stress_with_disable."""

ENDED = (
    _HEAD
    + r"""
// The ring of an event whose task has ended; a forked child that ran takes the original with it, and leaves its copy.
static volatile long word;
static void one(int pid, int inherit, int cpu, const char *what, int go) {
  struct perf_event_attr attr = breakpoint(HW_BREAKPOINT_W, &word, 8);
  attr.inherit = inherit;
  int fd = open_event(&attr, pid, cpu, -1, 0), status;
  if (fd < 0) { printf("open %d\n", errno); return; }
  if (go) { write(go, "", 1); waitpid(pid, &status, 0); }
  else { int p = fork(); if (!p) { word = 1; _exit(0); } waitpid(p, &status, 0); }
  struct pollfd poller = {fd, POLLIN, 0};
  int n = poll(&poller, 1, 0);
  printf("%s: poll %d %x", what, n, poller.revents);
  char *at = mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 0);
  printf(" mmap %d", at == MAP_FAILED ? errno : 0);
  n = poll(&poller, 1, 0);
  printf(" poll %d %x count %ld\n", n, poller.revents, count(fd));
  close(fd); if (at != MAP_FAILED) munmap(at, 4096);
}
int main(void) {
  unsigned long first = 1;
  syscall(SYS_sched_setaffinity, 0, sizeof first, &first);
  int ends[2];
  pipe(ends);
  int pid = fork();
  if (!pid) { char c; read(ends[0], &c, 1); _exit(0); }
  one(pid, 0, -1, "ended", ends[1]);
  one(0, 1, 0, "inherited on CPU 0", 0);
  one(0, 0, -1, "own", 0);
}
"""
)
"""An event whose task has ended can still be mapped, and hangs up only where no copy of it lives."""

EXEC = (
    _HEAD
    + r"""
static volatile int variable, signals;
static void on_trap(int number, siginfo_t *info, void *context) { signals++; }
static int child(int executes, int fd, char *self) {
  int ends[2], back[2], status;
  pipe(ends);
  pipe(back);
  pid_t pid = fork();
  if (!pid) {
    char c;
    dup2(ends[0], 0);
    dup2(back[1], 1);
    if (executes) execl(self, self, "executed", (char *)0);
    write(1, "r", 1);
    read(0, &c, 1);
    signals = 0;
    variable = 1;
    _exit(40 + signals);
  }
  char c;
  read(back[0], &c, 1);
  ioctl(fd, PERF_EVENT_IOC_ENABLE, 0);
  write(ends[1], "g", 1);
  waitpid(pid, &status, 0);
  for (int i = 0; i < 2; i++) close(ends[i]), close(back[i]);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}
int main(int argc, char **argv) {
  if (argc > 1) {
    char c;
    write(1, "r", 1);
    read(0, &c, 1);
    *(volatile int *)&variable = 1;
    return 7;
  }
  on_signal(SIGTRAP, on_trap);
  struct perf_event_attr attr = breakpoint(HW_BREAKPOINT_W, &variable, 4);
  attr.disabled = attr.inherit = attr.remove_on_exec = attr.sigtrap = 1;
  int fd = open_event(&attr, 0, -1, -1, 0);
  if (fd < 0) return printf("open %d\n", errno), 1;
  int forked = child(0, fd, argv[0]);
  ioctl(fd, PERF_EVENT_IOC_DISABLE, 0);
  int executed = child(1, fd, argv[0]);
  int enabled_before = child(1, fd, argv[0]);
  variable = 2;
  printf("forked %d, executed %d %d, parent %d\n", forked, executed, enabled_before, signals);
  return 0;
}
"""
)
"""remove_on_exec.c: a forked child keeps the event, an executed program has lost it, the parent still is signalled."""

OWNED = (
    _HEAD
    + r"""
static volatile int variable;
static void ask(const char *what, int fd, int to, int from) {
  char c;
  write(to, "g", 1);
  read(from, &c, 1);
  printf("%s %ld ", what, count(fd));
}
int main(int argc, char **argv) {
  int ends[2] = {3, 4}, back[2] = {5, 6}, fd = 7, other = 8;
  if (argc > 1) {
    ask("executed", fd, ends[1], back[0]);
    prctl(PR_TASK_PERF_EVENTS_DISABLE, 0, 0, 0, 0);
    ask("prctl", fd, ends[1], back[0]);
    ioctl(fd, PERF_EVENT_IOC_DISABLE, 0);
    ask("ioctl", fd, ends[1], back[0]);
    printf("other %ld\n", count(other));
    return 0;
  }
  struct perf_event_attr attr = breakpoint(HW_BREAKPOINT_W, &variable, 4);
  attr.inherit = attr.remove_on_exec = 1;
  int first = open_event(&attr, 0, -1, -1, 0), pair[4];
  attr.inherit = attr.remove_on_exec = 0;
  int second = open_event(&attr, 0, -1, -1, 0);
  if (first < 0 || second < 0) return printf("open %d\n", errno), 1;
  dup2(first, 17), dup2(second, 18);
  pipe(pair), pipe(pair + 2);
  for (int i = 0; i < 4; i++) dup2(pair[i], 13 + i);
  for (int i = 3; i < 13; i++) close(i);
  for (int i = 13; i < 19; i++) dup2(i, i - 10), close(i);
  if (!fork()) {
    char c;
    close(ends[1]);
    while (read(ends[0], &c, 1) == 1) variable++, write(back[1], "d", 1);
    _exit(0);
  }
  ask("forked", fd, ends[1], back[0]);
  prctl(PR_TASK_PERF_EVENTS_DISABLE, 0, 0, 0, 0);
  ask("off", fd, ends[1], back[0]);
  prctl(PR_TASK_PERF_EVENTS_ENABLE, 0, 0, 0, 0);
  fflush(stdout);
  execl(argv[0], argv[0], "executed", (char *)0);
  return 1;
}
"""
)
"""Who executes a program no longer owns the event that remove_on_exec takes from it: prctl leaves the copies alone, ioctl does not."""

LAST_STORES = (
    _HEAD
    + r"""
// The last thing that a task does before it ends, or before its image does, is counted too.
static volatile int variable;
static void *store(void *unused) { variable = 3; return 0; }
int main(int argc, char **argv) {
  if (argc > 1) return 0;
  struct perf_event_attr attr = breakpoint(HW_BREAKPOINT_W, &variable, 4);
  attr.inherit = 1;
  int fd = open_event(&attr, 0, -1, -1, 0);
  attr.remove_on_exec = 1;
  int removed = open_event(&attr, 0, -1, -1, 0);
  for (int i = 0; i < 3; i++) {
    if (!fork()) { variable = i; _exit(0); }
    wait(0);
  }
  printf("forked %lu %lu\n", count(fd), count(removed));
  if (!fork()) { variable = 1; variable = 2; execl(argv[0], argv[0], "executed", (char *)0); }
  wait(0);
  printf("executed %lu %lu\n", count(fd), count(removed));
  pthread_t thread;
  pthread_create(&thread, 0, store, 0);
  pthread_join(thread, 0);
  printf("thread %lu %lu\n", count(fd), count(removed));
  return 0;
}
"""
)
"""Hits just before exit and exec."""

RING = (
    _HEAD
    + r"""
struct sample { struct perf_event_header header; unsigned long ip; unsigned pid, tid; unsigned long addr, id; unsigned long period; };
static volatile long words[4];
static char *ring;
static unsigned long size, tail;
__attribute__((noinline)) void store(long n) { asm volatile("mov %0, (%1)\n.globl after\nafter:" :: "r"(n), "r"(&words[0]) : "memory"); }
extern char after[];
static struct perf_event_header *next(char *copy) {
  struct perf_event_mmap_page *page = (void *)ring;
  unsigned long head = __atomic_load_n(&page->data_head, __ATOMIC_ACQUIRE);
  if (tail == head) return 0;
  struct perf_event_header *header = (void *)copy;
  for (unsigned long i = 0; i < 8; i++) copy[i] = ring[4096 + (tail + i) % size];
  for (unsigned long i = 8; i < header->size; i++) copy[i] = ring[4096 + (tail + i) % size];
  tail += header->size;
  return header;
}
static void drain(void) {
  char copy[4096];
  int samples = 0, good = 0, user = 0, mine = 0, before = 0, after_lost = 0;
  unsigned long periods = 0, lost = 0;
  struct perf_event_header *header;
  while ((header = next(copy))) {
    if (header->type == PERF_RECORD_SAMPLE) {
      struct sample *sample = (void *)copy;
      samples++;
      good += sample->ip == (unsigned long)after && sample->addr == (unsigned long)&words[0] && header->size == sizeof *sample;
      user += (header->misc & PERF_RECORD_MISC_CPUMODE_MASK) == PERF_RECORD_MISC_USER;
      mine += sample->pid == getpid() && sample->tid == getpid();
      periods += sample->period;
      if (lost) after_lost++; else before++;
    } else if (header->type == PERF_RECORD_LOST) lost = ((unsigned long *)copy)[2];
    else printf("record %d\n", header->type);
  }
  ((struct perf_event_mmap_page *)ring)->data_tail = tail;
  printf("%d samples, %d %d %d, periods %ld, %d before %ld lost, %d after\n", samples, good, user, mine, periods, before, lost, after_lost);
}
int main(void) {
  struct perf_event_attr attr = breakpoint(HW_BREAKPOINT_W, &words[0], 8);
  attr.sample_type = PERF_SAMPLE_IP | PERF_SAMPLE_TID | PERF_SAMPLE_ADDR | PERF_SAMPLE_ID | PERF_SAMPLE_PERIOD;
  attr.wakeup_events = 3;
  attr.sample_period = 1;
  attr.read_format = PERF_FORMAT_ID | PERF_FORMAT_LOST;
  int fd = open_event(&attr, 0, -1, -1, 0);
  if (fd < 0) return printf("open %d\n", errno), 1;
  struct pollfd poller = {fd, POLLIN, 0};
  printf("before mmap %d %x\n", poll(&poller, 1, 0), poller.revents);
  printf("%d", mmap(0, 3 * 4096, 3, MAP_PRIVATE, fd, 0) == MAP_FAILED ? errno : 0);
  printf(" %d", mmap(0, 4 * 4096, 3, MAP_SHARED, fd, 0) == MAP_FAILED ? errno : 0);
  size = 2 * 4096;
  ring = mmap(0, 4096 + size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (ring == MAP_FAILED) return printf("mmap %d\n", errno), 1;
  struct perf_event_mmap_page *page = (void *)ring;
  printf(" offset %lld size %lld\n", page->data_offset, page->data_size);
  printf("nothing yet %d %x\n", poll(&poller, 1, 0), poller.revents);
  store(1), store(2);
  printf("two %d ", poll(&poller, 1, 0));
  store(3);
  printf("three %d %x, again %d\n", poll(&poller, 1, 0), poller.revents, poll(&poller, 1, 0));
  drain();
  for (int i = 0; i < 1000; i++) store(i);
  drain();
  store(7), store(8);
  drain();
  unsigned long values[3] = {0}, id = 0;
  printf("small %ld %d ", read(fd, values, 8), errno);
  printf("whole %ld ", read(fd, values, sizeof values));
  ioctl(fd, PERF_EVENT_IOC_ID, &id);
  printf("%ld hits, the id %d, lost %ld\n", values[0], values[1] == id, values[2]);
  printf("pause %d ", ioctl(fd, PERF_EVENT_IOC_PAUSE_OUTPUT, 1));
  store(1);
  printf("%d ", ioctl(fd, PERF_EVENT_IOC_PAUSE_OUTPUT, 0));
  store(2);
  drain();
  close(fd);
  store(3);
  drain();
  munmap(ring, 4096 + size);
  int ok = 0, fds[4];
  attr.read_format = 0;
  for (int i = 0; i < 4; i++) ok += (fds[i] = open_event(&attr, 0, -1, -1, 0)) >= 0;
  printf("free again: %d\n", ok);
  return 0;
}
"""
)
"""The ring buffer: records, wake-ups, lost ones, and an event that lives as long as its mapping."""

RECORDS = (
    _HEAD
    + r"""
// What becomes of tasks, as records: names, forks and ends, by the task that they happen in.
struct ring { int fd; char *at; unsigned long tail; };
static volatile long word;
static unsigned me, child;
static const char *who(unsigned id) { return id == me ? "parent" : id == child ? "child" : id ? "other" : "0"; }
static struct ring of(int pid, int comm, int task, int wakeup, int enabled) {
  struct perf_event_attr attr = breakpoint(HW_BREAKPOINT_W, &word, 8);
  attr.comm = comm, attr.task = task, attr.sample_id_all = 1, attr.disabled = !enabled, attr.enable_on_exec = !enabled;
  attr.sample_type = PERF_SAMPLE_TID | PERF_SAMPLE_ID;
  attr.wakeup_events = wakeup;
  struct ring ring = {open_event(&attr, pid, -1, -1, 0)};
  if (ring.fd < 0) printf("open %d\n", errno), exit(1);
  ring.at = mmap(0, 2 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, 0);
  if (ring.at == MAP_FAILED) printf("mmap %d\n", errno), exit(1);
  return ring;
}
static void drain(const char *what, struct ring *ring) {
  struct perf_event_mmap_page *page = (void *)ring->at;
  unsigned long head = __atomic_load_n(&page->data_head, __ATOMIC_ACQUIRE), id = 0;
  ioctl(ring->fd, PERF_EVENT_IOC_ID, &id);
  printf("%s:", what);
  while (ring->tail < head) {
    char copy[256];
    struct perf_event_header *header = (void *)copy;
    for (int i = 0; i < 8; i++) copy[i] = ring->at[4096 + (ring->tail + i) % 4096];
    for (int i = 8; i < header->size; i++) copy[i] = ring->at[4096 + (ring->tail + i) % 4096];
    unsigned *words = (void *)(copy + 8), *last = (void *)(copy + header->size - 16);
    ring->tail += header->size;
    if (header->type == PERF_RECORD_COMM) printf(" comm %s %s %s", who(words[0]), who(words[1]), (char *)(words + 2));
    else if (header->type == PERF_RECORD_FORK || header->type == PERF_RECORD_EXIT)
      printf(" %s %s of %s, thread %d of %s, time %d", header->type == PERF_RECORD_FORK ? "fork" : "exit", who(words[0]), who(words[1]), words[2] != words[0], who(words[3]), *(long *)(words + 4) != 0);
    else printf(" %d", header->type);
    printf(" (%x, %d, in %s %s, id %d);", header->misc, header->size, who(last[0]), who(last[1]), *(unsigned long *)(last + 2) == id);
  }
  page->data_tail = ring->tail;
  printf("\n");
}
static volatile int signalled, band;
static void on_watermark(int number, siginfo_t *info, void *context) { signalled++, band = info->si_code; }
static void watermark(void) {
  // watermark_signal.c, with a breakpoint as the event and the record of a name instead of a switch's.
  struct perf_event_attr attr = breakpoint(HW_BREAKPOINT_W, &word, 8);
  attr.comm = attr.watermark = attr.wakeup_watermark = 1;
  int fd = open_event(&attr, 0, -1, -1, 0);
  char *at = mmap(0, 2 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  on_signal(SIGIO, on_watermark);
  async(fd, SIGIO);
  prctl(PR_SET_NAME, "full");
  printf("signalled %d, band %d\n", signalled, band);
  close(fd);
  munmap(at, 2 * 4096);
}
static void *thread(void *unused) { prctl(PR_SET_NAME, "thread"); return 0; }
static void pass(int *ends) { char c; read(ends[0], &c, 1); }
int main(int argc, char **argv) {
  if (argc > 1) {
    word = 3;
    prctl(PR_SET_NAME, "a name of eighteen");
    return 0;
  }
  int ends[2], status;
  watermark();
  pipe(ends);
  me = getpid();
  struct ring own = of(0, 1, 0, 1, 1), task = of(0, 0, 1, 0, 1), neither = of(0, 0, 0, 0, 1), off = of(0, 1, 1, 0, 0);
  struct pollfd poller = {own.fd, POLLIN, 0};
  prctl(PR_SET_NAME, "first");
  prctl(PR_SET_NAME, "");
  printf("woken %d ", poll(&poller, 1, 0));
  word = 1;
  printf("%d\n", poll(&poller, 1, 0));
  if (!(child = fork())) {
    pass(ends);
    if (!fork()) _exit(0);
    wait(&status);
    execl(argv[0], argv[0], "executed", (char *)0);
  }
  struct ring theirs = of(child, 1, 1, 0, 1), later = of(child, 1, 0, 0, 0);
  write(ends[1], "g", 1);
  waitpid(child, &status, 0);
  pthread_t started;
  pthread_create(&started, 0, thread, 0);
  pthread_join(started, 0);
  drain("own", &own), drain("task", &task), drain("neither", &neither), drain("off", &off), drain("child's", &theirs), drain("later", &later);
  return 0;
}
"""
)
"""Records of names, forks and ends: whose rings they come into, in which task, and that a ring full enough signals."""

GROUPS = (
    _HEAD
    + r"""
static volatile long a, b;
static void store(void) { a = 1; b = 2; b = 3; }
int main(void) {
  struct perf_event_attr attr = breakpoint(HW_BREAKPOINT_W, &a, 8);
  attr.disabled = 1;
  attr.sample_period = 0;
  attr.read_format = PERF_FORMAT_GROUP | PERF_FORMAT_ID | PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING;
  int leader = open_event(&attr, 0, -1, -1, 0);
  attr.bp_addr = (unsigned long)&b;
  attr.disabled = 0;
  int sibling = open_event(&attr, 0, -1, leader, 0);
  unsigned long v[8];
  store();
  long n = read(leader, v, sizeof v);
  printf("%ld: %ld events, %ld %ld, times %d %d\n", n, v[0], v[3], v[5], v[1] == 0, v[2] == 0);
  ioctl(leader, PERF_EVENT_IOC_ENABLE, 0);
  store();
  read(leader, v, sizeof v);
  printf("on %ld %ld, times %d\n", v[3], v[5], v[1] > 0 && v[2] > 0 && v[2] <= v[1]);
  ioctl(leader, PERF_EVENT_IOC_DISABLE, 0);
  store();
  read(sibling, v, sizeof v);
  printf("off %ld %ld\n", v[3], v[5]);
  ioctl(sibling, PERF_EVENT_IOC_ENABLE, PERF_IOC_FLAG_GROUP);
  store();
  ioctl(sibling, PERF_EVENT_IOC_DISABLE, PERF_IOC_FLAG_GROUP);
  store();
  read(leader, v, sizeof v);
  printf("by group %ld %ld\n", v[3], v[5]);
  ioctl(leader, PERF_EVENT_IOC_RESET, PERF_IOC_FLAG_GROUP);
  read(leader, v, sizeof v);
  printf("reset %ld %ld\n", v[3], v[5]);
  attr.pinned = 1;
  printf("pinned sibling %d %d\n", open_event(&attr, 0, -1, leader, 0), errno);
  attr.pinned = 0;
  close(leader);
  ioctl(sibling, PERF_EVENT_IOC_DISABLE, 0);
  ioctl(sibling, PERF_EVENT_IOC_ENABLE, 0);
  store();
  n = read(sibling, v, sizeof v);
  printf("alone %ld: %ld event, %ld\n", n, v[0], v[3]);
  prctl(31);
  store();
  prctl(32);
  store();
  read(sibling, v, sizeof v);
  printf("by prctl %ld\n", v[3]);
  return 0;
}
""".replace("int main", "#include <sys/prctl.h>\nint main", 1)
)
"""A group: in registers with its leader, read as one, and what is left when the leader goes."""

ERRORS = (
    _HEAD
    + r"""
static volatile long variable;
static void told(const char *what, long result) { printf("%s: %d %d\n", what, result < 0 ? -1 : 0, result < 0 ? errno : 0); }
static void opens(const char *what, struct perf_event_attr attr, int pid, int cpu, int group, unsigned long flags) {
  int fd = open_event(&attr, pid, cpu, group, flags);
  told(what, fd);
  if (fd >= 0) close(fd);
}
int main(void) {
  struct perf_event_attr attr = breakpoint(HW_BREAKPOINT_W, &variable, 8), other = attr;
  opens("plain", attr, 0, -1, -1, 0);
  opens("flags", attr, 0, -1, -1, 0x40);
  opens("nobody", attr, 999999, -1, -1, 0);
  opens("no CPU", attr, 0, 4000, -1, 0);
  opens("all of all", attr, -1, -1, -1, 0);
  opens("bad group", attr, 0, -1, 77, 0);
  opens("group that is none", attr, 0, -1, 1, 0);
  attr.size = 60;
  opens("too small", attr, 0, -1, -1, 0);
  attr = other, attr.size = 64;
  opens("without bp_len", attr, 0, -1, -1, 0);
  attr = other, attr.size = 5000;
  int fd = open_event(&attr, 0, -1, -1, 0);
  printf("too large: %d %d\n", fd, errno);
  char *two = mmap(0, 8192, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  munmap(two + 4096, 4096);
  other.size = 512;
  struct perf_event_attr *edge = memcpy(two + 4096 - 256, &other, sizeof other);
  told("nothing and then no memory", syscall(SYS_perf_event_open, edge, 0, -1, -1, 0));
  two[4095] = 1, edge->size = 512;
  told("something and then no memory", syscall(SYS_perf_event_open, edge, 0, -1, -1, 0));
  printf("size %d\n", edge->size);
  other.size = sizeof other;
  attr = other, attr.bp_type = HW_BREAKPOINT_R;
  opens("read", attr, 0, -1, -1, 0);
  attr = other, attr.bp_len = 3;
  opens("three", attr, 0, -1, -1, 0);
  attr = other, attr.bp_addr++;
  opens("odd", attr, 0, -1, -1, 0);
  attr = other, attr.bp_type = HW_BREAKPOINT_X;
  opens("execute", attr, 0, -1, -1, 0);
  attr.bp_len = 1;
  opens("execute 1", attr, 0, -1, -1, 0);
  attr = other, attr.sigtrap = 1;
  opens("sigtrap alone", attr, 0, -1, -1, 0);
  attr = other, attr.bp_addr = 0xffffffff82000000;
  opens("kernel", attr, 0, -1, -1, 0);
  fd = open_event(&other, 0, -1, -1, 0);
  opens("output to none", other, 0, -1, fd, PERF_FLAG_FD_OUTPUT);
  mmap(0, 4096, 3, MAP_SHARED, fd, 0);
  told("pause without room", ioctl(fd, PERF_EVENT_IOC_PAUSE_OUTPUT, 1));
  attr = other, attr.pinned = 1;
  opens("output", other, 0, -1, fd, PERF_FLAG_FD_OUTPUT);
  opens("output of a pinned one", attr, 0, -1, fd, PERF_FLAG_FD_OUTPUT);
  opens("output without the group", attr, 0, -1, fd, PERF_FLAG_FD_OUTPUT | PERF_FLAG_FD_NO_GROUP);
  close(fd);
  attr = other, attr.inherit = 1;
  fd = open_event(&attr, 0, -1, -1, 0);
  told("map inherited", mmap(0, 8192, 3, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0);
  told("refresh inherited", ioctl(fd, PERF_EVENT_IOC_REFRESH, 1));
  told("unknown ioctl", ioctl(fd, 0x2499, 1));
  told("pause without ring", ioctl(fd, PERF_EVENT_IOC_PAUSE_OUTPUT, 1));
  told("period 0", ioctl(fd, PERF_EVENT_IOC_PERIOD, &(unsigned long){0}));
  told("period nowhere", ioctl(fd, PERF_EVENT_IOC_PERIOD, 8));
  told("own output", ioctl(fd, PERF_EVENT_IOC_SET_OUTPUT, fd));
  told("half of none", ioctl(fd, PERF_EVENT_IOC_SET_OUTPUT, 0xffffffffu));
  told("none", ioctl(fd, PERF_EVENT_IOC_SET_OUTPUT, -1L));
  told("seek", lseek(fd, 0, SEEK_SET));
  told("write", write(fd, "x", 1));
  told("attr nowhere", syscall(SYS_perf_event_open, 8, 0, -1, -1, 0));
  printf("cloexec %d %d\n", fcntl(fd, F_GETFD), fcntl(fd, F_GETSIG));
  close(fd);
  told("closed", ioctl(fd, PERF_EVENT_IOC_ENABLE, 0));
  int fds[5];
  for (int i = 0; i < 5; i++) fds[i] = open_event(&other, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
  told("fifth", fds[4]);
  attr = other, attr.bp_len = 3;
  opens("bad fifth", attr, 0, -1, -1, 0);
  attr.bp_type = 7;
  opens("worse fifth", attr, 0, -1, -1, 0);
  printf("cloexec %d\n", fcntl(fds[0], F_GETFD));
  close(fds[0]);
  opens("after a close", other, 0, -1, -1, 0);
  int copy = dup(fds[1]);
  close(fds[1]);
  variable = 5;
  printf("the copy lives: %ld\n", count(copy));
  return 0;
}
"""
)
"""Requests that are refused, and with what."""

KERNEL_MODE = (
    _HEAD
    + r"""
// The kernel's own accesses to watched memory, by system calls.
static char buffer[64] __attribute__((aligned(8)));
static volatile int signals;
static void on_trap(int number, siginfo_t *info, void *context) { signals++; }
static int make(int type, int exclude_kernel, int exclude_user) {
  struct perf_event_attr attr = breakpoint(type, buffer, 8);
  attr.exclude_kernel = exclude_kernel;
  attr.exclude_user = exclude_user;
  attr.sample_period = 0;
  return open_event(&attr, 0, -1, -1, 0);
}
int main(void) {
  int ends[2];
  if (pipe(ends)) return 1;
  int fds[4] = {make(HW_BREAKPOINT_W, 0, 0), make(HW_BREAKPOINT_W, 1, 0), make(HW_BREAKPOINT_W, 0, 1), make(HW_BREAKPOINT_RW, 0, 1)};
  if (fds[0] < 0) return printf("open %d\n", errno), 1;
  unsigned long before[4], after[4];
#define ROW(what, act) \
  for (int i = 0; i < 4; i++) before[i] = count(fds[i]); \
  act; \
  for (int i = 0; i < 4; i++) after[i] = count(fds[i]); \
  printf("%s:", what); \
  for (int i = 0; i < 4; i++) printf(" %d", after[i] > before[i]); \
  printf("\n");
  ROW("user store", buffer[0] = 1)
  ROW("write", write(ends[1], buffer, 8))
  ROW("read", read(ends[0], buffer, 8))
  ROW("write elsewhere", write(ends[1], buffer + 8, 8))
  ROW("read elsewhere", read(ends[0], buffer + 16, 8))
  ROW("path", access(buffer, 0))
  for (int i = 0; i < 4; i++) close(fds[i]);
  on_signal(SIGTRAP, on_trap);
  struct perf_event_attr attr = breakpoint(HW_BREAKPOINT_W, buffer, 8);
  attr.exclude_kernel = 0;
  attr.remove_on_exec = attr.sigtrap = 1;
  int fd = open_event(&attr, 0, -1, -1, 0);
  write(ends[1], "12345678", 8);
  read(ends[0], buffer, 8);
  printf("signals %d\n", signals);
  return 0;
}
"""
)
"""Hits in the kernel's mode (needs CAP_PERFMON where perf_event_paranoid is 2)."""

MIGRATE = (
    _HEAD
    + r"""
#include <sched.h>
// Threads that move between CPUs 0 and 1: events of a task on any CPU, on one CPU, and of a CPU; SIGIO to the thread itself.
#define THREADS 3
static volatile long word, mine[THREADS][8];
static __thread volatile int signals;
static char text[THREADS + 1][200];
static void on_io(int number, siginfo_t *info, void *context) { signals++; }
static void go_to(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (sched_setaffinity(0, sizeof set, &set)) exit(3);
  if (sched_getcpu() != cpu) exit(4);
}
static int make(volatile void *address, int pid, int cpu, int period) {
  struct perf_event_attr attr = breakpoint(HW_BREAKPOINT_W, address, 8);
  attr.sample_period = period;
  int fd = open_event(&attr, pid, cpu, -1, 0);
  if (fd < 0) exit(2);
  return fd;
}
static void *work(void *arg) {
  long n = (long)arg;
  int any = make(&mine[n][0], 0, -1, 10), on_0 = make(&mine[n][0], 0, 0, 0), on_1 = make(&mine[n][0], 0, 1, 0);
  struct f_owner_ex owner = {F_OWNER_TID, syscall(SYS_gettid)};
  fcntl(any, F_SETFL, O_RDWR | O_ASYNC);
  fcntl(any, F_SETSIG, SIGIO);
  fcntl(any, F_SETOWN_EX, &owner);
  for (int round = 0; round < 20; round++) {
    go_to(round & 1);
    for (int i = 0; i < 10 + n + (round & 1); i++) mine[n][0] = i;
    for (int i = 0; i <= n; i++) word = i;
  }
  sprintf(text[n], "thread %ld: %ld, on CPU 0 %ld, on CPU 1 %ld, signals %d", n, count(any), count(on_0), count(on_1), signals);
  return 0;
}
int main(int argc, char **argv) {
  int wide = -1;
  struct perf_event_attr attr = breakpoint(HW_BREAKPOINT_W, &word, 8);
  attr.sample_period = 0;
  int cpu_1 = open_event(&attr, -1, 1, -1, 0);
  if (cpu_1 < 0) printf("wide %d\n", errno);
  struct sigaction action = {0};
  action.sa_sigaction = on_io;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  sigaction(SIGIO, &action, 0);
  pthread_t threads[THREADS];
  for (long n = 0; n < THREADS; n++) pthread_create(&threads[n], 0, work, (void *)n);
  for (int n = 0; n < THREADS; n++) pthread_join(threads[n], 0);
  for (int n = 0; n < THREADS; n++) printf("%s\n", text[n]);
  if (cpu_1 >= 0) printf("CPU 1 saw %ld of 120\n", count(cpu_1));
  return 0;
}
"""
)
"""A task's events follow it over the CPUs, those of one CPU count there only, whoever runs."""

BACKWARD = (
    _HEAD
    + r"""
static volatile long words[2];
static int pages;
static void newest(const char *what, char *ring) {
  struct perf_event_mmap_page *page = (void *)ring;
  unsigned long head = page->data_head, size = pages * 4096L, seen = 0, lost = 0;
  printf("%s: written %ld, newest", what, -head);
  for (unsigned long at = head, step; at - head < size && at; at += step) {
    char copy[64];
    struct perf_event_header *header = (void *)copy;
    for (unsigned long i = 0; i < 8; i++) copy[i] = ring[4096 + (at + i) % size];
    if (!header->size || header->size > sizeof copy) break;
    for (unsigned long i = 8; i < header->size; i++) copy[i] = ring[4096 + (at + i) % size];
    if (header->type == PERF_RECORD_LOST) lost += ((unsigned long *)copy)[2];
    else if (seen++ < 3) printf(" %d of %d at %ld", header->type, header->size, (long *)*(unsigned long *)(copy + 8) - words);
    step = header->size;
  }
  printf(", %ld in all, %ld lost\n", seen, lost);
}
int main(void) {
  struct perf_event_attr attr = breakpoint(HW_BREAKPOINT_W, &words[0], 8);
  attr.sample_type = PERF_SAMPLE_ADDR;
  attr.write_backward = 1;
  attr.wakeup_events = 2;
  int fd = open_event(&attr, 0, -1, -1, 0);
  attr.bp_addr = (unsigned long)&words[1];
  int second = open_event(&attr, 0, -1, -1, 0);
  attr.write_backward = 0;
  int forward = open_event(&attr, 0, -1, -1, 0);
  if (fd < 0 || second < 0 || forward < 0) return printf("open %d\n", errno), 1;
  for (pages = 1; pages < 3; pages++) {
    char *ring = mmap(0, (pages + 1) * 4096, pages == 1 ? PROT_READ : PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    printf("shares %d, ", ioctl(second, PERF_EVENT_IOC_SET_OUTPUT, fd));
    int mixed = ioctl(forward, PERF_EVENT_IOC_SET_OUTPUT, fd);
    printf("not with the other way %d %d\n", mixed, errno);
    struct pollfd poller = {fd, POLLIN, 0};
    words[0] = 1;
    printf("poll %d ", poll(&poller, 1, 0));
    words[1] = 2, words[1] = 3;
    printf("%d\n", poll(&poller, 1, 0));
    newest("three", ring);
    for (int i = 0; i < 700; i++) words[i % 2] = i;
    newest("many", ring);
    if (pages == 2) ((struct perf_event_mmap_page *)ring)->data_tail = ((struct perf_event_mmap_page *)ring)->data_head;
    words[0] = 4;
    newest("one more", ring);
    munmap(ring, (pages + 1) * 4096);
  }
  return 0;
}
"""
)
"""write_backward: the newest record comes first, in a ring that is written over and in one whose reader keeps up."""

BLOCKED = (
    _HEAD
    + r"""
// sigtrap while SIGTRAP is blocked comes later and says so; ignored, it is lost; by default it kills.
static volatile long word;
static volatile int signals, flags, code;
static void on_trap(int number, siginfo_t *info, void *context) {
  signals++;
  flags = ((int *)((char *)info + 36))[0];
  code = info->si_code;
}
static int make(void) {
  struct perf_event_attr attr = breakpoint(HW_BREAKPOINT_W, &word, 8);
  attr.remove_on_exec = attr.sigtrap = 1;
  return open_event(&attr, 0, -1, -1, 0);
}
int main(void) {
  sigset_t set, pending;
  sigemptyset(&set);
  sigaddset(&set, SIGTRAP);
  on_signal(SIGTRAP, on_trap);
  int fd = make();
  word = 1;
  printf("free %d, flags %d, code %d\n", signals, flags, code);
  sigprocmask(SIG_BLOCK, &set, 0);
  word = 2, word = 3;
  sigpending(&pending);
  printf("blocked %d, pending %d\n", signals, sigismember(&pending, SIGTRAP));
  sigprocmask(SIG_UNBLOCK, &set, 0);
  printf("then %d, flags %d\n", signals, flags);
  sigprocmask(SIG_BLOCK, &set, 0);
  word = 4;
  siginfo_t info;
  int got = sigwaitinfo(&set, &info);
  printf("waited for %d code %d address %d\n", got, info.si_code, info.si_addr == (void *)&word);
  sigprocmask(SIG_UNBLOCK, &set, 0);
  signal(SIGTRAP, SIG_IGN);
  word = 5;
  printf("ignored, count %ld\n", count(fd));
  pid_t child = fork();
  if (!child) {
    signal(SIGTRAP, SIG_DFL);
    make();
    word = 6;
    _exit(1);
  }
  int status;
  waitpid(child, &status, 0);
  printf("killed by %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
  return 0;
}
"""
)
"""kernel/signal.c send_sig_perf: TRAP_PERF_FLAG_ASYNC."""
