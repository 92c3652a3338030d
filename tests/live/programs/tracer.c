/* A small debugger: tracer PID [REGISTER VALUE]... writes debug registers of a thread through ptrace and says "ready".
 * Then one letter a line: d: detach and end, as a debugger that forgets to clean up does; anything else: end. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

int main(int argc, char **argv) {
	int tid = atoi(argv[1]);
	if (ptrace(PTRACE_SEIZE, tid, 0, 0) || ptrace(PTRACE_INTERRUPT, tid, 0, 0) || waitpid(tid, NULL, __WALL) != tid) {
		perror("seize");
		return 1;
	}
	for (int n = 2; n + 1 < argc; n += 2) {
		size_t at = offsetof(struct user, u_debugreg) + 8 * strtoul(argv[n], NULL, 0);
		if (ptrace(PTRACE_POKEUSER, tid, at, strtoul(argv[n + 1], NULL, 0))) {
			printf("DR%s: %s\n", argv[n], strerror(errno));
			return 1;
		}
	}
	ptrace(PTRACE_CONT, tid, 0, 0);
	puts("ready");
	fflush(stdout);
	char line[16];
	if (fgets(line, sizeof line, stdin) && *line == 'd') {
		ptrace(PTRACE_INTERRUPT, tid, 0, 0);
		waitpid(tid, NULL, __WALL);
		ptrace(PTRACE_DETACH, tid, 0, 0);
	}
	return 0;
}
