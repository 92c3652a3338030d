"""Commands on a machine with four slots that really run out."""

from __future__ import annotations

import pytest

from backends.base import HwbpError
from backends.model import MachineView
from tests.unit.scripted import Access, ScriptedBackend, open_session
from tui.session.commands import COMMANDS, GROUPS, find
from tui.session.goal import Goal
from tui.session.result import Result, UsageError
from tui.session.session import Session


def session_with(*script: Access, **more: object) -> Session:
    return open_session(ScriptedBackend(script, **more))  # type: ignore[arg-type]


def done(session: Session, line: str) -> Result:
    result = session.execute(line)
    assert result.ok, result.error
    return result


def test_watch_says_what_it_armed() -> None:
    result = done(session_with(), "watch counter")
    assert result.lines == ("watch 0: counter  w 8 bytes at 0x404000, perf fd 1, 1 slot",)
    assert result.data["windows"] == [
        {"address": 0x404000, "length": 8, "breakpoint": 1, "event": 1, "slot": 0}
    ]


def test_a_watch_of_a_function_is_an_execute_watch() -> None:
    assert done(session_with(), "watch main").data["type"] == "x"


def test_an_unaligned_watch_takes_several_slots() -> None:
    result = done(session_with(), "watch odd/6:rw")
    assert [(w["address"], w["length"]) for w in result.data["windows"]] == [
        (0x404065, 1),
        (0x404066, 2),
        (0x404068, 2),
        (0x40406A, 1),
    ]


@pytest.mark.parametrize(
    ("line", "errno", "said"),
    [
        ("watch", "EINVAL", "what should be watched"),
        ("watch nosuch", None, "no symbol nosuch: did you mean counter?"),
        ("watch counter/0", "EINVAL", "at least 1 byte"),
        ("watch 0x404001", "EINVAL", "not aligned to 8 bytes"),
        ("watch limits", "ENOSPC", "need 8 windows"),
        ("watch limits/1000000000000000", "ENOSPC", "need 125000000000000 windows"),
        ("awatch counter:w", "EINVAL", "this command watches rw"),
        ("rwatch counter", "EINVAL", "x86 cannot watch reads alone"),
        ("delete 0", "ENOENT", "watch 0 does not exist"),
        ("delete", "EINVAL", "a watch's number expected"),
        ("perf", "EINVAL", "perf what?"),
        ("perf close 7", "EBADF", "there is no perf event with fd 7"),
        ("ptrace poke 4 0", "EIO", "cannot be written"),
        ("ptrace peek 9", "EINVAL", "no such register"),
        ("dr 8 0", "EINVAL", "no such register"),
        ("dr7 toggle Q9", "EINVAL", "expected, not 'Q9'"),
        ("x/9z counter", "EINVAL", "format letter 'z'"),
        ("x/4xg 0x10", "EFAULT", "cannot read"),
        ("print nosuch", None, "no symbol"),
        ("print $nosuch", None, "no register"),
        ("finish", "EINVAL", "not known exactly"),
        ("stepi 0", "EINVAL", "a count from 1"),
        ("wait for ever", "EINVAL", "cannot wait for"),
        ("info stack 3", "ENOENT", "hit 3 is not in the ring"),
        ("frobnicate", "EINVAL", "unknown command"),
        ("in", "EINVAL", "ambiguous"),
        ("stop now", "EINVAL", "means nothing here"),
        ("watch \x1b[31m\n", "EINVAL", "cannot read '\\x1b[31m'"),
    ],
)
def test_a_command_that_cannot_be_done_says_why_in_one_line(line: str, errno: str | None, said: str) -> None:
    result = session_with().execute(line)
    assert not result.ok
    assert result.errno == errno
    assert said in result.error
    assert "\n" not in result.error
    assert "\x1b" not in result.error


def test_the_fifth_wish_is_refused_with_the_holders_and_fits_when_one_is_freed() -> None:
    session = session_with()
    for line in ("perf open counter", "watch small:rw", "ptrace watch text/8", "hbreak main"):
        done(session, line)
    refused = session.execute("watch limits/8")
    assert refused.errno == "ENOSPC"
    assert len(refused.holders) == 4
    assert "delete 3" in refused.remedy
    done(session, "delete 0")
    done(session, "watch limits/8")


def test_a_refused_watch_leaves_nothing_behind() -> None:
    session = session_with()
    for line in ("watch counter", "watch small", "watch main"):
        done(session, line)
    assert session.execute("watch limits/16").errno == "ENOSPC"
    assert len(session.view.breakpoints) == 3
    assert len(session.watches.all) == 3


