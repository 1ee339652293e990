"""Settings: frozen dataclasses whose fields say what they accept; checked, and made into options.

A field is declared with its help, its limits or its choices beside it::

    @dataclass(frozen=True, kw_only=True)
    class Blur:
        sigma: Annotated[float, "standard deviation, pixels", Limits(0)] = 2.0
        border: Annotated[Literal["mirror", "zero"], "what lies beyond"] = "mirror"
        radius: Annotated[int | None, "pixels; default: three sigmas", Limits(1)] = None

        def __post_init__(self) -> None:
            check(self)

None always means unset. A class with more settings inherits from one with fewer, and `part` gives
these back. Nothing here imports what computes, so that options are there in no time.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from paper_unet.errors import InputError, shown, without_secrets

Part = TypeVar("Part")


@dataclass(frozen=True)
class Limits:
    """The numbers that a field accepts: from ``low``, up to ``high``.

    Attributes
    ----------
    low, high : float
        ``low`` is accepted unless ``above``, ``high`` where ``closed``.
    closed, above : bool
    """

    low: float
    high: float = math.inf
    closed: bool = False
    above: bool = False

    def admit(self, value: float) -> bool:
        """Whether a number lies between them; NaN does not."""
        enough = self.low < value if self.above else self.low <= value
        return enough and (value <= self.high if self.closed else value < self.high)

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"must be finite and {'above' if self.above else 'at least'} {self.low:g}"
        return f"must be in [{self.low:g}, {self.high:g}{']' if self.closed else ')'}"


@dataclass(frozen=True)
class Choices:
    """The words that a field accepts where they are a table's: asked for when they are needed.

    Attributes
    ----------
    table : callable
        Gives the words.
    renamed : mapping of str to str
        Words that are still understood, and what they are called now.
    """

    table: Callable[[], Iterable[str]]
    renamed: Mapping[str, str] = field(default_factory=dict)

    def word(self, value: str) -> str:
        """Return what a word is called now."""
        return self.renamed.get(value, value)


@dataclass(frozen=True)
class Option:
    """What a field of settings is to a user.

    Attributes
    ----------
    name : str
        Of the field.
    kind : type
        bool, int, float, str, or tuple for a pair of numbers.
    optional : bool
        Whether it may be None, unset.
    default : object
        `MISSING` where it has to be given.
    help : str
    limits : Limits or None
    choices : Choices or None
    """

    name: str
    kind: type
    optional: bool
    default: Any
    help: str = ""
    limits: Limits | None = None
    choices: Choices | None = None

    @property
    def required(self) -> bool:
        """Whether it has to be given."""
        return self.default is MISSING

    @property
    def flag(self) -> str:
        """The name on the command line."""
        return FLAGS.get(self.name, "--" + self.name.replace("_", "-"))

    def accepted(self, value: Any) -> Any:
        """Return a value in the form in which it is kept; `InputError` if it is not accepted."""
        if self.optional and (value is None or (isinstance(value, str) and not value)):
            return None
        value = self._kept(value)
        if self.choices is not None:
            value, words = self.choices.word(value), tuple(self.choices.table())
            if value not in words:
                words_shown = ", ".join(words)
                raise InputError(
                    f"{self.name} is {shown(value)!r}; it must be one of {words_shown}"
                )
        if self.limits is not None and not self.limits.admit(value):
            raise InputError(f"{self.name} is {shown(value)}; it {self.limits}")
        return value

    def _kept(self, value: Any) -> Any:
        value = _plain(value)
        if self.kind is str:
            value = os.fspath(value) if isinstance(value, os.PathLike) else value
        elif self.kind is tuple and isinstance(value, Iterable):
            value = tuple(map(_plain, value))
        whole = {int: (int,), float: (int, float)}.get(self.kind, (self.kind,))
        fits = isinstance(value, whole)
        if self.kind is tuple:
            fits = fits and len(value) == 2 and all(map(_is_number, value))
        if not fits or (isinstance(value, bool) and self.kind is not bool):
            raise InputError(f"{self.name} is {_quoted(value)}; it must be {WORDS[self.kind]}")
        most = self.limits.high + 1 if self.limits and self.limits.high < math.inf else LARGEST
        if isinstance(value, int) and not -LARGEST <= value < max(LARGEST, most):
            raise InputError(f"{self.name} is {shown(value)}; it must be {WORDS[int]} of 64 bits")
        return value


FLAGS: Final = {"value_range": "--range", "label_map": "--map", "percentiles": ""}
"""Options that are not called as their field is; empty: part of another option."""

PERCENTILE: Final = "percentile:"
"""How a range of grey values by percentiles begins, where it is written as text."""

LARGEST: Final = 2**63
"""Whole numbers beyond it are none that anything here computes with."""

WORDS: Final[dict[type, str]] = {
    bool: "true or false", int: "a whole number", float: "a number", str: "a text",
    tuple: "a pair of numbers",
}  # fmt: skip


def _plain(value: Any) -> Any:
    """Return a single number of NumPy or PyTorch as Python's."""
    return value.item() if hasattr(value, "item") and getattr(value, "shape", None) == () else value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _quoted(value: object) -> str:
    return shown(repr(value))


