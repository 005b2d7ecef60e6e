"""Waiting for signals to stop, without a supervisor."""

import os
import signal
import socket
from contextlib import suppress

import pytest

from zjobs._signals import StopSignals

BOTH = (signal.SIGTERM, signal.SIGINT)


@pytest.mark.parametrize("number", BOTH)
def test_the_first_signal_ends_the_wait_and_asks_nobody_to_hurry(number):
    hurried = []
    with StopSignals(lambda: hurried.append(number)) as signals:
        signal.raise_signal(number)
        signals.wait()
    assert hurried == []


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_that_comes_while_it_waits_ends_the_wait(number):
    waits = []
    with StopSignals(lambda: None) as signals:
        ear = signals._ear

        class Ear:
            """Sends the signal when nothing but a signal can end the wait."""

            def recv(self, most):
                waits.append(number)
                signal.raise_signal(number)
                return ear.recv(most)

        signals._ear = Ear()
        signals.wait()
        signals._ear = ear
    assert waits == [number]


def test_a_signal_of_another_kind_does_not_end_the_wait():
    waits = []
    with StopSignals(lambda: None) as signals:
        ear = signals._ear

        class Ear:
            """The second byte in the socket is of a signal to stop."""

            def recv(self, most):
                waits.append(most)
                if len(waits) == 2:
                    signal.raise_signal(signal.SIGTERM)
                return b"x"

        signals._ear = Ear()
        signals.wait()
        signals._ear = ear
    assert len(waits) == 2


@pytest.mark.parametrize("number", BOTH)
def test_the_second_signal_asks_to_hurry(number):
    hurried = []
    with StopSignals(lambda: hurried.append(number)) as signals:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(number)
        signals.wait()
    assert hurried == [number]


@pytest.mark.parametrize("number", BOTH)
def test_the_third_signal_ends_the_process_by_that_signal(number):
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            with StopSignals(lambda: None):
                for _ in range(3):
                    signal.raise_signal(number)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -number


@pytest.mark.parametrize(
    ("before", "taken"), [(signal.SIG_DFL, True), (signal.SIG_IGN, False), (lambda *_: None, False)]
)
def test_the_end_of_a_terminal_is_taken_where_nobody_has_said_what_it_does(before, taken):
    was = signal.signal(signal.SIGHUP, before)
    try:
        with StopSignals(lambda: None):
            assert (signal.getsignal(signal.SIGHUP) != before) is taken
            assert all(signal.getsignal(number) != before for number in BOTH)
        assert signal.getsignal(signal.SIGHUP) == before
    finally:
        signal.signal(signal.SIGHUP, was)


def test_everything_is_given_back_in_the_end():
    before = [signal.getsignal(number) for number in BOTH]
    ear, mouth = socket.socketpair()
    mouth.setblocking(False)  # noqa: FBT003 - the socket's own order
    was = signal.set_wakeup_fd(mouth.fileno())
    try:
        with StopSignals(lambda: None) as signals:
            assert all(signal.getsignal(number) not in before for number in BOTH)
        assert signal.set_wakeup_fd(-1) == mouth.fileno()
    finally:
        signal.set_wakeup_fd(was)
        ear.close()
        mouth.close()
    assert [signal.getsignal(number) for number in BOTH] == before
    assert (signals._ear.fileno(), signals._mouth.fileno()) == (-1, -1)


def test_signals_that_nobody_reads_are_no_complaint(capfd):
    with StopSignals(lambda: None) as signals:
        with suppress(BlockingIOError):
            while True:
                signals._mouth.send(bytes(4096))
        signal.raise_signal(signal.SIGTERM)
    assert capfd.readouterr().err == ""
