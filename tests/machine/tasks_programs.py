"""C programs with threads, children and signals: each prints the same natively and under emulation."""

from __future__ import annotations

from pathlib import Path

from tests.compiled import compiled

__all__ = [
    "FORKS",
    "RF",
    "SHARED",
    "SIGNALS",
    "STEPS",
    "STEP_SYSCALLS",
    "THREADS",
    "THREAD_EXECUTES",
    "VM_CHILD",
    "built",
]

THREADS = r"""
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
static long counter, turns;
static atomic_long total;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;
static int ready;
static __thread long mine;
long watched[4];
double sums[4];
static void *work(void *arg) {
  long n = (long)arg;
  double sum = 0;
  pthread_barrier_wait(&barrier);
  for (int i = 0; i < 400; i++) {
    pthread_mutex_lock(&lock);
    counter++;
    pthread_mutex_unlock(&lock);
    total++;
    mine += n;
    *(volatile long *)&watched[n] = i;
    sum += i * 0.5 * (n + 1);
  }
  sums[n] = sum;
  pthread_mutex_lock(&lock);
  while (turns != n) pthread_cond_wait(&cond, &lock);  // in the order of their numbers
  turns++;
  printf("thread %ld %.1f\n", n, sums[n]);
  ready++;
  pthread_cond_broadcast(&cond);
  pthread_mutex_unlock(&lock);
  return (void *)mine;
}
int main(void) {
  pthread_t threads[4];
  pthread_barrier_init(&barrier, 0, 4);
  for (long i = 0; i < 4; i++) pthread_create(&threads[i], 0, work, (void *)i);
  long result = 0;
  for (int i = 0; i < 4; i++) {
    void *one;
    pthread_join(threads[i], &one);
    result += (long)one;
  }
  printf("%ld %ld %ld %d\n", counter, total, result, ready);
  return 0;
}
"""

FORKS = r"""
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
extern char **environ;
static volatile int got, children;
volatile long shared = 1;
static void on(int n, siginfo_t *info, void *context) { got += n; }
static void on_child(int n) { children++; }
int main(int argc, char **argv) {
  setvbuf(stdout, 0, _IONBF, 0);
  if (argc > 1) {
    printf("%s %s\n", argv[1], getenv("X") ? getenv("X") : "-");
    return 5;
  }
  int ends[2], status;
  if (pipe(ends)) return 1;
  struct sigaction action = {0};
  action.sa_sigaction = on;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGUSR1, &action, 0);
  signal(SIGCHLD, on_child);
  pid_t child = fork();
  if (!child) {
    close(ends[0]);
    for (int i = 0; i < 10; i++) shared = i;
    if (write(ends[1], "hello", 5) != 5) _exit(99);
    _exit((int)shared);
  }
  close(ends[1]);
  char text[16] = {0};
  long size = read(ends[0], text, sizeof text);
  waitpid(child, &status, 0);
  printf("%ld %s %d, mine is %ld, %d\n", size, text, WEXITSTATUS(status), shared, children);
  child = fork();
  if (!child) for (;;) pause();
  kill(child, SIGTERM);
  waitpid(child, &status, 0);
  printf("killed by %d\n", WTERMSIG(status));
  child = vfork();
  if (!child) {
    execl(argv[0], argv[0], "vforked", (char *)0);
    _exit(1);
  }
  waitpid(child, &status, 0);
  char *words[] = {argv[0], "spawned", 0}, *environment[] = {"X=1", 0};
  if (posix_spawn(&child, argv[0], 0, 0, words, environment)) return 2;
  waitpid(child, &status, 0);
  printf("status %d\n", WEXITSTATUS(status));
  child = fork();
  if (!child) {
    struct timespec little = {0, 10000000};
    nanosleep(&little, 0);
    kill(getppid(), SIGUSR1);
    _exit(0);
  }
  struct timespec left = {0, 200000000};
  int interrupted = 0;
  while (nanosleep(&left, &left)) interrupted += errno == EINTR && left.tv_nsec < 200000000;
  printf("interrupted: %d\n", interrupted > 0);
  while (wait(0) > 0);
  printf("%s\n", strerror(errno));
  alarm(1);
  sigaction(SIGALRM, &action, 0);
  pause();
  printf("%d\n", got);
  return 7;
}
"""

