#include <alloca.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEEP __attribute__((noinline))

volatile long sink;

KEEP long leaf(long x) { return x * 3 + sink; }

KEEP long middle(long a, long b, long c) {
    long sum = 0;
    for (long i = 0; i < 3; i++)
        sum += leaf(a + i) * b;
    return sum + c;
}

KEEP long recurse(int n) {
    char buffer[n * 8 + 16];
    memset(buffer, n, sizeof buffer);
    sink += buffer[3];
    return n ? recurse(n - 1) + middle(n, 2, 3) : leaf(n);
}

KEEP long allocate(int n) {
    char *p = alloca(n);
    memset(p, 1, n);
    long t = middle(p[0], n, 1);
    if (t == 12345)
        return leaf(1) + leaf(2);
    return t;
}

struct wide {
    _Alignas(64) char c[128];
};

KEEP long aligned(int n) {
    struct wide w;
    memset(&w, n, sizeof w);
    sink += w.c[n];
    return allocate(n) + leaf(w.c[1]);
}

void on_signal(int number) { sink += middle(number, 1, 1); }

int compare(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

int main(int argc, char **argv) {
    signal(SIGUSR1, on_signal);
    sink = recurse(4) + aligned(20);
    raise(SIGUSR1);
    int table[] = {4, 2, 9, 1};
    qsort(table, 4, 4, compare);
    char *p = malloc(100);
    strcpy(p, "hello");
    printf("%s %ld %s %d\n", p, sink, argv[0], argc);
    free(p);
    return 0;
}
