/* A task that does what it is told over a socket: access known bytes, fork, start a thread, exec, end.
 *
 * usage: subject FIRST FD...      FIRST: index of the descriptor that this image serves
 * Data lies at DATA, functions (each one `ret`) at CODE, one every 16 bytes. SIGTRAP by perf (si_code 6) is counted; any
 * other SIGTRAP ends the process, as it would without a handler.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DATA 0x7a5f00000000UL

/* At CODE, where the linker puts it: nothing in user mode writes there, not even after exec. */
__asm__(".section .stubs,\"ax\"\n.fill 4096, 1, 0xc3\n.text");

struct command { uint8_t op, size; uint16_t other; uint32_t unused; uint64_t address; };
struct reply { int32_t result, tid; uint32_t signals, unused; uint64_t data; };

static int fds[16];
static char **arguments;
static __thread volatile uint32_t signals;
static __thread volatile uint64_t last_data;

static void on_trap(int number, siginfo_t *info, void *context)
{
	(void)number, (void)context;
	if (info->si_code != 6)
		_exit(99);
	signals++;
	memcpy((void *)&last_data, (char *)info + 24, 8); /* si_perf_data, behind si_addr */
}

static int access_bytes(struct command *c)
{
	void *p = (void *)c->address;
	if (c->op == 'x') {
		((void (*)(void))c->address)();
		return 0;
	}
	int write = c->op == 'w';
	switch (c->size) {
	case 1: if (write) *(volatile uint8_t *)p = 1; else (void)*(volatile uint8_t *)p; break;
	case 2: if (write) *(volatile uint16_t *)p = 1; else (void)*(volatile uint16_t *)p; break;
	case 4: if (write) *(volatile uint32_t *)p = 1; else (void)*(volatile uint32_t *)p; break;
	default: if (write) *(volatile uint64_t *)p = 1; else (void)*(volatile uint64_t *)p; break;
	}
	return 0;
}

static void serve(int fd);

struct start { int fd; volatile int tid; };

static void *thread(void *argument)
{
	struct start *start = argument;
	int fd = start->fd;
	start->tid = syscall(SYS_gettid);
	serve(fd);
	return NULL;
}

static void serve(int fd)
{
	struct command c;
	while (read(fd, &c, sizeof c) == sizeof c) {
		struct reply r = {0};
		if (c.op == 'f') {
			r.result = fork();
			if (r.result == 0) {
				signals = 0, last_data = 0;
				serve(fds[c.other]);
				_exit(0);
			}
		} else if (c.op == 't') {
			static struct start starts[16];
			struct start *start = &starts[c.other];
			pthread_t id;
			start->fd = fds[c.other];
			start->tid = 0;
			r.result = -pthread_create(&id, NULL, thread, start);
			while (!r.result && !start->tid)
				usleep(20);
			if (!r.result)
				r.result = start->tid;
		} else if (c.op == 'e') {
			char first[16];
			snprintf(first, sizeof first, "%d", c.other);
			arguments[1] = first;
			execv("/proc/self/exe", arguments);
			r.result = -1;
		} else if (c.op == 'q') {
			if (c.size)
				_exit(0);
			syscall(SYS_exit, 0);
		} else {
			r.result = access_bytes(&c);
		}
		r.tid = syscall(SYS_gettid);
		r.signals = signals;
		r.data = last_data;
		if (write(fd, &r, sizeof r) != sizeof r)
			_exit(1);
	}
	_exit(0);
}

int main(int count, char **argv)
{
	struct sigaction action = {0};
	int first = atoi(argv[1]);
	arguments = argv;
	for (int n = 2; n < count && n < 18; n++)
		fds[n - 2] = atoi(argv[n]);
	mmap((void *)DATA, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	action.sa_sigaction = on_trap;
	action.sa_flags = SA_SIGINFO;
	sigaction(SIGTRAP, &action, NULL);
	struct reply r = {0};
	r.tid = syscall(SYS_gettid);
	if (write(fds[first], &r, sizeof r) != sizeof r) /* loaded, or loaded again */
		return 1;
	serve(fds[first]);
	return 0;
}
