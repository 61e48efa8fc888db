"""What is to be done of a task whose worker died, and who is to blame.

| the worker ended                  | next                                                     |
|-----------------------------------|----------------------------------------------------------|
| at a position of the task         | that position is suspect: a trial in a fresh process,    |
|                                   | of it alone, the result thrown away                      |
| at the suspect position, alone    | the trial again; at the second time it is poisoned: the  |
|                                   | job hears so and drops it, and the task is done again    |
| at no position                    | the same once more                                       |
| not at all: the suspect survived  | the task is done again; the death was chance             |

So a position is dropped only when it ended three processes, two of which did nothing else: whoever
kills workers, the operator or a system short of memory, does not thereby change what is made. A
trial comes after the first death, not the second, because it costs a sample and the other a task.
"""

from __future__ import annotations

from typing import Any

TRIALS = 2
"""Deaths alone that convict a position."""

STRAYS = 5
"""Deaths in a row during one task that convicted nobody; one more, and the run stops. Few, because
each may have cost a whole task; some, because a system short of memory kills more than once."""


class Attempt:
    """A task, with what is known of its positions."""

    def __init__(self, task: Any) -> None:
        self.task = task
        self.poisoned: dict[int, str] = {}
        self.suspect: int | None = None
        self._strays = 0
        self._alone = 0

    @property
    def hopeless(self) -> bool:
        return self._strays > STRAYS

    def died(self, position: int | None, how: str) -> None:
        """Its worker ended at a position, or at none."""
        if self.suspect is None:
            self.suspect, self._alone = position, 0
            self._strays += 1
        elif position == self.suspect:
            self._alone += 1
            if self._alone == TRIALS:
                self.poisoned[position] = how
                self.suspect, self._strays = None, 0
        else:
            self._strays += 1

    def survived(self) -> None:
        """The suspect did no harm."""
        self.suspect = None
