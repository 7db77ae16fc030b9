"""The line: one task at a time, in order, with their places told."""

import threading

import pytest

from fieldforge.app.waiting_line import Line, Ticket
from fieldforge.errors import UserError


class Task:
    """A task that runs until it may end, or until its ticket has left."""

    def __init__(self, name: str, done: list[str]):
        self.name, self.done, self.places = name, done, []
        self.begun, self.may_end, self.ended = (threading.Event() for _ in range(3))
        self.ticket = Ticket(self.work, self.places.append)

    def work(self, ticket: Ticket) -> None:
        self.begun.set()
        while not ticket.left and not self.may_end.wait(0.01):
            pass
        self.done.append(f"{self.name} left" if ticket.left else self.name)
        self.ended.set()


@pytest.fixture
def line():
    line = Line(most=2)
    yield line
    line.close()


@pytest.fixture
def tasks():
    done: list[str] = []
    return [Task(name, done) for name in "abcd"]


def test_tasks_come_in_order_and_know_their_places(line, tasks):
    first, second, third, _ = tasks
    line.join(first.ticket)
    assert first.begun.wait(10)
    line.join(second.ticket)
    line.join(third.ticket)
    assert (first.places, second.places, third.places) == ([0], [1, 1], [2])
    assert not second.begun.is_set()
    for task in (first, second, third):
        task.may_end.set()
        assert task.ended.wait(10)
    assert first.done == ["a", "b", "c"]
    assert second.places[-1] == 0
    assert third.places == sorted(third.places, reverse=True)
    assert third.places[-1] == 0


def test_who_leaves_is_passed_over_and_a_task_that_runs_is_asked_to_end(line, tasks):
    first, second, third, _ = tasks
    line.join(first.ticket)
    assert first.begun.wait(10)
    line.join(second.ticket)
    line.join(third.ticket)
    line.leave(second.ticket)
    assert third.places[-1] == 1
    third.may_end.set()
    line.leave(first.ticket)
    assert third.ended.wait(10)
    assert first.done == ["a left", "c"]
    assert not second.begun.is_set()


def test_a_full_line_takes_no_more(line, tasks):
    line.join(tasks[0].ticket)
    assert tasks[0].begun.wait(10)
    line.join(tasks[1].ticket)
    line.join(tasks[2].ticket)
    with pytest.raises(UserError, match="2 wait already"):
        line.join(tasks[3].ticket)


def test_a_task_that_fails_does_not_end_the_line(line, tasks, caplog):
    def fail(_: Ticket) -> None:
        raise ZeroDivisionError

    line.join(Ticket(fail, [].append))
    tasks[0].may_end.set()
    line.join(tasks[0].ticket)
    assert tasks[0].ended.wait(10)
    assert tasks[0].done == ["a"]
    assert "a task of the line failed" in caplog.text
