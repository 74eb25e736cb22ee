"""The first signal asks, the second goes to whoever handled it before; what is ignored stays ignored."""

from __future__ import annotations

import os
import signal

import pytest

from bitspike.run.signals import SIGNALS, Handled, Stopped, stop


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_asks_and_the_second_stops(number):
    asked = []
    with Handled(stop), Handled(asked.append):
        os.kill(os.getpid(), number)
        assert asked == [number]
        with pytest.raises(Stopped) as caught:
            os.kill(os.getpid(), number)
    assert caught.value.number == number
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handlers_come_back_and_ignored_signals_stay_ignored():
    earlier = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Handled(stop):
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, earlier)


def test_a_second_ctrl_c_in_python_is_a_keyboard_interrupt():
    asked = []
    with Handled(asked.append):
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert asked == [signal.SIGINT]
