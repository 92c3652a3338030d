"""eventfd, epoll and pairs of Unix streams: what a C program sees of them is what it sees natively."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.compiled import compiled
from tests.machine.linux_loop import run

SOURCE = r"""
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

static void say(const char *what, long result) { printf("%s %ld %d\n", what, result, result < 0 ? errno : 0); }

int main(void) {
    uint64_t value;
    int counter = eventfd(3, EFD_NONBLOCK), semaphore = eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK);
    say("read", read(counter, &value, 8)); printf("%lu\n", value);
    say("empty", read(counter, &value, 8));
    say("short", read(counter, &value, 4));
    value = 5; say("write", write(counter, &value, 8));
    value = -1; say("too much", write(counter, &value, 8));
    say("one", read(semaphore, &value, 8)); printf("%lu\n", value);

    int pair[2];
    say("pair", socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    int loop = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0x1122334455667788}, got[4];
    say("add", epoll_ctl(loop, EPOLL_CTL_ADD, pair[0], &event));
    say("again", epoll_ctl(loop, EPOLL_CTL_ADD, pair[0], &event));
    event.events = EPOLLIN | EPOLLONESHOT; event.data.u64 = 7;
    say("counter", epoll_ctl(loop, EPOLL_CTL_ADD, counter, &event));
    say("not there", epoll_ctl(loop, EPOLL_CTL_DEL, 900, &event));
    say("itself", epoll_ctl(loop, EPOLL_CTL_ADD, loop, &event));
    long count = epoll_wait(loop, got, 4, 0);
    say("wait", count); printf("%x %lu\n", got[0].events, got[0].data.u64);
    say("once", epoll_wait(loop, got, 4, 10));
    say("send", send(pair[1], "hello", 5, MSG_NOSIGNAL));
    count = epoll_wait(loop, got, 4, -1);
    say("wait", count); printf("%x %lx\n", got[0].events, got[0].data.u64);
    char text[16] = "";
    say("recv", recv(pair[0], text, 16, 0)); puts(text);
    say("back", write(pair[0], "you", 3)); say("read", read(pair[1], text, 16));
    fcntl(pair[0], F_SETFL, O_NONBLOCK);
    say("nothing", read(pair[0], text, 16));
    close(pair[1]);
    count = epoll_wait(loop, got, 4, -1);
    say("closed", count); printf("%x\n", got[0].events);
    say("end", read(pair[0], text, 16)); say("broken", send(pair[0], "x", 1, MSG_NOSIGNAL));
    close(pair[0]);
    say("gone", epoll_wait(loop, got, 4, 0));
    say("not a socket", send(counter, "x", 1, 0));
    return 0;
}
"""


def test_a_program_sees_what_it_sees_natively(tmp_path: Path) -> None:
    program = compiled(tmp_path / "events", SOURCE, "-O1")
    native = subprocess.run([program], capture_output=True, check=True)
    done = run(program)
    assert done.out.decode() == native.stdout.decode()
    assert done.status == 0
