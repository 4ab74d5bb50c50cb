"""Work on an event loop rests where a thread would wait, and goes on as if it had."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest
import uvloop

from rollbook.storage import loop_queue, on_loop
from rollbook.storage.loop_queue import LoopQueue
from rollbook.storage.workers import Job

Out = TypeVar("Out")


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner


async def outcome_of(work: Callable[[], Out]) -> Out:
    """Do work on the loop, and return or raise its outcome."""
    outcome: asyncio.Future[Out] = asyncio.get_running_loop().create_future()

    def safe() -> Callable[[], None]:
        try:
            value = work()
        except Exception as raised:
            error = raised
            return lambda: outcome.set_exception(error)
        return lambda: outcome.set_result(value)

    on_loop.start(safe, lambda settle: settle())
    return await asyncio.wait_for(outcome, 30)


@contextlib.contextmanager
def connected() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Open both ends of a TCP connection."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        with socket.create_connection(listening.getsockname()) as ours:
            theirs, _ = listening.accept()
            ours.setblocking(False)
            with theirs:
                yield ours, theirs


def break_off(end: socket.socket) -> None:
    """End a connection as one that is lost ends, not as one that is closed."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()


def test_a_thread_is_no_loop_and_waits_itself() -> None:
    assert not on_loop.is_working()
    on_loop.sleep(0)
    assert on_loop.elsewhere(threading.current_thread) is threading.current_thread()
    with pytest.raises(RuntimeError):
        on_loop.watch(0)


def test_the_loop_goes_on_while_work_sleeps(runner: asyncio.Runner) -> None:
    heard: list[str] = []

    def work() -> None:
        heard.append("work begins")
        on_loop.sleep(0.2)
        heard.append("work ends")

    async def main() -> None:
        asyncio.get_running_loop().call_soon(heard.append, "another")
        await outcome_of(work)

    runner.run(main())
    assert heard == ["work begins", "another", "work ends"]


def test_what_may_wait_for_others_is_called_on_another_thread(runner: asyncio.Runner) -> None:
    def fail() -> None:
        raise ValueError("broken")

    async def main() -> None:
        there = await outcome_of(lambda: on_loop.elsewhere(threading.current_thread))
        assert there is not threading.current_thread()
        with pytest.raises(ValueError, match="broken"):
            await outcome_of(lambda: on_loop.elsewhere(fail))

    runner.run(main())


def test_works_rest_side_by_side_and_the_end_of_one_may_begin_another(runner: asyncio.Runner) -> None:
    heard: list[str] = []

    def work(name: str, seconds: float) -> str:
        on_loop.sleep(seconds)
        heard.append(name)
        return name

    async def main() -> None:
        ended = asyncio.get_running_loop().create_future()
        on_loop.start(
            lambda: work("long", 0.002),
            lambda _: on_loop.start(lambda: work("third", 0), ended.set_result),
        )
        on_loop.start(lambda: work("short", 0), heard.append)
        assert await asyncio.wait_for(ended, 30) == "third"

    runner.run(main())
    assert heard == ["short", "short", "long", "third"]


def test_who_rests_wakes_when_the_other_end_speaks(runner: asyncio.Runner) -> None:
    async def main() -> None:
        with connected() as (ours, theirs):
            asyncio.get_running_loop().call_soon(theirs.send, b"hello")

            def work() -> tuple[int, bytes, int]:
                watch = on_loop.watch(ours.fileno())
                ready = watch.rest(30)
                text = ours.recv(10)
                may_write = watch.rest(30, may_write=True)
                watch.close()
                return ready, text, may_write

            assert await outcome_of(work) == (on_loop.READABLE, b"hello", on_loop.WRITABLE)

    runner.run(main())


def test_who_rests_too_long_is_told_and_may_rest_again(runner: asyncio.Runner) -> None:
    async def main() -> None:
        with connected() as (ours, theirs):

            def work() -> int:
                watch = on_loop.watch(ours.fileno())
                asyncio.get_running_loop().call_soon(ours.send, b"a")
                watch.rest(30, may_write=True)
                for _ in range(2):
                    with pytest.raises(TimeoutError):
                        watch.rest(0.001)
                theirs.send(b"hello")
                ready = watch.rest(30)
                watch.close()
                return ready

            assert await outcome_of(work) == on_loop.READABLE

    runner.run(main())


@pytest.mark.parametrize("end", [socket.socket.close, break_off], ids=["closed", "broken"])
def test_an_end_that_came_while_nobody_rested_is_heard_by_all_who_rest_after_it(
    runner: asyncio.Runner, end: Callable[[socket.socket], Any]
) -> None:
    async def main() -> None:
        with connected() as (ours, theirs):

            def work() -> list[int]:
                watch = on_loop.watch(ours.fileno())
                with pytest.raises(TimeoutError):
                    watch.rest(0.001)
                end(theirs)
                on_loop.sleep(0.001)
                found = [watch.rest(30), watch.rest(30)]
                watch.close()
                return found

            assert await outcome_of(work) == [on_loop.READABLE] * 2

    runner.run(main())


