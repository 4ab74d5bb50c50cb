"""Reads that wait together: on one state of the register, alike questions once, lists of look-ups in one."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from rollbook.storage.engines import Engine, Session
from rollbook.storage.transactions import MOST_REMEMBERED, AsksMore, Look, Outdated, Snapshot
from rollbook.storage.workers import Job, Outcome


def answer_together(
    engine: Engine, session: Session, memory: dict[tuple[Any, Any], Any], jobs: list[Job]
) -> Sequence[Outcome]:
    """Do the jobs on one snapshot, which begins after each of them was asked for.

    One that raises ends it, for its transaction may be broken; the rest go on with a new one. Where the
    database is away, it is away for all of them. Those that were asked `as_of` another number of changes
    than the state has are Outdated.
    """
    outcomes: list[Outcome] = [None] * len(jobs)
    pauses = engine.pauses()
    questions = questions_of(jobs)
    if all(job.is_look for job in jobs):
        questions = _look(engine, session, memory, jobs, questions, outcomes, pauses)
    while questions:
        try:
            if all(each.operation is changes_seen for each in questions):
                # It is one statement, and a transaction around it would cost another turn.
                changes = session.changes
                for place in (place for each in questions for place in each.places):
                    outcomes[place] = changes
                return outcomes
            session.begin_reading()
            if len(memory) > MOST_REMEMBERED:
                memory.clear()
            snapshot = Snapshot(session, engine.dialect, memory, is_proven=False)
            if engine.is_near:
                # A file tells of changes up to now, which must not be later than the state that is read.
                snapshot.prove_memory()
            while questions:
                for place, answer in questions[-1].answers(snapshot):
                    outcomes[place] = answer
                    as_of = jobs[place].as_of
                    if as_of is not None and as_of != snapshot.changes:
                        outcomes[place] = Outdated()
                questions.pop()
            session.commit()
        except Exception as error:
            session.roll_back()
            may_pass = engine.may_pass(error, 0)
            if may_pass and next(pauses, False):
                continue
            unanswered = questions if may_pass else questions[-1:]
            for place in (place for each in unanswered for place in each.places):
                outcomes[place] = engine.explained(error)  # raised where it is awaited
            del questions[-len(unanswered) :]
    return outcomes


def _look(
    engine: Engine,
    session: Session,
    memory: dict[tuple[Any, Any], Any],
    jobs: list[Job],
    questions: "list[Question]",
    outcomes: list[Outcome],
    pauses: Iterator[bool],
) -> "list[Question]":
    """Answer each question by one statement, which sees a state of its own; return those that want a
    transaction. What fails wants one, too, unless patience is at its end.

    A transaction around one statement would be three more. The number of changes only grows: if the last that
    is seen is the one of what was remembered, it was so in all the states before.
    """
    left: list[Question] = []
    try:
        session.begin_looking()
        for question in questions:
            try:
                for place, answer in question.answers(Look(session, engine.dialect, memory)):
                    outcomes[place] = answer
            except AsksMore:
                left.append(question)
        if len(left) == len(questions):
            session.commit()
            return left
        if not session.is_current:
            memory.clear()
            session.commit()
            return questions
        for place, job in enumerate(jobs):
            if job.as_of is not None and job.as_of != session.changes:
                outcomes[place] = Outdated()
        session.commit()
    except Exception as error:
        session.roll_back()
        if not engine.may_pass(error, 0) or next(pauses, False):
            return questions
        # One for each, for what is raised keeps its frames.
        outcomes[:] = [engine.explained(error) for _ in jobs]
        return []
    return left


def changes_seen(snapshot: Snapshot, _all: None) -> int:
    """Return how often anybody has changed what servers remember."""
    return snapshot.changes


class Question(NamedTuple):
    """An operation on an argument, or on a list of them, with the places of the jobs that wait for it."""

    operation: Callable[..., Any]
    arguments: list[Any]
    places: list[int]
    takes_list: bool

    def is_like(self, job: Job) -> bool:
        """Say whether the job asks the same, or what can be asked in the same list."""
        return self.operation is job.operation and (self.takes_list or self.arguments[0] == job.argument)

    def answers(self, snapshot: Snapshot) -> Iterable[tuple[int, Outcome]]:
        """Return the outcome of each place."""
        if self.takes_list:
            return zip(self.places, self.operation(snapshot, self.arguments), strict=True)
        return zip(self.places, itertools.repeat(self.operation(snapshot, self.arguments[0])), strict=False)


def questions_of(jobs: list[Job]) -> list[Question]:
    """Return what jobs ask: those whose operation takes a list together, those who ask the same once."""
    questions: list[Question] = []
    for place, job in enumerate(jobs):
        for known in questions:
            if known.is_like(job):
                known.places.append(place)
                if job.takes_list:
                    known.arguments.append(job.argument)
                break
        else:
            questions.append(Question(job.operation, [job.argument], [place], job.takes_list))
    return questions
