"""Where settings are read from, and how a mistake in them is reported."""

from __future__ import annotations

import os
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from holdfast.domain.errors import InvalidSettings

PREFIX = "HOLDFAST_"

ENV_FILE = "HOLDFAST_ENV_FILE"
"""Names the file that is read beside the environment, `.env` unless set; empty: none."""

S = TypeVar("S", bound=BaseSettings)


def read(kind: type[S], **overrides: Any) -> S:
    """Read settings of a class from its sources.

    Raises:
        InvalidSettings: One sentence per mistake, naming the variable.
    """
    try:
        return kind(**{"_env_file": os.environ.get(ENV_FILE, ".env") or None, **overrides})
    except ValidationError as error:
        raise InvalidSettings(" ".join(_sentence(problem) for problem in error.errors())) from error


def _sentence(problem: object) -> str:
    assert isinstance(problem, dict)
    where = str(problem["loc"][0]) if problem["loc"] else ""
    name = where if where.isupper() else f"{PREFIX}{where.upper()}" if where else ""
    text = str(problem["msg"]).removeprefix("Value error, ")
    inner = ".".join(map(str, problem["loc"][1:]))
    return f"{name}: {f'{inner}: ' if inner else ''}{text}." if name else f"{text}."
