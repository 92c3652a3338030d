/* A program of 32 bits that needs no library: `narrow N` writes N times and ends with status 7; without N it goes on until it
   is killed. */
volatile unsigned counter;
volatile unsigned long long wide;
volatile unsigned char small;

static int call(int number, int first, int second, int third) {
    int result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(first), "c"(second), "d"(third) : "memory");
    return result;
}

__attribute__((noinline)) void bump(unsigned by) { counter += by; }
__attribute__((noinline)) void twice(void) { bump(1); bump(2); }

__attribute__((used)) void start(const unsigned *stack) {
    unsigned left = 0;
    if (stack[0] > 1)
        for (const char *digit = (const char *)stack[2]; *digit; digit++) left = left * 10 + (*digit - '0');
    for (unsigned number = 1; left == 0 || number <= left; number++) {
        twice();
        wide = number;
        small = (unsigned char)number;
        if (left == 0) {
            int moment[2] = {0, 1000000};
            call(162, (int)moment, 0, 0); /* nanosleep */
        }
    }
    call(1, 7, 0, 0); /* exit */
}

__asm__(".globl _start\n_start: mov %esp, %eax\npush %eax\ncall start\nhlt");