def test_a_disabled_watch_keeps_its_slot() -> None:
    session = session_with()
    done(session, "watch counter")
    assert "keeps its slot" in done(session, "disable 0").lines[0]
    assert done(session, "info slots").data["free"] == 3
    assert done(session, "info watchpoints").data["watches"][0]["enabled"] is False
    done(session, "enable 0")
    assert done(session, "info watchpoints").data["watches"][0]["enabled"] is True


def test_ptrace_watch_does_what_a_debugger_does() -> None:
    session = session_with()
    done(session, "ptrace watch small:rw")
    assert done(session, "ptrace peek 0").data["value"] == 0x404008
    assert done(session, "ptrace peek 7").data["value"] == 0x000F0001
    done(session, "ptrace watch counter:w")
    assert done(session, "ptrace peek 7").data["value"] == 0x009F0005


def test_ptrace_gives_no_slot_back() -> None:
    session = session_with()
    done(session, "ptrace watch counter")
    assert session.execute("delete 0").errno == "EBUSY"
    assert done(session, "ptrace clear").data == {"kept": 1, "free": 3}


def test_a_removed_watch_still_names_its_old_hits() -> None:
    session = session_with(*(Access(0x404000, value=n) for n in range(3)))
    done(session, "watch counter stop")
    done(session, "continue")
    done(session, "delete 0")
    hit = session.hit(0)
    assert hit is not None
    assert (hit.watch, hit.window, hit.label, hit.value) == (0, 0, "counter", 0)
    assert session.watch_label(hit.breakpoint) == "counter"


def test_a_ptrace_register_that_is_used_again_does_not_rename_its_old_hits() -> None:
    session = session_with(Access(0x404000), Access(0x404008, 4), Access(0x404008, 4))
    done(session, "ptrace watch counter")
    done(session, "continue")
    done(session, "ptrace clear")
    done(session, "ptrace watch small")
    done(session, "continue")
    first, second = session.hit(0), session.hit(1)
    assert first is not None
    assert second is not None
    assert first.breakpoint == second.breakpoint
    assert (first.label, second.label) == ("counter", "small")


def test_hits_are_recorded_and_the_program_runs_on() -> None:
    session = session_with(*(Access(0x404000, value=n) for n in range(5)))
    done(session, "watch counter")
    result = done(session, "continue")
    assert (result.data["state"], result.data["hits"], result.data["exit_status"]) == ("exited", 5, 0)
    assert [hit["value"] for hit in done(session, "info hits").data["hits"]] == [0, 1, 2, 3, 4]


def test_a_watch_that_stops_stops_at_each_hit() -> None:
    session = session_with(*(Access(0x404000, value=n) for n in range(5)))
    done(session, "watch counter stop")
    assert done(session, "continue").data["hits"] == 1
    assert done(session, "continue 3").data["hits"] == 4


def test_continue_n_stops_a_program_that_does_not_stop_by_itself() -> None:
    session = session_with(*(Access(0x404000, value=n) for n in range(5)), endless=True)
    done(session, "watch counter")
    assert done(session, "continue 3").data["state"] == "stopped"


def test_a_script_may_let_the_program_run_in_the_background() -> None:
    session = session_with(Access(0x404000), endless=True)
    done(session, "watch counter")
    assert done(session, "continue &").data["state"] == "running"
    assert session.execute("stepi").errno == "EBUSY"
    assert done(session, "wait 0.01").data["state"] == "running"
    assert done(session, "stop").data["state"] == "stopped"


def test_an_impatient_session_does_not_wait() -> None:
    backend = ScriptedBackend(endless=True)
    session = open_session(backend, patient=False)
    assert done(session, "continue").data["state"] == "running"
    assert done(session, "wait").data == {"waited": False}


def test_an_interrupt_ends_a_wait() -> None:
    session = session_with(endless=True)
    session.backend.resume()
    session.interrupt()
    assert session.wait(Goal()) is False


def test_a_long_step_is_done_in_parts_and_an_interrupt_ends_it_between_two() -> None:
    class Interrupted(ScriptedBackend):
        def step(self, count: int, over_calls: bool) -> MachineView:
            if self.instructions > 100_000:
                session.interrupt()
            return super().step(count, over_calls)

    backend = Interrupted()
    session = open_session(backend)
    before = backend.instructions
    done(session, "stepi 25000")
    assert backend.instructions == before + 25_000
    done(session, "stepi 1000000000")
    assert 100_000 < backend.instructions < 200_000
    done(session, "stepi")  # the next command is a new one


