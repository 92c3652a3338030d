/*
 * overflow: a buffer on the heap, and the neighbour that pays for it.
 *
 * Every session is given a buffer of 24 bytes right before it. append() checks `<=` where `<` is meant, so a message
 * of 24 letters writes its end mark one byte too far: into `is_admin` of the session behind the buffer.
 *
 * Watch `heap+24/4` (the is_admin of the first session; 4 bytes): log_in writes it at each login, as it should, and
 * append writes it about every fifth message, as it should not. The value 33 is a '!'.
 * Watch `grants`: each time somebody came in as administrator by that mistake.
 *
 * The first argument is the number of messages; without one it goes on for hours.
 */
#include "runtime.h"

#define PAUSE 4000
#define ROOM 24

struct session {
    int is_admin;
    int user;
    char name[16];
};


_Alignas(16) char heap[4096];
size_t heap_used;
long grants;
uint64_t seed = 0x2545F4914F6CDD1D;

NOINLINE void *allocate(size_t size)
{
    void *block = heap + heap_used;
    heap_used += size + 7 & ~(size_t)7;
    return heap_used <= sizeof heap ? block : NULL;
}

NOINLINE void log_in(struct session *session, int user)
{
    session->is_admin = 0;
    session->user = user;
}

/* Copy `length` letters and put an end mark behind them. */
NOINLINE int append(char *buffer, int length, char letter)
{
    if (!(length <= ROOM)) /* the mistake: < ROOM leaves room for the mark */
        return -1;
    for (int at = 0; at < length; at++)
        buffer[at] = letter;
    buffer[length] = '!';
    return length;
}

NOINLINE int handle(char *buffer, int length)
{
    return append(buffer, length, (char)('a' + length));
}

NOINLINE int serve(char *buffer, struct session *session)
{
    seed = mix(seed, PAUSE);
    handle(buffer, 20 + (int)(seed % 5));
    if (!session->is_admin)
        return 0;
    grants++;
    return 1;
}

int main(int argc, char **argv)
{
    long wanted = rounds_wanted(argc, argv, 50 * 1000 * 1000);
    char *buffers[4];
    struct session *sessions[4];
    for (int i = 0; i < 4; i++) {
        buffers[i] = allocate(ROOM);
        sessions[i] = allocate(sizeof(struct session));
        if (!buffers[i] || !sessions[i])
            return 1;
        log_in(sessions[i], 1000 + i);
    }
    for (long message = 0; message < wanted; message++) {
        int i = (int)(message & 3);
        if (serve(buffers[i], sessions[i]))
            log_in(sessions[i], 1000 + i);
        if (message % 4096 == 4095)
            say_number("wrongly administrator", grants);
    }
    say_number("wrongly administrator", grants);
    return 0;
}
