"""Counts and durations as people write them: 1 trial, 10.9 years."""

_SECONDS = {
    "year": 365.25 * 86400,
    "day": 86400,
    "hour": 3600,
    "minute": 60,
    "second": 1,
}


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Writes a number of things: `1 trial`, `1,234 trials`, `2 processes`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def duration(seconds: float) -> str:
    """Writes three digits in the largest unit that gives at least one of it.

    Below a second it writes `3 ms` or `7 us`.
    """
    for unit, size in _SECONDS.items():
        units = seconds / size
        number = f"{units:.3g}" if units < 999.5 else f"{units:,.0f}"
        if float(number.replace(",", "")) >= 1:
            return f"{number} {unit}{'' if number == '1' else 's'}"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} us"