def test_a_connection_that_breaks_while_somebody_rests_wakes_them_as_often_as_they_rest(
    runner: asyncio.Runner,
) -> None:
    async def main() -> None:
        with connected() as (ours, theirs):
            asyncio.get_running_loop().call_soon(break_off, theirs)

            def work() -> list[int]:
                watch = on_loop.watch(ours.fileno())
                found = [watch.rest(30), watch.rest(30), watch.rest(30)]
                watch.close()
                return found

            assert await outcome_of(work) == [on_loop.READABLE] * 3

    runner.run(main())


def test_a_watch_outlives_the_number_of_its_socket(runner: asyncio.Runner) -> None:
    async def main() -> None:
        with connected() as (ours, theirs), connected() as (others, speaking):

            def work() -> int:
                watch = on_loop.watch(ours.fileno())
                with pytest.raises(TimeoutError):
                    watch.rest(0.001)
                number = ours.detach()
                # As a driver does that has lost a connection, and the next one is given its number.
                socket.socket(fileno=number).close()
                taken = others.dup()
                speaking.send(b"not for us")
                assert taken.fileno() == number
                with pytest.raises(TimeoutError):
                    watch.rest(0.001)
                theirs.send(b"for us")
                ready = watch.rest(30)
                watch.close()
                taken.close()
                return ready

            assert await outcome_of(work) == on_loop.READABLE

    runner.run(main())


def test_a_queue_begins_as_much_as_there_are_works_and_ends_once_all_is_done(runner: asyncio.Runner) -> None:
    under_way, most = 0, 0

    def work(jobs: list[Job]) -> list[str]:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        on_loop.sleep(0.001)
        under_way -= 1
        return [job.argument for job in jobs]

    async def main() -> None:
        jobs = LoopQueue(20, 3, [work, work])
        answers = [jobs.submit(print, f"{number}") for number in range(20)]
        await jobs.stop()
        assert [each.result() for each in answers] == [f"{number}" for number in range(20)]

    runner.run(main())
    assert (under_way, most) == (0, 2)


def test_a_queue_of_what_never_rests_is_done_however_long_it_is(runner: asyncio.Runner) -> None:
    async def main() -> None:
        jobs = LoopQueue(5_000, 1, [lambda jobs: [job.argument for job in jobs]])
        answers = [jobs.submit(print, number) for number in range(3_000)]
        assert await asyncio.gather(*answers) == list(range(3_000))
        await jobs.stop()

    runner.run(main())


def test_who_asks_something_else_does_not_wait_behind_many_who_ask_the_same(
    runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_queue, "LONGEST_HELD_SECONDS", 60.0)

    async def main() -> None:
        answered = threading.Event()

        def work(jobs: list[Job]) -> list[bool]:
            if jobs[0].argument == "another":
                answered.set()
            return [on_loop.elsewhere(lambda: answered.wait(30)) for _ in jobs]

        jobs = LoopQueue(200, 10, [work] * 4)
        same = [jobs.submit(print, "the same")]
        await asyncio.sleep(0)
        same += [jobs.submit(print, "the same") for _ in range(15)]
        assert await jobs.submit(print, "another")
        assert all(await asyncio.gather(*same))
        await jobs.stop()

    runner.run(main())


@pytest.mark.parametrize("outcomes", [[], [StopIteration()]], ids=["none", "what no future takes"])
def test_work_with_an_outcome_that_is_none_is_an_error_and_the_next_is_done(
    runner: asyncio.Runner, outcomes: list[Any]
) -> None:
    def work(jobs: list[Job]) -> list[Any]:
        return outcomes if jobs[0].argument == "fails" else ["done"]

    async def main() -> None:
        jobs = LoopQueue(10, 1, [work])
        failing, next_one = jobs.submit(print, "fails"), jobs.submit(print, "works")
        with pytest.raises(RuntimeError):
            await failing
        assert await next_one == "done"
        await jobs.stop()

    runner.run(main())


def test_nobody_waits_for_a_like_question_that_takes_long(runner: asyncio.Runner) -> None:
    async def main() -> None:
        answered = threading.Event()

        def slow(jobs: list[Job]) -> list[bool]:
            return [on_loop.elsewhere(lambda: answered.wait(30)) for _ in jobs]

        def quick(jobs: list[Job]) -> list[bool]:
            answered.set()
            return [True for _ in jobs]

        jobs = LoopQueue(20, 10, [quick, slow])
        first = jobs.submit(print, "the same")
        await asyncio.sleep(0)
        assert await jobs.submit(print, "the same")
        assert await first
        await jobs.stop()

    runner.run(main())


def test_who_asks_the_same_while_others_are_answered_shares_the_next_answer_and_others_do_not_wait(
    runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_queue, "LONGEST_HELD_SECONDS", 60.0)
    answered = threading.Event()
    begun: list[list[str]] = []

    def work(jobs: list[Job]) -> list[str]:
        begun.append([job.argument for job in jobs])
        if jobs[0].argument == "another":
            answered.set()
        on_loop.elsewhere(lambda: answered.wait(30))
        return [job.argument for job in jobs]

    async def main() -> None:
        jobs = LoopQueue(20, 10, [work, work, work])
        first = jobs.submit(print, "the same")
        await asyncio.sleep(0)
        second, third, other = (jobs.submit(print, each) for each in ("the same", "the same", "another"))
        answers = await asyncio.gather(first, second, third, other)
        assert list(answers) == ["the same", "the same", "the same", "another"]
        await jobs.stop()

    runner.run(main())
    assert begun == [["the same"], ["another"], ["the same", "the same"]]
