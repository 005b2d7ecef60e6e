"""The processes of a soak: some may be killed, and the others are watched for as long as it lasts."""

import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Crew", "EndedError", "Member"]


class EndedError(Exception):
    """A process ended by itself, or did not end in order when it was told to."""


@dataclass(slots=True)
class Member:
    """One place in the crew, and who has it now."""

    module: str
    number: int
    database: str
    folder: Path
    arguments: list[str] = field(default_factory=list)
    mortal: bool = False
    """It may be killed; whoever may not is a witness to the memory of a whole run."""
    lives: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        return f"{self.module}-{self.number}-{self.lives}"

    def start(self) -> None:
        self.lives += 1
        command = [sys.executable, "-m", f"soak.{self.module}", self.database, str(self.folder), self.name]
        with (self.folder / f"{self.name}.log").open("wb") as log:
            self.process = subprocess.Popen(
                [*command, *self.arguments], cwd=Path(__file__).parents[1], stdout=log, stderr=log,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip

    def told(self) -> str:
        """The end of what it has printed."""
        return (self.folder / f"{self.name}.log").read_text(errors="replace")[-4000:]

    def stop(self, seconds: float) -> None:
        """Ends it in order."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(seconds)
        # One that has only just been started does not listen to signals yet.
        if code not in {0, -signal.SIGTERM}:
            raise EndedError(f"{self.name} stopped with status {code}:\n{self.told()}")


@dataclass(frozen=True, slots=True)
class Crew:
    """All of them."""

    producer: Member
    workers: list[Member]

    @property
    def members(self) -> list[Member]:
        return [self.producer, *(one for one in self.workers if one is not self.producer)]

    @property
    def mortals(self) -> list[Member]:
        return [one for one in self.members if one.mortal]

    def start(self) -> None:
        for one in self.members:
            one.start()

    def check(self, whom: Iterable[Member] = ()) -> None:
        """Nobody has ended by itself: whoever may be killed is not found dead while a fault is on its way."""
        for one in whom or self.members:
            code = one.process.poll()
            if code not in {None, -signal.SIGKILL}:
                raise EndedError(f"{one.name} ended by itself with status {code}:\n{one.told()}")

    def abandon(self) -> None:
        for one in self.members:
            if one.process is not None and one.process.poll() is None:
                one.process.kill()
                one.process.wait()