SIGNALS = r"""
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
static volatile int order[16], count;
static sigjmp_buf out;
static char stack[1 << 16];
static double kept = 1.25;
static void note(int n) { order[count++] = n; }
static void nested(int n) { note(n); raise(SIGUSR2); note(n + 100); }
static void on_stack(int n) { char here; note(&here >= stack && &here < stack + sizeof stack); }
static void fix(int n, siginfo_t *info, void *context) {
  ucontext_t *uc = context;
  printf("%d %d %d\n", n, info->si_code, info->si_addr == (void *)8);
  uc->uc_mcontext.gregs[REG_RIP] += 2;  // past mov (%rax), %rcx's 3 bytes less one: nop follows
  uc->uc_mcontext.gregs[REG_RIP] += 1;
  uc->uc_mcontext.gregs[REG_RCX] = 77;
  kept *= 2;
}
static void away(int n) { siglongjmp(out, n); }
int main(void) {
  struct sigaction action = {0};
  action.sa_handler = nested;
  sigaddset(&action.sa_mask, SIGUSR2);
  sigaction(SIGUSR1, &action, 0);
  signal(SIGUSR2, note);
  raise(SIGUSR1);
  for (int i = 0; i < count; i++) printf("%d ", order[i]);
  stack_t alt = {.ss_sp = stack, .ss_size = sizeof stack};
  sigaltstack(&alt, 0);
  memset(&action, 0, sizeof action);
  action.sa_handler = on_stack;
  action.sa_flags = SA_ONSTACK | SA_RESETHAND;
  sigaction(SIGHUP, &action, 0);
  raise(SIGHUP);
  printf("on stack: %d\n", order[count - 1]);
  action.sa_handler = 0;
  action.sa_sigaction = fix;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGSEGV, &action, 0);
  long got;
  register double sum asm("xmm7") = 3.5;
  asm volatile("mov (%%rax), %%rcx" : "=c"(got), "+x"(sum) : "a"(8L));
  printf("%ld %.2f %.2f\n", got, sum, kept);
  signal(SIGFPE, away);
  volatile int zero = 0, seven = 7;
  int n = sigsetjmp(out, 1);
  if (!n) zero = seven / zero;
  printf("back with %d\n", n);
  sigset_t mask, old;
  sigemptyset(&mask);
  sigaddset(&mask, SIGUSR2);
  sigprocmask(SIG_BLOCK, &mask, &old);
  count = 0;
  raise(SIGUSR2);
  raise(SIGUSR2);
  printf("blocked %d ", count);
  sigsuspend(&old);
  printf("then %d\n", count);
  signal(SIGPIPE, note);
  int ends[2];
  if (pipe(ends)) return 1;
  close(ends[0]);
  long wrote = write(ends[1], "x", 1);
  printf("%ld %d\n", wrote, order[count - 1]);
  return 0;
}
"""

STEPS = r"""
#include <signal.h>
#include <stdio.h>
#include <ucontext.h>
static long at[16];
static int count;
static void on(int n, siginfo_t *info, void *context) {
  ucontext_t *uc = context;
  if (count < 16) at[count++] = (long)uc->uc_mcontext.gregs[REG_RIP] * 16 + info->si_code;
}
extern char first[];
int main(void) {
  struct sigaction action = {0};
  action.sa_sigaction = on;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGTRAP, &action, 0);
  asm volatile("pushfq; orq $0x100, (%%rsp); popfq; nop; .globl first; first: nop; pushfq; andq $~0x100, (%%rsp); popfq;"
               "nop; int3; nop" ::: "memory", "cc");
  for (int i = 0; i < count; i++) printf("%ld:%ld ", at[i] / 16 - (long)first, at[i] % 16);
  printf("\n");
  return 0;
}
"""

STEP_SYSCALLS = r"""
#include <signal.h>
#include <stdio.h>
#include <ucontext.h>
#include <unistd.h>
#include <sys/syscall.h>
static long at[64]; static int count;
static void on(int n, siginfo_t *info, void *context) { ucontext_t *uc = context; if (count < 64) at[count++] = (long)uc->uc_mcontext.gregs[REG_RIP] * 16 + info->si_code; }
extern char first[];
int main(void) {
  struct sigaction action = {0};
  action.sa_sigaction = on; action.sa_flags = SA_SIGINFO;
  sigaction(SIGTRAP, &action, 0);
  long n = SYS_getpid;
  asm volatile("pushfq; orq $0x100, (%%rsp); popfq; .globl first; first: nop; syscall; nop; mov $39, %%eax; syscall; nop; nop; pushfq; andq $~0x100, (%%rsp); popfq; nop" : "+a"(n) :: "memory", "cc", "rcx", "r11");
  for (int i = 0; i < count; i++) printf("%ld:%ld ", at[i] / 16 - (long)first, at[i] % 16);
  printf("%d\n", n == getpid());
  return 0;
}
"""

RF = r"""
#include <signal.h>
#include <stdio.h>
static volatile int count;
volatile long the_var;
__attribute__((noinline)) void handler(int n) { count++; }
__attribute__((naked, noinline)) void stub(volatile long *p) { asm("incq (%rdi); ret"); }
int main(void) {
  signal(SIGUSR1, handler);
  stub(&the_var);
  the_var++;
  raise(SIGUSR1);
  printf("%d %ld\n", count, the_var);
  return 0;
}
"""


