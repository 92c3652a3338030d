"""Turns in which nothing happens: a task runs for its quantum, and the next one follows.

What the machine does for every turn (`Machine.turn`) costs more than the quantum itself takes. Here the same is
done in one loop for tasks without breakpoints, system calls, signals and shared memory; whatever else comes up goes
to the machine, at the instruction where it came up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backends.model import Stop

if TYPE_CHECKING:
    from backends.emulated.machine import Machine

__all__ = ["run_plain_turns"]


def run_plain_turns(machine: Machine, end: int) -> Stop | None:
    """Turns until the clock shows `end`, or until one needs the machine; why it stands still, None if it does not.

    The engine that comes back with something else than its limit does so in a turn that `Machine.resume` finishes.
    What a CPU and the capture know of the running task is not kept here: nobody asks before the machine's next turn.
    """
    scheduler, system = machine.scheduler, machine.linux.system
    current, left, on_cpu = scheduler.current, scheduler.left, machine.on_cpus
    cpus, switch = machine.cpus, machine.switch
    now = machine.instructions
    deadline = system.next_deadline()
    if deadline is not None:
        end = min(end, now + deadline - system.now())
    while now < end:
        number = scheduler.turn()
        if number is None:
            return None
        task, cpu = current[number], cpus[number]
        assert task is not None
        mm = task.process.mm
        engine = mm.engine
        unit = cpu.unit
        if (
            on_cpu[number] is not task
            or unit.data
            or unit.execute
            or not engine.hot
            or task.result is not None
            or task.signalled
            or task.rf_pc != -1
            or task.rep_pc != -1
            or task.guest_tf
            or task.notify_resume
            or task.saved_mask is not None
            or task.stopped
            or mm.space.shares
        ):
            return None
        other = mm.unit  # of the CPU that ran here last: what that one watches is denied here too
        if other is not None and (other.data or other.execute):
            return None
        if mm.resident is not task:
            mm.enter(task)
        vm = engine.vm
        before = vm.icount
        most = min(left[number], end - now)
        status = vm.step(most)
        if status != engine.limit:
            return machine.resume(cpu, task, most, engine.counted_before + before, engine.meaning(status))
        ran = vm.icount - before
        now += ran
        task.ran += ran
        task.on_cpu_since = now
        machine.advance(ran)
        scheduler.ran(number, ran)
        following = current[number]
        if following is not task:
            switch(cpu, following)
    return None
