"""The zones and the moments at which their offsets change, read from the zone files themselves.

The files are those of the package ``tzdata``, whose version is pinned, so that a run can be repeated anywhere. Zones
that have the same offset at every moment count as one.
"""

import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from itertools import pairwise
from zoneinfo import ZoneInfo

FIRST, LAST = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (1990, 2038))
# Beyond the years that are compared: what comes next after the last change must be known.
_KNOWN_FROM, _KNOWN_TO = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (1989, 2080))
_WEEK = 7 * 86_400


@dataclass(frozen=True)
class Change:
    """A moment, in seconds since 1970, and the offsets before it and from it on, in seconds."""

    at: int
    before: int
    after: int


@dataclass(frozen=True)
class Zone:
    """One way of keeping the clock."""

    name: str
    also: tuple[str, ...]
    offset: int
    changes: tuple[Change, ...]

    def compared(self) -> list[Change]:
        """The changes from 1990 to 2037."""
        return [change for change in self.changes if FIRST <= change.at < LAST]


def names() -> list[str]:
    """Every zone of the package."""
    return sorted(files("tzdata").joinpath("zones").read_text("utf-8").split())


def version() -> str:
    """The year and letter of the rules."""
    return files("tzdata").joinpath("zoneinfo/tzdata.zi").read_text("utf-8").split("\n", 1)[0].split()[-1]


def zones(chosen: list[str]) -> list[Zone]:
    """These zones, those with the same offsets as one."""
    alike: dict[tuple[int, tuple[Change, ...]], list[str]] = {}
    read: dict[bytes, tuple[int, tuple[Change, ...]]] = {}
    for name in chosen:
        data = files("tzdata").joinpath("zoneinfo", *name.split("/")).read_bytes()
        if data not in read:
            read[data] = _offsets(name, data)
        alike.setdefault(read[data], []).append(name)
    return [Zone(same[0], tuple(same[1:]), *key) for key, same in alike.items()]


def _offsets(name: str, data: bytes) -> tuple[int, tuple[Change, ...]]:
    """The offset in 1989 and every change until 2080."""
    moments, offsets = _explicit(data)
    zone = ZoneInfo(name)
    # The file's rule for the years after its last moment has two changes a year, months apart.
    for week in range(max([*moments, _KNOWN_FROM]), _KNOWN_TO, _WEEK):
        if _offset(zone, week) != _offset(zone, week + _WEEK):
            moments.append(_bisect(zone, week, week + _WEEK))
            offsets.append(_offset(zone, moments[-1]))
    first = _offset(zone, _KNOWN_FROM)
    known = [(_KNOWN_FROM, first), *((at, o) for at, o in zip(moments, offsets, strict=True) if at > _KNOWN_FROM)]
    changes = [Change(at, before, after) for (_, before), (at, after) in pairwise(known) if before != after]
    for change in changes:
        # The file, read here, and the standard library must say the same.
        assert (_offset(zone, change.at - 1), _offset(zone, change.at)) == (change.before, change.after), (name, change)
        assert not change.at % 60, f"{name} changes within a minute: {change}"
        assert not change.before % 60, f"{name} has an offset with seconds: {change}"
    return first, tuple(changes)


def _explicit(data: bytes) -> tuple[list[int], list[int]]:
    """The moments that a TZif file lists (RFC 9636), and the offset from each on."""

    def header(at: int) -> tuple[int, ...]:
        assert data[at : at + 4] == b"TZif"
        return struct.unpack(">6l", data[at + 20 : at + 44])

    isut, isstd, leap, times, types, chars = header(0)
    start = 44 + times * 5 + types * 6 + chars + leap * 8 + isstd + isut
    _, _, _, times, types, _ = header(start)
    start += 44
    moments = list(struct.unpack(f">{times}q", data[start : start + 8 * times]))
    kinds = data[start + 8 * times : start + 9 * times]
    table = start + 9 * times
    offsets = [struct.unpack(">l", data[table + 6 * n : table + 6 * n + 4])[0] for n in range(types)]
    return moments, [offsets[kind] for kind in kinds]


def _offset(zone: ZoneInfo, at: int) -> int:
    found = datetime.fromtimestamp(at, zone).utcoffset()
    assert found is not None
    return found // timedelta(seconds=1)


def _bisect(zone: ZoneInfo, low: int, high: int) -> int:
    before = _offset(zone, low)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(zone, middle) == before else (low, middle)
    return high
