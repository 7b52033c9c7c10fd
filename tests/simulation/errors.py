"""What a client of the log is told when a call does not end well, named for what the caller may do."""


class LogError(Exception):
    """All of them."""


class NotYet(LogError):
    """The broker said "try again". A real client does so by itself until its time-out, and then raises TimedOut: call
    again later. What was asked for has not been done."""


class TimedOut(LogError):
    """No answer: the request may have been applied or not. The same call may be made again."""


class Fenced(LogError):
    """Somebody else has this transactional id now, or the coordinator gave it up. This producer is of no use any
    more."""


class Abortable(LogError):
    """Abort, and a new transaction may begin."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Misused(LogError):
    """A call that this state does not allow (begin twice, produce outside of a transaction): librdkafka's _STATE."""


class Refused(LogError):
    """The broker will not write this record."""


class Gone(LogError):
    """What this reader has still to read is no longer there: a head was cut, a tail was lost, or the position is beyond
    the end. Said once a partition; the reader gets nothing more from it until it is assigned anew."""

    def __init__(self, topic: str, partition: int, position: int, why: str) -> None:
        super().__init__(f"{topic}/{partition} at {position}: {why}")
        self.place, self.position, self.why = (topic, partition), position, why
