// Perf requests with everything odd about them: odd_events SEED STEPS WIDE. Prints one line a step: what was asked, what came back,
// and the count of each open event. Natively and on the emulated machine the lines are the same.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
typedef uint64_t u64; typedef uint32_t u32;
static u64 state;
static u64 rnd(void) { state ^= state << 13; state ^= state >> 7; state ^= state << 17; return state * 0x2545F4914F6CDD1DULL >> 11; }
static int in(int n) { return rnd() % n; }
static int pct(int p) { return in(100) < p; }
#define PICK(...) ({ __typeof__((__VA_ARGS__)) *dummy_ = 0; (void)dummy_; static const u64 a_[] = {__VA_ARGS__}; a_[in(sizeof a_ / 8)]; })
static volatile u64 data[16] __attribute__((aligned(64)));
__attribute__((noinline)) static void stub0(void) { asm volatile("nop"); }
__attribute__((noinline)) static void stub1(void) { asm volatile("nop;nop"); }
static int traps, ios, lastcode, lastdata;
static void on_trap(int n, siginfo_t *i, void *c) { traps++; lastcode = i->si_code; lastdata = *(int *)((char *)i + 24); }
static void on_io(int n) { ios++; }
static int fds[32], nfds;
static void *rings[32]; static size_t ringsize[32];
static int child_pid, dead_pid, tids[2];
static int gate[2];
static void *park(void *a) { tids[(long)a] = syscall(SYS_gettid); char c; read(gate[0], &c, 1); return 0; }
static unsigned char attr[4200] __attribute__((aligned(8)));
static void put(int at, int size, u64 v) { memcpy(attr + at, &v, size); }
static void make_attr(int wild) {
  memset(attr, 0, sizeof attr);
  put(0, 4, 5); put(4, 4, PICK(136, 136, 136, 136, 128, 120, 112, 104, 96, 80, 72, 64));
  int kind = in(10);
  u64 type = kind < 4 ? 2 : kind < 7 ? 3 : kind < 9 ? 4 : PICK(0, 1, 5, 6, 7, 8, 0xffffffff);
  u64 len = type == 4 ? 8 : PICK(1, 2, 4, 8, 8, 4);
  u64 addr = type == 4 ? (u64)(pct(50) ? stub0 : stub1) : (u64)&data[in(4)] + (pct(30) ? in(8) : 0);
  if (pct(85)) addr = type == 4 ? addr : addr & -len;
  if (pct(5)) len = PICK(0, 3, 5, 6, 7, 9, 16, 4096, 1ull << 32, 1ull << 63, -1ull, 8 + (1ull << 32));
  if (pct(6)) addr = PICK(0, 1, 8, 0x7ffffffff000ull, 0x7fffffffeff8ull, 0x7fffffffefffull, 0x800000000000ull, -1ull, -8ull, 0xffffffff81000000ull, 0xfffffe0000001000ull, 0xffff888000000000ull, 0xffffffffff600000ull);
  put(52, 4, type); put(56, 8, addr); put(64, 8, len);
  u64 flags = (pct(85) ? 1ull << 5 : 0) | (pct(30) ? 1 : 0) | (pct(25) ? 2 : 0) | (pct(30) ? 4 : 0) | (pct(50) ? 1ull << 6 : 0);
  if (pct(12)) flags |= 3ull << 36;
  if (pct(8)) flags |= 1ull << PICK(3, 4, 7, 10, 11, 12, 14, 18, 19, 20, 21, 22, 24, 25, 27, 31, 35, 36, 37, 38, 39);
  if (pct(2)) flags |= 1ull << in(64);
  if (flags >> 2 & 1 && pct(70)) flags &= ~4ull;
  put(40, 8, flags);
  put(16, 8, pct(60) ? PICK(1, 1, 1, 2, 3, 7) : PICK(0, 0, 0, 0, 1ull << 63, (1ull << 63) - 1, -1ull));
  if (pct(30)) put(24, 8, PICK(1, 2, 4, 8, 3, 7, 0x100, 0x40, 0x80, 0x200, 0x10000, 0x10, 0x20, 0x400, 0x4000, 0x8000, 0x1004000));
  if (pct(30)) put(32, 8, PICK(0, 1, 2, 3, 4, 8, 9, 12, 16, 31, 24));
  if (pct(6)) put(48, 4, PICK(1, 2, 0xffffffff));
  if (wild) {
    switch (in(16)) {
      case 0: put(4, 4, PICK(0, 1, 60, 63, 65, 68, 137, 144, 200, 4095, 4096, 4097, 0xffffffff, 8192)); break;
      case 1: put(0, 4, PICK(77, 99, 1000, 0xffffffff)); break; // no kernel has these; breakpoints are all that the model has
      case 2: put(24, 8, 1ull << in(64)); break;
      case 3: put(32, 8, 1ull << in(64)); break;
      case 4: put(108, 4, PICK(0, 0, 1)); put(110, 2, PICK(1, 0x100, 0xffff)); break;
      case 5: put(116, 4, PICK(1, 2, 4, 7, 8, 0x80000000)); break;
      case 6: put(136 + in(60), 1, 1), put(4, 4, PICK(136, 144, 152, 196, 4096)); break;
      case 7: put(72, 8, rnd()); break;
      case 8: put(80, 8, rnd()), put(24, 8, 1 << 12); break;
      case 9: put(88, 4, PICK(8, 9, 65528, 65535, 65536, 0xffffffff)), put(24, 8, 1 << 13); break;
      case 10: put(92, 4, PICK(0, 1, 4, 7, 11, 99, -1)), put(40, 8, 1ull << 25 | 1 << 5); break;
      case 11: put(96, 8, rnd()), put(24, 8, 1 << 18); break;
      case 12: put(72, 8, rnd()), put(24, 8, 1 << 11); break;
      case 13: put(128, 8, rnd()); break;
      case 14: put(112, 4, PICK(1, 4096)); break;
      case 15: put(108, 2, PICK(1, 127, 128, 129, 0xffff)), put(24, 8, 0x20); break;
    }
  }
}
static int fd_any(void) { return pct(92) && nfds ? fds[in(nfds)] : (int)PICK(-1, 0, 999, -2, 0x7fffffff); }
static void out(int n, const char *what, long r) {
  printf("%d %s %ld %d", n, what, r < 0 ? -1 : r, r < 0 ? errno : 0);
}
static void forget(int i) { if (rings[i]) munmap(rings[i], ringsize[i]); close(fds[i]); nfds--; fds[i] = fds[nfds]; rings[i] = rings[nfds]; ringsize[i] = ringsize[nfds]; }
static int idx(int fd) { for (int i = 0; i < nfds; i++) if (fds[i] == fd) return i; return fd < 0 || fd == 0 || fd > 900 ? fd : -7; }
int main(int argc, char **argv) {
  state = strtoull(argv[1], 0, 0) * 0x9E3779B97F4A7C15ULL + 1;
  int steps = atoi(argv[2]), cpuwide = atoi(argv[3]);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  cpu_set_t set; CPU_ZERO(&set); CPU_SET(1, &set); sched_setaffinity(0, sizeof set, &set);
  struct sigaction sa = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO}; sigaction(SIGTRAP, &sa, 0);
  sa.sa_handler = on_io; sa.sa_flags = 0; sigaction(SIGIO, &sa, 0); sigaction(SIGUSR1, &sa, 0);
  pipe(gate);
  pthread_t t; for (long i = 0; i < 2; i++) { pthread_create(&t, 0, park, (void *)i); while (!*(volatile int *)&tids[i]) usleep(100); }
  if (!(child_pid = fork())) { prctl(PR_SET_PDEATHSIG, SIGKILL); close(gate[1]); char c; read(gate[0], &c, 1); _exit(0); }
  if (!(dead_pid = fork())) _exit(0);
  waitpid(dead_pid, 0, 0);
  char *page = mmap(0, 8192, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); mprotect(page + 4096, 4096, PROT_NONE); // not a hole, which a ring would fill
  static char stdbuf[1 << 16]; setvbuf(stdout, stdbuf, _IOFBF, sizeof stdbuf);
  for (int n = 0; n < steps; n++) {
    if (n % 60 == 59) { while (nfds) forget(0); traps = ios = 0; }
    int what = in(100), skip = 0;
    errno = 0;
    if (what < 30) {
      if (nfds >= 24) forget(in(nfds));
      make_attr(pct(15));
      void *p = attr;
      int pid_k = in(20); long pid = pid_k < 9 ? 0 : pid_k < 11 ? getpid() : pid_k < 14 ? tids[in(2)] : pid_k < 16 ? child_pid : pid_k == 16 ? dead_pid : pid_k == 17 ? (int)PICK(-2, -1000, 0x7fffffff, 4194305) : -1;
      long cpu = pct(80) ? -1 : (int)PICK(0, 1, 1, 1, 2, 77, 4096, -2, 0x7fffffff, -1000);
      if (pid == -1) { cpu = cpuwide ? (int)PICK(0, 1, 1, -1, 77, -2) : (int)PICK(-1, 77, -2, 5000); }
      int g = pct(20) ? fd_any() : -1;
      u64 fl = pct(85) ? PICK(0, 0, 8) : PICK(1, 2, 3, 4, 9, 16, 32, 0x80000000, 1ull << 32, 0xffffffffffffffff, 5, 12);
      int bad = in(60);
      if (bad == 0) p = 0; else if (bad == 1) p = (void *)0xffffffff81000000ull; else if (bad == 2) { p = page + 4096 - (int)PICK(4, 8, 64, 100, 136); memcpy(p, attr, page + 4096 - (char *)p); }
      else if (bad == 3) p = (void *)1;
      u32 kind = *(u32 *)(attr + 52), sz = *(u32 *)(attr + 4);
      long r = syscall(SYS_perf_event_open, p, pid, cpu, g, fl);
      int e = errno;
      printf("%d open type %u bp %u len %lx addr %lx flags %lx period %lx st %lx rf %lx size %u pid %d cpu %ld group %d fl %lx bad %d", n, *(u32 *)attr, kind, *(u64 *)(attr + 64), *(u64 *)(attr + 56) < 0x10000000 ? 1ul : *(u64 *)(attr + 56), *(u64 *)(attr + 40), *(u64 *)(attr + 16), *(u64 *)(attr + 24), *(u64 *)(attr + 32), sz, pid_k, cpu, idx(g), (long)fl, bad);
      errno = e;
      out(n, "", r < 0 ? r : 0);
      printf(" size now %u", bad > 3 ? *(u32 *)(attr + 4) : 0);
      if (r >= 0) { printf(" cloexec %d", fcntl(r, F_GETFD)); fds[nfds] = r, rings[nfds] = 0, nfds++; }
    } else if (what < 36 && nfds) {
      int i = in(nfds); printf("%d close %d", n, i); forget(i);
    } else if (what < 56) {
      int fd = fd_any(); u64 v[4] = {0}; int k = in(13); u64 arg = 0, req = 0;
      switch (k) {
        case 0: req = 0x2400, arg = PICK(0, 0, 1, 2, 3, -1ull); break;
        case 1: req = 0x2401, arg = PICK(0, 0, 1, 2, -1ull); break;
        case 2: req = 0x2402, arg = PICK(0, 1, 2, 3, -1ull, 1ull << 31, 1ull << 32, (1ull << 32) + 1, 1 << 30); break;
        case 3: req = 0x2403, arg = PICK(0, 1, 2); break;
        case 4: req = 0x40082404, v[0] = PICK(1, 2, 3, 7, 0, 1ull << 63, (1ull << 63) - 1, 1ull << 40), arg = pct(90) ? (u64)v : PICK(0, 1, 0xffffffff81000000ull); break;
        case 5: req = 0x2405, arg = pct(70) ? (u64)(int64_t)fd_any() : PICK(-1ull, 0xffffffff, 0, 1); break;
        case 6: req = 0x40042409, arg = PICK(0, 1, 2); break;
        case 7: case 8: case 9: make_attr(pct(15)); req = 0x4008240b;
          if (pct(70)) { u64 keep = *(u64 *)(attr + 40); (void)keep; put(24, 8, 0); put(32, 8, 0); put(16, 8, PICK(1, 1, 0, 2)); }
          arg = pct(95) ? (u64)attr : PICK(0, 0xffffffff81000000ull); break;
        case 10: req = PICK(0x40042408, 0x40082406), arg = PICK(0, -1ull, 0xffffffff81000000ull); if (req == 0x40042408) arg = PICK(-1ull, 999, 0xffffffff); break;
        case 11: req = 0x80082407, arg = pct(80) ? (u64)v : PICK(0, 0xffffffff81000000ull); break;
        case 12: req = PICK(0x240c, 0x2410, 0, 0x5401, 0x2404, 0x4004240b, 0xc008240a, 0x40082400, 0x5421, 0x541b, 0x5450, 0x5451, 0x12345678), arg = PICK(0, 0); if (req == 0x5421) arg = (u64)v; if (req == 0xc008240a) arg = 0; break;
      }
      long r = syscall(SYS_ioctl, fd, req, arg);
      int e = errno; printf("%d ioctl %d %lx arg %lx v %lx", n, idx(fd), req, req == 0x2405 ? 0 : arg > 4096 && arg < 1ull << 47 ? 1 : arg, req == 0x80082407 ? 0 : v[0]);
      if (req == 0x2405) printf(" to %d", idx(arg));
      if (req == 0x4008240b) printf(" type %u bp %u len %lx addr %lx flags %lx period %lx size %u", *(u32 *)attr, *(u32 *)(attr + 52), *(u64 *)(attr + 64), *(u64 *)(attr + 56), *(u64 *)(attr + 40), *(u64 *)(attr + 16), *(u32 *)(attr + 4));
      errno = e; out(n, "", r);
    } else if (what < 62 && nfds) {
      int fd = fd_any(); size_t size = PICK(0, 1, 7, 8, 16, 24, 32, 40, 64, 200);
      u64 buf[32] = {0}; void *p = pct(94) ? (void *)buf : (void *)PICK(0, 0xffffffff81000000ull);
      if (fd == 0) { skip = 1; }
      else { long r = read(fd, p, size); printf("%d read %d %zu", n, idx(fd), size); out(n, "", r); if (r == 8) printf(" %lu", buf[0]); }
    } else if (what < 66 && nfds) {
      int i = in(nfds); size_t len = PICK(4096, 8192, 8192, 12288, 16384, 20480, 36864, 8193, 100, 0);
      int prot = PICK(1, 3, 3, 3, 0, 2, 5, 7), fl = PICK(MAP_SHARED, MAP_SHARED, MAP_SHARED, MAP_PRIVATE); u64 off = PICK(0, 0, 0, 0, 0, 4096, 8192);
      if (rings[i]) { printf("%d munmap %d %d", n, i, munmap(rings[i], ringsize[i])); rings[i] = 0; }
      else { void *r = mmap(0, len, prot, fl, fds[i], off); int e = errno; printf("%d mmap %d %zu prot %d %d off %lx", n, i, len, prot, fl, off); errno = e; out(n, "", r == MAP_FAILED ? -1 : 0);
        if (r != MAP_FAILED) { rings[i] = r, ringsize[i] = len; if (prot & 1) printf(" head %lu size %lu off %lu", ((u64 *)r)[128], ((u64 *)r)[131], ((u64 *)r)[130]); } }
    } else if (what < 72 && nfds) {
      int i = in(nfds), fd = fds[i], k = in(12); long r = 0;
      switch (k) {
        case 0: r = fcntl(fd, F_SETFL, PICK(O_ASYNC, O_ASYNC, 0, O_NONBLOCK, O_ASYNC | O_NONBLOCK, O_APPEND, O_DIRECT)); break;
        case 1: r = fcntl(fd, F_SETSIG, (long)PICK(SIGUSR1, SIGIO, 0, 65, 64, 1000)); if (fcntl(fd, F_GETSIG) > 31) fcntl(fd, F_SETSIG, SIGUSR1); break;
        case 2: r = fcntl(fd, F_SETOWN, getpid()); break;
        case 3: r = fcntl(fd, F_SETOWN, (long)(int)PICK(0, 0x7fffffff, -0x7fffffff, 99999999)); break;
        case 4: { struct f_owner_ex x = {PICK(0, 1, 2, 3, 77), PICK(0, 0, 0x7fffffff)}; if (!x.pid && x.type < 2) x.pid = syscall(SYS_gettid); r = x.type == 2 ? 0 : fcntl(fd, F_SETOWN_EX, &x); break; }
        case 5: r = fcntl(fd, F_GETFL); break;
        case 6: r = fcntl(fd, F_SETFD, PICK(0, 1)); break;
        case 7: r = lseek(fd, PICK(0, 1, 100), PICK(0, 1, 2, 9)); break;
        case 8: r = write(fd, "x", PICK(0, 1)); break;
        case 9: { struct pollfd p = {fd, PICK(1, 4, 7, 0x2000), 0}; r = poll(&p, 1, 0); printf("%d poll revents %x;", n, p.revents); break; }
        case 10: r = fsync(fd); break;
        case 11: { r = dup(fd); int d = r; r = r < 0 ? r : 0; if (d >= 0) { if (nfds < 30 && pct(50)) { fds[nfds] = d; rings[nfds] = 0; nfds++; } else close(d); } break; }
      }
      int e = errno; printf("%d fcntl %d op %d", n, i, k); errno = e; out(n, "", r);
    } else if (what < 73) { long r = prctl(pct(50) ? PR_TASK_PERF_EVENTS_DISABLE : PR_TASK_PERF_EVENTS_ENABLE, 0, 0, 0, 0); printf("%d prctl", n); out(n, "", r);
    } else if (what < 75) { pid_t p = fork(); if (!p) { data[0] = n; _exit(0); } int st; long r = p < 0 ? p : (waitpid(p, &st, 0), st); printf("%d fork", n); out(n, "", r);
    } else {
      int a = in(4), k = in(7); volatile unsigned char *b = (volatile unsigned char *)&data[a] + (pct(40) ? in(8) : 0); printf("%d access %d %d", n, k, (int)(b - (volatile unsigned char *)data));
      fflush(stdout);
      switch (k) { case 0: *b = n; break; case 1: *(volatile uint16_t *)b = n; break; case 2: *(volatile u32 *)b = n; break; case 3: *(volatile u64 *)b = n; break; case 4: { u64 v = *(volatile u64 *)b; (void)v; break; } case 5: stub0(); break; case 6: stub1(); break; }
    }
    if (skip) printf("%d skip", n);
    printf(" | t%d c%d d%d i%d |", traps, lastcode, lastdata, ios);
    for (int i = 0; i < nfds; i++) { u64 buf[64]; long r = read(fds[i], buf, 512); printf(" %ld", r < 0 ? -errno : r); if (r == 8) printf(":%lu", buf[0]);
      if (rings[i]) printf("@%lu", ((volatile u64 *)rings[i])[128]); }
    printf("\n");
  }
  while (nfds) forget(0);
  fflush(stdout);
  kill(child_pid, 9); waitpid(child_pid, 0, 0);
  _exit(0);
}
