"""What the catalogue explains and refuses. It is no Action: nobody can parse, plan, approve or run one."""

from __future__ import annotations

from typing import ClassVar

from actions.action import Entry, Undo


class Forbidden(Entry):
    """Something that no machine does, whoever asks for it.

    The docstring of a subclass is read at 3 a.m. by somebody who wanted it done: what the call does, why it is left to
    people, what they check first, how they do it by hand. Its fields are the parameters as that person would name them;
    nothing reads them but the page that explains it.
    """

    version = 1
    risk = "FORBIDDEN"
    undo = Undo.IRREVERSIBLE
    may_call = frozenset()

    because: ClassVar[str]
    check_first: ClassVar[str]

    @classmethod
    def why_not(cls) -> str:
        """The refusal, as it stands in an objection."""
        return (
            f"{cls.name} is never done by a machine: {cls.because}. A person checks first {cls.check_first}; more in"
            f" `steward actions show {cls.name}`"
        )
