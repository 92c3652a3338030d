/* A process to set breakpoints in. It says "ready THREAD_ID...", then obeys one letter a line:
 * h: every thread writes `counter` once; s: spin until the next letter; q: end. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

volatile long counter, total;
static int threads;
static pthread_barrier_t begin, end;
static int tids[16];
static volatile int spin;

static void *worker(void *slot) {
	tids[(long)slot] = gettid();
	pthread_barrier_wait(&end);
	for (;;) {
		pthread_barrier_wait(&begin);
		counter++;
		pthread_barrier_wait(&end);
	}
	return NULL;
}

static void *reader(void *unused) {
	char line[16];
	if (!fgets(line, sizeof line, stdin) || *line == 'q')
		exit(0);
	spin = 0;
	return NULL;
}

int main(int argc, char **argv) {
	threads = argc > 1 ? atoi(argv[1]) : 0;
	pthread_barrier_init(&begin, NULL, threads + 1);
	pthread_barrier_init(&end, NULL, threads + 1);
	for (long n = 0; n < threads; n++) {
		pthread_t t;
		pthread_create(&t, NULL, worker, (void *)n);
	}
	pthread_barrier_wait(&end);
	printf("ready %d", gettid());
	for (int n = 0; n < threads; n++)
		printf(" %d", tids[n]);
	puts("");
	fflush(stdout);
	char line[16];
	while (fgets(line, sizeof line, stdin)) {
		if (*line == 'q')
			return 0;
		if (*line == 'h') {
			pthread_barrier_wait(&begin);
			counter++;
			pthread_barrier_wait(&end);
		}
		if (*line == 's') {
			pthread_t t;
			spin = 1;
			pthread_create(&t, NULL, reader, NULL);
			puts("done");
			fflush(stdout);
			while (spin)
				;
			pthread_join(t, NULL);
		}
		puts("done");
		fflush(stdout);
	}
	return 0;
}