SHARED = r"""
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
struct page { pthread_mutex_t lock; pthread_cond_t cond; long counter, turn, seen[4]; char text[8192]; };
static volatile long alone;
int main(int argc, char **argv) {
  struct page *page = mmap(0, 4 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  char *second = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  pthread_mutexattr_t locks;
  pthread_condattr_t conds;
  pthread_mutexattr_init(&locks);
  pthread_condattr_init(&conds);
  pthread_mutexattr_setpshared(&locks, PTHREAD_PROCESS_SHARED);
  pthread_condattr_setpshared(&conds, PTHREAD_PROCESS_SHARED);
  pthread_mutex_init(&page->lock, &locks);
  pthread_cond_init(&page->cond, &conds);
  strcpy(page->text + 8000, "from the parent");
  for (long n = 0; n < 4; n++)
    if (!fork()) {
      alone = n + 1;
      for (int i = 0; i < 300; i++) {
        pthread_mutex_lock(&page->lock);
        page->counter++;
        pthread_mutex_unlock(&page->lock);
        __atomic_fetch_add(&page->seen[0], n, __ATOMIC_SEQ_CST);
      }
      pthread_mutex_lock(&page->lock);
      while (page->turn != n) pthread_cond_wait(&page->cond, &page->lock);
      sprintf(page->text + 100 * n, "child %ld read '%s'", n, page->text + 8000);
      page->turn++;
      pthread_cond_broadcast(&page->cond);
      pthread_mutex_unlock(&page->lock);
      if (n == 2) munmap(second, 4096);
      else second[n] = 'a' + n;
      if (n == 3) {  // a child of a child
        if (!fork()) strcat(page->text + 300, ", and its child too"), _exit(0);
        wait(0);
      }
      _exit(0);
    }
  while (wait(0) > 0);
  printf("%ld %ld, %ld\n", page->counter, page->seen[0], alone);
  for (int n = 0; n < 4; n++) printf("%s\n", page->text + 100 * n);
  printf("%c%c%c%c\n", second[0], second[1], second[2] ? second[2] : '-', second[3]);
  mprotect(page, 4096, PROT_READ);
  pid_t child = fork();
  if (!child) _exit((int)page->counter % 100);
  int status;
  waitpid(child, &status, 0);
  printf("read only %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
  return 0;
}
"""

VM_CHILD = r"""
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
static volatile long common, go;
static char stack[2][1 << 16];
static int child(void *arg) {
  long n = (long)arg;
  while (!go) ;
  for (int i = 0; i < 500; i++) __atomic_fetch_add(&common, n, __ATOMIC_SEQ_CST);
  _exit(10 + (int)n);
}
int main(void) {
  int sum = 0, status;
  for (long n = 1; n <= 2; n++) clone(child, stack[n - 1] + sizeof stack[0], CLONE_VM | SIGCHLD, (void *)n);
  go = 1;
  while (wait(&status) > 0) sum += WEXITSTATUS(status);
  printf("%ld %d\n", common, sum);
  return 0;
}
""".replace("#include <stdio.h>", "#include <signal.h>\n#include <stdio.h>", 1)

THREAD_EXECUTES = r"""
#include <pthread.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>
static char *self;
static void *work(void *arg) {
  execl(self, self, "again", (char *)0);
  return 0;
}
int main(int argc, char **argv) {
  setvbuf(stdout, 0, _IONBF, 0);
  if (argc > 1) {
    printf("again: the only thread has the process's number: %d\n", getpid() == syscall(SYS_gettid));
    return 9;
  }
  self = argv[0];
  pthread_t threads[3];
  printf("first\n");
  for (int i = 0; i < 3; i++) pthread_create(&threads[i], 0, i == 1 ? work : (void *(*)(void *))pause, 0);
  for (;;) pause();
}
"""


CREW = r"""
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
volatile long counter, ticks;
static void on_alarm(int n) { ticks++; }
static long compute(long n) {
  unsigned long state = n + 1;
  double sum = n;
  for (int i = 0; i < 30000; i++) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    sum += state % 7 * 0.5;
    if (i % 3000 == 0) counter += n;
  }
  return (long)sum;
}
static void *work(void *n) { usleep(300); return (void *)compute((long)n); }
int main(void) {
  for (long n = 1; n < 3; n++)
    if (!fork()) {
      usleep(300);
      printf("child %ld\n", compute(n));
      fflush(stdout);
      _exit(0);
    }
  signal(SIGALRM, on_alarm);
  struct itimerval every = {{0, 20}, {0, 20}};
  setitimer(ITIMER_REAL, &every, 0);
  pthread_t threads[2];
  for (long n = 0; n < 2; n++) pthread_create(&threads[n], 0, work, (void *)(n + 3));
  long sum = compute(7);
  for (int n = 0; n < 2; n++) {
    void *one;
    pthread_join(threads[n], &one);
    sum += (long)one;
  }
  while (wait(0) > 0) ;
  printf("%ld %d\n", sum, ticks > 1);
  return 0;
}
"""


def built(tmp_path: Path, source: str, *options: str) -> str:
    """The program, compiled."""
    return str(compiled(tmp_path / "p", source, "-w", "-g", "-D_GNU_SOURCE", "-pthread", *options))
