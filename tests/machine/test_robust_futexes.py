"""Robust mutexes: who waits for a thread or a process that died is told so, as natively."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.machine.tasks_programs import built

PROGRAM = r"""
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
static pthread_mutex_t one, two;
static int held;
static void *takes(void *arg) {
  pthread_mutex_lock(&one);
  pthread_mutex_lock(&two);
  __atomic_store_n(&held, 1, __ATOMIC_SEQ_CST);
  usleep(2000);
  return 0;
}
int main(void) {
  pthread_mutexattr_t kind;
  pthread_mutexattr_init(&kind);
  pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(&one, &kind);
  pthread_mutex_init(&two, &kind);
  pthread_t thread;
  pthread_create(&thread, 0, takes, 0);
  while (!__atomic_load_n(&held, __ATOMIC_SEQ_CST)) usleep(10);
  printf("a waiter %d\\n", pthread_mutex_lock(&one));
  printf("consistent %d\\n", pthread_mutex_consistent(&one));
  pthread_mutex_unlock(&one);
  pthread_join(thread, 0);
  printf("later %d\\n", pthread_mutex_lock(&two));
  pthread_mutex_unlock(&two);
  printf("not made consistent %d\\n", pthread_mutex_lock(&two));
  pthread_mutex_t *shared = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  pthread_mutexattr_setpshared(&kind, PTHREAD_PROCESS_SHARED);
  pthread_mutex_init(shared, &kind);
  if (!fork()) {
    pthread_mutex_lock(shared);
    _exit(0);
  }
  wait(0);
  printf("a process %d\\n", pthread_mutex_lock(shared));
  return 0;
}
"""


def test_what_a_dead_owner_held_is_marked_and_its_waiter_wakes(tmp_path: Path) -> None:
    program = built(tmp_path, PROGRAM)
    native = subprocess.run([program], capture_output=True, timeout=30, check=True)
    assert b"a waiter 130" in native.stdout
    ours = subprocess.run(
        [sys.executable, "-m", "tui", "trace", "-o", os.devnull, "--", program],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ours.stdout == native.stdout, ours.stderr.decode()