def options(kind: Any) -> tuple[Option, ...]:
    """Return what the fields of a class of settings accept: its own, then those it inherits."""
    if kind not in _READ:
        hints = get_type_hints(kind, include_extras=True)
        own_first = sorted(fields(kind), key=lambda field: field.name not in kind.__annotations__)
        _READ[kind] = tuple(_option(f.name, hints[f.name], f.default) for f in own_first)
    return _READ[kind]


_READ: dict[Any, tuple[Option, ...]] = {}


def _option(name: str, hint: Any, default: Any) -> Option:
    kind, *extras = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    optional = get_origin(kind) in (Union, UnionType) and NoneType in get_args(kind)
    if get_origin(kind) in (Union, UnionType):
        kind = next(part for part in get_args(kind) if part is not NoneType)
    given: dict[Any, Any] = {type(extra): extra for extra in extras}
    choices = given.get(Choices)
    if get_origin(kind) is Literal:
        words = get_args(kind)
        kind, choices = str, Choices(lambda: words)
    kind = get_origin(kind) or kind
    return Option(
        name, kind, optional, default, given.get(str, ""), given.get(Limits), choices
    )  # fmt: skip


def check(settings: Any) -> None:
    """Check every field of settings; keep paths as text, pairs as tuples, "" as None.

    Raises
    ------
    InputError
        At the first field that is not accepted: its name, what it is, what it must be.
    """
    for option in options(type(settings)):
        value = getattr(settings, option.name)
        kept = option.accepted(value)
        if kept is not value:
            object.__setattr__(settings, option.name, kept)


def read_percentiles(settings: Any) -> None:
    """Take ``value_range`` apart that is the text ``percentile:LOW,HIGH``, and check percentiles.

    To be called before `check`; ``percentiles`` are kept in a field of this name.

    Raises
    ------
    InputError
        If the text is of another form, or the percentiles are none.
    """
    given = settings.value_range
    if isinstance(given, str) and given.strip().startswith(PERCENTILE):
        number = r"\s*([0-9]*\.?[0-9]+)\s*"
        found = re.fullmatch(f"{PERCENTILE}{number},{number}", given.strip(), re.ASCII)
        if found is None:
            raise InputError(
                f'`value_range` is "{shown(given)}"; give two grey values, or percentiles as in '
                f"{PERCENTILE}0.5,99.5"
            )
        object.__setattr__(settings, "value_range", None)
        object.__setattr__(settings, "percentiles", (float(found[1]), float(found[2])))
        given = None
    if settings.percentiles is not None:
        checked_percentiles(settings.percentiles)
        if given is not None:
            raise InputError("`value_range` is given by grey values and by percentiles; give one")


def checked_percentiles(given: Any) -> tuple[float, float]:
    """Return percentiles; raise InputError unless they are two of 0 to 100, in order."""
    numbers = list(given) if isinstance(given, list | tuple) else []
    real = all(isinstance(one, int | float) and not isinstance(one, bool) for one in numbers)
    if not (real and len(numbers) == 2 and 0 <= numbers[0] < numbers[1] <= 100):
        raise InputError(
            f"`value_range` by percentiles {shown(given)}; give two from 0 to 100, the lower one "
            "first"
        )
    return float(numbers[0]), float(numbers[1])


def recorded(settings: Any) -> dict[str, Any]:
    """Return settings by name, as they are written and printed: without what is secret in them."""
    return {
        name: without_secrets(value) if isinstance(value, str) else value
        for name, value in asdict(settings).items()
    }


def part(settings: Any, kind: type[Part]) -> Part:
    """Return the settings of one part out of those of a whole that has its fields."""
    return kind(**{option.name: getattr(settings, option.name) for option in options(kind)})


@dataclass(frozen=True, kw_only=True)
class AugmentSettings:
    """How strongly the training tiles vary. Amounts of 0 and False switch a part off."""

    grid: Annotated[int, "nodes per axis of the elastic deformation (sec. 3.1: 3)", Limits(2)] = 3
    elastic: Annotated[float, "its standard deviation, pixels (sec. 3.1: 10)", Limits(0)] = 10.0
    rotate: Annotated[bool, "by any angle (sec. 3.1; not in the paper: the range)"] = True
    mirror: Annotated[bool, "swap left and right at random (not in the paper)"] = True
    shift: Annotated[bool, "anywhere in the section (sec. 3.1; not in the paper: the range)"] = True
    grey: Annotated[
        float,
        "strength of the grey-value change (sec. 3.1; not in the paper: the model)",
        Limits(0),
    ] = 1.0
    extrapolation: Annotated[
        Literal["mirror", "zero"], "what lies outside a section (sec. 1: mirrored)"
    ] = "mirror"

    def __post_init__(self) -> None:
        check(self)
