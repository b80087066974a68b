"""The compute thread runs one job after the other, in one thread, and outlives whatever a job does."""

import gc
import subprocess
import sys
import threading
import time
import weakref
from threading import Event

import pytest

from hfdemo.compute.thread import ComputeThread
from tests.conftest import ROOT, wait_until


def test_a_job_gives_its_result():
    assert ComputeThread().submit(divmod, 7, 3).result(5) == (2, 1)


def test_all_jobs_run_in_one_thread_in_the_order_they_came():
    compute, seen = ComputeThread(), []

    def job(number: int) -> int:
        seen.append(number)
        return threading.get_ident()

    threads = {future.result(5) for future in [compute.submit(job, number) for number in range(50)]}
    assert len(threads) == 1 and threading.get_ident() not in threads
    assert seen == list(range(50))


def test_a_job_is_begun_only_when_the_one_before_has_ended():
    compute, begin, begun = ComputeThread(), Event(), Event()
    first = compute.submit(begin.wait, 5)
    second = compute.submit(begun.set)
    time.sleep(0.05)
    assert not begun.is_set() and not second.done()
    begin.set()
    second.result(5)
    assert first.result(5) and begun.is_set()


@pytest.mark.parametrize(
    "error", [ValueError("no"), MemoryError(), KeyboardInterrupt(), SystemExit(1), StopIteration()]
)
def test_whatever_a_job_raises_arrives_and_the_thread_lives_on(error):
    compute = ComputeThread()

    def fail() -> None:
        raise error

    assert compute.submit(fail).exception(5) is error
    assert compute.submit(lambda: "alive").result(5) == "alive"


def test_a_job_that_was_cancelled_is_left_out_and_the_thread_lives_on():
    compute, begin, ran = ComputeThread(), Event(), Event()
    compute.submit(begin.wait, 5)
    waiting = compute.submit(ran.set)
    assert waiting.cancel()
    begin.set()
    assert compute.submit(lambda: "alive").result(5) == "alive"
    assert not ran.is_set()


def test_a_callback_that_fails_does_not_end_the_thread():
    compute = ComputeThread()
    future = compute.submit(time.sleep, 0.05)
    future.add_done_callback(lambda _: 1 / 0)
    assert compute.submit(lambda: "alive").result(5) == "alive"


def test_nothing_of_a_finished_job_is_kept():
    class Conversation:
        pass

    conversation = Conversation()
    gone = weakref.ref(conversation)
    compute = ComputeThread()
    assert compute.submit(lambda held: held is not None, conversation).result(5)
    del conversation

    def is_gone() -> bool:
        gc.collect()
        return gone() is None

    wait_until(is_gone, 5)


def test_the_program_can_end_in_the_midst_of_a_job():
    program = "import time; from hfdemo.compute.thread import ComputeThread; ComputeThread().submit(time.sleep, 60)"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=20)


def test_a_program_that_ends_lets_a_short_job_come_to_its_end():
    program = (
        "import threading, time; from hfdemo.compute.thread import ComputeThread; begun = threading.Event();"
        "ComputeThread().submit(lambda: (begun.set(), time.sleep(0.5), print('done', flush=True))); begun.wait()"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=20, capture_output=True)
    assert ended.stdout == b"done\n"
