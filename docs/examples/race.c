/*
 * race: deposits get lost. Three threads add to `books.total` under a lock; now and then it is zero again.
 *
 *     cc -g -O1 -pthread -o race docs/examples/race.c
 *     ./race &
 *
 * Do not read on before you have watched it: README.md, "Who writes this?"
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct books {
    long visits[8];
    long total;
};

static struct books books;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static __attribute__((noinline)) void deposit(long amount)
{
    pthread_mutex_lock(&lock);
    books.total += amount;
    books.visits[amount & 7]++;
    pthread_mutex_unlock(&lock);
}

static void *teller(void *amount)
{
    for (;;) {
        deposit((long)amount);
        usleep(2000);
    }
    return NULL;
}

static __attribute__((noinline)) void clear_visits(void)
{
    for (size_t i = 0; i <= sizeof(books.visits) / sizeof(books.visits[0]); i++) /* one too far */
        *(volatile long *)&books.visits[i] = 0;
}

static void *statistics(void *unused)
{
    for (;;) {
        usleep(20000);
        clear_visits();
    }
    return unused;
}

int main(int argc, char **argv)
{
    pthread_t threads[4];
    for (long number = 0; number < 3; number++)
        pthread_create(&threads[number], NULL, teller, (void *)(number + 1));
    pthread_create(&threads[3], NULL, statistics, NULL);
    sleep(argc > 1 ? (unsigned)atoi(argv[1]) : 600);
    printf("total %ld\n", books.total);
    return 0;
}