def test_a_program_that_has_ended_cannot_go_on() -> None:
    session = session_with()
    done(session, "continue")
    assert "has ended" in session.execute("continue").error


def test_refresh_asks_only_when_the_ring_says_that_something_moved() -> None:
    backend = ScriptedBackend()
    session = open_session(backend)
    asked = backend.views
    assert session.refresh() is False
    assert session.refresh(counters=True) is False
    assert backend.views == asked
    backend.step(1, False)
    assert session.refresh() is True


def test_a_toggled_bit_of_dr7_is_obeyed_and_named() -> None:
    session = session_with()
    done(session, "watch counter")
    result = done(session, "dr7 toggle G0")
    assert "G0 1 -> 0" in result.lines[0]
    assert session.view.cpus[0].dr7 == result.data["value"]
    assert "RW0 1 -> 2" in done(session, "dr7 toggle rw0").lines[0]
    assert "nothing changed" in done(session, "dr7 toggle 12").lines[0]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("print counter", "counter = 7"),
        ("p/x counter", "counter = 0x7"),
        ("print main", "main is at 0x401100 <main+0x0>"),
        ("print $rip", "$rip = 0x401000"),
        ("p/s text", 'text = "\\x1b[0m\\\\"'),
        ("x/2xg counter", "0x404000 <counter>:  0x0000000000000007  0x0000000000000000"),
        ("x/2db counter", "0x404000 <counter>:  7  0"),
        ("x/s text", '0x404010 <text>:  "\\x1b[0m\\\\"'),
        ("x/2i main", "   0x401100 <main+0x0>:  nop"),
    ],
)
def test_memory_is_shown_as_gdb_shows_it(line: str, said: str) -> None:
    backend = ScriptedBackend()
    backend.ram[0] = 7
    backend.ram[0x10:0x16] = b"\x1b[0m\\\0"
    session = open_session(backend)
    assert done(session, line).lines[0] == said


def test_the_beginning_of_a_word_is_enough_where_it_is_unambiguous() -> None:
    assert find("wat counter")[0].word == "watch"
    assert find("info watch")[0].word == "info watchpoints"
    assert find("x/4xg cfg") == (find("x")[0], "/4xg cfg")
    assert find("dr7 0x400")[0].word == "dr7"
    assert find("dr7 toggle G0") == (find("dr7 toggle")[0], "G0")
    assert find("bt")[0].word == "info stack"
    with pytest.raises(UsageError):
        find("in")


@pytest.mark.parametrize(
    ("line", "candidates"),
    [
        ("wat", ["watch "]),
        ("watch co", ["watch counter"]),
        ("perf op", ["perf open "]),
        ("perf open sm", ["perf open small"]),
        ("info sl", ["info slots "]),
        ("dr7 toggle LE", [f"dr7 toggle {bit}" for bit in ("LE", "LEN0", "LEN1", "LEN2", "LEN3")]),
        ("delete ", ["delete 0"]),
        ("help de", ["help delete", "help detach"]),
        ("nosuch ", []),
    ],
)
def test_a_line_is_completed(line: str, candidates: list[str]) -> None:
    session = session_with()
    done(session, "watch counter")
    assert session.complete(line) == candidates


def test_every_command_has_a_group_a_summary_and_an_example() -> None:
    assert {command.group for command in COMMANDS} == set(GROUPS)
    for command in COMMANDS:
        assert command.summary
        assert "Example: " in command.help, command.word
        assert command.grammar.startswith(command.word.split("/")[0])
        assert find(command.word) == (command, "")


def test_no_key_is_one_that_a_multiplexer_owns() -> None:
    keys = [command.key for command in COMMANDS if command.key]
    assert not {"ctrl+a", "ctrl+b", "ctrl+h", "ctrl+j", "ctrl+k", "ctrl+l"} & set(keys)
    assert sorted(set(keys)) == sorted(keys) or keys.count("space") == 2


def test_the_journal_remembers_lines_and_answers_but_not_blank_ones_or_comments() -> None:
    session = session_with()
    for line in ("", "  # nothing", "watch counter", "nosuch"):
        session.execute(line)
    assert [(entry.line, entry.result.ok) for entry in session.journal] == [
        ("watch counter", True),
        ("nosuch", False),
    ]


