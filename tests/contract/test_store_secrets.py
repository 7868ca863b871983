"""Errors of the database reach logs; what users wrote must not come with them."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from tests.contract.conftest import World

TEXT = "meet me at noon"


@pytest.mark.parametrize(
    "statement",
    ["INSERT INTO no_such_table VALUES (:x)", "INSERT INTO alembic_version (version_num) SELECT NULL WHERE :x = :x"],
)
async def test_a_failed_statement_does_not_quote_its_parameters(world: World, statement: str) -> None:
    await world.sql("CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) NOT NULL)")
    with pytest.raises(SQLAlchemyError) as raised:
        await world.store._driver.write(lambda c: c.execute(text(statement), {"x": TEXT}).close())
    assert TEXT not in str(raised.value)
