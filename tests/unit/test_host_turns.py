"""The backend's process: questions and the machine's slices take turns."""

from __future__ import annotations

import socket
import time
from typing import cast

from backends.base import Backend
from backends.host import serve
from backends.protocol import Call, pack

_ANSWER_S = 0.002
_PAUSE_S = 0.004


class Asked:
    """A machine that takes a while for each answer, and notes how many it had given at each of its slices."""

    running = True

    def __init__(self) -> None:
        self.answers = 0
        self.slices: list[int] = []

    def stacks(self, first: int) -> tuple[()]:
        time.sleep(_ANSWER_S)
        self.answers += 1
        return ()

    def close(self) -> None:
        """Nothing is open."""

    def run_slice(self) -> float:
        self.slices.append(self.answers)
        return _PAUSE_S


def test_questions_without_a_pause_do_not_keep_the_machine_from_its_slices() -> None:
    front, back = socket.socketpair()
    questions = 20
    with front, back:
        for number in range(questions):
            front.sendall(pack(Call(number, "stacks", [0])))
        front.sendall(pack(Call(questions, "close", [])))
        machine = Asked()
        serve(back, cast(Backend, machine), machine)
    during = [answers for answers in machine.slices if 0 < answers < questions]
    assert len(during) >= questions * _ANSWER_S / _PAUSE_S / 2
    assert machine.answers == questions