def test_a_machine_that_is_gone_is_an_answer() -> None:
    backend = ScriptedBackend()
    session = open_session(backend)

    def gone() -> None:
        raise HwbpError("the machine's process died by SIGKILL", errno="EPIPE")

    backend.resume = gone  # type: ignore[method-assign]
    assert session.execute("continue").error == "the machine's process died by SIGKILL"


def test_the_watches_of_the_command_line_are_armed_all_or_none() -> None:
    from tui.session.watch import Watch

    session = session_with()
    session.backend.run_to(0x401000)  # it has begun: there is no entry point to run to
    with pytest.raises(HwbpError, match="5 watches need 5 slots"):
        session.open_watches(tuple(Watch.parse("counter") for _ in range(5)))
    assert session.view.breakpoints == ()
    armed = session.open_watches((Watch.parse("counter"), Watch.parse("small")))
    assert [watch.index for watch in armed] == [0, 1]


def test_every_info_topic_answers() -> None:
    session = session_with(Access(0x404000))
    done(session, "watch counter")
    done(session, "continue")
    for command in COMMANDS:
        # These three ask for bare mode, and for the lines and symbols of a real program.
        if command.word.startswith("info ") and command.word not in ("info db", "info line", "info symbol"):
            assert done(session, command.word).lines


def test_a_word_of_an_owners_reaches_the_machine_with_names_as_addresses() -> None:
    session = session_with(Access(0x404000))
    done(session, "perf event counter:w -C 1 pinned")
    done(session, "kgdb watch jiffies/4")
    done(session, "task access 0 0x10/4:r kernel")
    backend = session.backend
    assert isinstance(backend, ScriptedBackend)
    address = f"{session.names.resolve('counter').address:#x}"
    (first, *rest) = backend.owner_calls
    assert first[:2] == ("perf", "event")
    assert first[2][0].startswith(address)
    assert first[2][0].endswith(":w")
    assert first[2][1:] == ("-C", "1", "pinned")
    assert rest == [("kgdb", "watch", ("jiffies/4",)), ("task", "access", ("0", "0x10/4:r", "kernel"))]


def test_a_word_without_its_arguments_shows_its_usage() -> None:
    session = session_with()
    assert "usage: kgdb watch" in session.execute("kgdb watch").remedy


def test_delete_enable_and_disable_take_several_watches_or_none() -> None:
    session = session_with()
    for expr in ("counter", "small", "text/8", "limits/8"):
        done(session, f"watch {expr}")
    assert done(session, "disable 1-2").data["watches"] == [1, 2]
    assert [bp.enabled for bp in session.view.breakpoints] == [True, False, False, True]
    assert not session.execute("enable 1 7").ok
    assert [bp.enabled for bp in session.view.breakpoints] == [True, False, False, True]
    assert done(session, "enable all").data["watches"] == [0, 1, 2, 3]
    assert not session.execute("delete 0 9").ok
    assert not session.execute("delete 7-9").ok
    assert not session.execute("delete").ok
    assert len(session.view.breakpoints) == 4
    answer = done(session, "delete 3 0-1 0")
    assert answer.data["watches"] == [3, 0, 1]
    assert answer.data["freed"] == 3
    assert [bp.text for bp in session.view.breakpoints] == ["text/8"]
    done(session, "undo")
    assert len(session.view.breakpoints) == 4
    done(session, "delete all")
    assert not session.view.breakpoints
    assert session.execute("delete all").errno == "ENOENT"


def test_a_refusal_names_watches_by_the_number_that_delete_takes() -> None:
    session = session_with()
    for expr in ("counter", "small", "text/8", "limits/8"):
        assert session.execute(f"watch {expr}").ok
    session.execute("delete 1")
    session.execute("watch odd/1")
    refused = session.execute("watch small")
    assert refused.errno == "ENOSPC"
    assert "`delete 4`" in refused.remedy
    listed = "\n".join(session.execute("info slots").lines)
    for name in ("watch 0: counter", "watch 2: text", "watch 3: limits", "watch 4: odd"):
        assert name in listed
        assert name in "\n".join(session.execute("info owners").lines)
    assert session.complete("delete ") == ["delete 0", "delete 2", "delete 3", "delete 4"]
    assert session.execute("delete 4").lines[0].startswith("watch 4: odd is gone")


def test_dr_4_and_5_are_aliases_of_6_and_7() -> None:
    session = session_with()
    assert session.execute("dr 5 0x401").data["register"] == 7
    assert session.execute("dr 4 0").data["register"] == 6
