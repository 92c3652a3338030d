// Work for several tasks: crew processes N, crew threads N, each the same loop over memory of its own, without end.
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *work(void *argument) {
  unsigned long *table = calloc(8192, sizeof *table), state = (unsigned long)argument + 1;
  for (;;) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    table[state & 8191] += state;
  }
  return 0;
}

int main(int argc, char **argv) {
  int count = argc > 2 ? atoi(argv[2]) : 1;
  int threads = argc > 1 && !strcmp(argv[1], "threads");
  for (long i = 1; i < count; i++) {
    pthread_t thread;
    if (threads)
      pthread_create(&thread, 0, work, (void *)i);
    else if (!fork())
      work((void *)i);
  }
  work(0);
}
