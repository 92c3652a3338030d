/* N hits, and the processor time they took: live.c N */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

volatile long hot;

__attribute__((noinline)) static void hit(void) { hot++; __asm__ volatile(""); }
__attribute__((noinline)) static void inner(void) { hit(); __asm__ volatile(""); }
__attribute__((noinline)) static void outer(void) { inner(); __asm__ volatile(""); }

static double spent(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return now.tv_sec + now.tv_nsec * 1e-9;
}

int main(int argc, char **argv) {
    long hits = argc > 1 ? atol(argv[1]) : 0;
    double before = spent();
    for (long i = 0; i < hits; i++) outer();
    double after = spent();
    printf("%.9f %.9f\n", after - before, after);
    return 0;
}
