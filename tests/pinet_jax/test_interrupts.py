"""Ctrl-C held back: what is inside is done, and it comes after that."""

import signal
import threading

import pytest

from pinet_jax.interrupts import held_back


def test_it_comes_at_the_end():
    done = []
    with pytest.raises(KeyboardInterrupt), held_back():
        signal.raise_signal(signal.SIGINT)
        done.append("inside")
    assert done == ["inside"]


def test_afterwards_it_comes_at_once():
    with held_back():
        pass
    done = []
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
        done.append("after")
    assert done == []


def test_an_error_inside_goes_first():
    with pytest.raises(ZeroDivisionError), held_back():
        signal.raise_signal(signal.SIGINT)
        1 / 0  # noqa: B018
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_may_use_it():
    errors = []

    def work():
        try:
            with held_back():
                pass
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert errors == []
