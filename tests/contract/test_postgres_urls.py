# ruff: noqa: E501 - URLs stay whole
"""URLs as hosting platforms hand them out, as asyncpg understands what we make of them, and mistakes in them."""

from __future__ import annotations

import inspect
import os
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest
from asyncpg.connect_utils import _parse_connect_dsn_and_args

from holdfast.domain.errors import InvalidSettings, StoreUnavailable
from holdfast.store import open_store, urls
from tests.contract.conftest import MovedClock
from tests.support.postgres import Postgres, free_port

PASSWORD = "s3cr3t-Pa55"


def understood(url: str) -> tuple[list[Any], Any]:
    """What asyncpg would connect to: addresses, and the rest."""
    names = inspect.signature(_parse_connect_dsn_and_args).parameters.keys() - {"dsn"}
    addresses, rest = _parse_connect_dsn_and_args(dsn=urls.postgres(url).dsn, **dict.fromkeys(names))
    return addresses, rest


@pytest.mark.parametrize(
    ("url", "address", "login", "database"),
    [
        # Heroku, Render, Railway, Fly
        ("postgres://u:p@ec2-1.compute.amazonaws.com:5432/d1", ("ec2-1.compute.amazonaws.com", 5432), "u:p", "d1"),
        ("postgresql://u:p@dpg-x-a.oregon-postgres.render.com/d", ("dpg-x-a.oregon-postgres.render.com", 5432), "u:p", "d"),
        # Neon, as its console copies it
        (
            "psql 'postgresql://neondb_owner:npg_x@ep-a-pooler.eu.aws.neon.tech/neondb?sslmode=require&channel_binding=require'",
            ("ep-a-pooler.eu.aws.neon.tech", 5432), "neondb_owner:npg_x", "neondb",
        ),
        # Supabase, DigitalOcean, Prisma, Vercel
        ("postgresql://postgres.ref:p@aws-0-eu.pooler.supabase.com:6543/postgres?pgbouncer=true", ("aws-0-eu.pooler.supabase.com", 6543), "postgres.ref:p", "postgres"),
        ("postgres://u:p@h.db.ondigitalocean.com:25060/defaultdb?sslmode=require", ("h.db.ondigitalocean.com", 25060), "u:p", "defaultdb"),
        ("postgres://u:p@h/d?schema=public&connection_limit=3&pool_timeout=0&supa=base-pooler.x", ("h", 5432), "u:p", "d"),
        # other programs' ways
        ("postgresql+asyncpg://u@h/d?prepared_statement_cache_size=0", ("h", 5432), "u:", "d"),
        ("postgresql+psycopg2://u:p@h/d", ("h", 5432), "u:p", "d"),
        ("postgresql://h/d?user=u&password=p%26q", ("h", 5432), "u:p&q", "d"),
        ('"postgres://u:p@h/d"\n', ("h", 5432), "u:p", "d"),
        # passwords: escaped, and as they are
        ("postgres://u%40corp:p%40%2F%23%25%3A@h:1/d", ("h", 1), "u@corp:p@/#%:", "d"),
        ("postgres://u:p@ss@h:1/d", ("h", 1), "u:p@ss", "d"),
        ("postgres://u:a#b@h:1/d", ("h", 1), "u:a#b", "d"),
        ("postgres://u:12#x@h:1/d", ("h", 1), "u:12#x", "d"),
        ("postgres://u:a/b?c@h:1/d?sslmode=require", ("h", 1), "u:a/b?c", "d"),
        ("postgres://u:12/x@h:1/d", ("h", 1), "u:12/x", "d"),
        ("postgres://u:12?x@h:1/d", ("h", 1), "u:12?x", "d"),
        ("postgres://u:100%&+=x@h:1/d", ("h", 1), "u:100%&+=x", "d"),
        ("postgres://u:a:b@h/d", ("h", 5432), "u:a:b", "d"),
        # addresses
        ("postgres://u:p@[2001:db8::1]:6000/d", ("2001:db8::1", 6000), "u:p", "d"),
        ("postgres://u:p@[::1]/d", ("::1", 5432), "u:p", "d"),
        ("postgres://u@%2Fvar%2Frun%2Fpostgresql/d", "/var/run/postgresql/.s.PGSQL.5432", "u:", "d"),
        ("postgresql:///d?host=/cloudsql/proj:region:db&user=u&password=p", "/cloudsql/proj:region:db/.s.PGSQL.5432", "u:p", "d"),
        ("postgresql://u@/d?host=/run/pg&port=6000", "/run/pg/.s.PGSQL.6000", "u:", "d"),
        ("postgres://u:p@h/d%20e", ("h", 5432), "u:p", "d e"),
    ],
)  # fmt: skip
def test_urls_as_they_are_handed_out(url: str, address: object, login: str, database: str) -> None:
    addresses, rest = understood(url)
    assert addresses == [address]
    assert f"{rest.user}:{rest.password or ''}" == login
    assert rest.database == database
    assert urls.is_postgres(url)


def test_several_hosts_are_tried_in_order_until_one_is_the_primary() -> None:
    addresses, rest = understood("postgres://u:p@a:1,b,[::1]:3/d?target_session_attrs=read-write")
    assert addresses == [("a", 1), ("b", 5432), ("::1", 3)]
    assert rest.target_session_attrs.value == "read-write"


def test_server_settings_are_handed_on_and_ours_is_a_name_to_find_us_by() -> None:
    url = "postgres://u@h/d?options=endpoint%3Dep-a-b&application_name=shop%20wa&keepalives=1"
    assert understood(url)[1].server_settings == {"options": "endpoint=ep-a-b", "application_name": "shop wa"}
    assert understood("postgres://u@h/d")[1].server_settings == {"application_name": "holdfast"}


@pytest.mark.parametrize(
    ("said", "mode"),
    [
        ("sslmode=disable", "disable"), ("sslmode=require", "require"), ("sslmode=no-verify", "require"),
        ("ssl=true", "require"), ("ssl=false", "disable"), ("sslmode=REQUIRE", "require"), ("", "prefer"),
        ("ssl=true&sslmode=disable", "disable"),
    ],
)  # fmt: skip
def test_tls_as_other_clients_say_it(said: str, mode: str) -> None:
    assert understood(f"postgres://u@h/d?{said}")[1].sslmode.name == mode


@pytest.mark.parametrize(
    ("said", "trusts"),
    [
        ("sslmode=verify-full", "verify-full"), ("sslmode=verify-ca", "verify-ca"),
        ("sslmode=verify-full&sslrootcert=system", "verify-full"), ("sslmode=require&sslrootcert=system", "require"),
        ("sslmode=verify-full&sslrootcert=/etc/ca.pem", None), ("sslmode=require", None),
    ],
)  # fmt: skip
def test_verified_tls_without_a_file_trusts_the_systems_authorities(said: str, trusts: str | None) -> None:
    assert urls.postgres(f"postgres://u@h/d?{said}").system_ca == trusts


@pytest.mark.parametrize(
    ("url", "pooled"),
    [
        ("postgres://u@ep-a-pooler.eu.aws.neon.tech/d", True),
        ("postgres://u@aws-0.pooler.supabase.com:6543/d", True),
        ("postgres://u@db.ref.supabase.co:6543/d", True),
        ("postgres://u@h/d?pgbouncer=true", True),
        ("postgres://u@pgbouncer:6432/d", True),
        ("postgres://u@ep-a.eu.aws.neon.tech/d", False),
        ("postgres://u@h/d?pgbouncer=false", False),
        ("postgres://u@h:5432/d", False),
    ],
)
def test_urls_that_say_that_a_pooler_stands_between(url: str, pooled: bool) -> None:
    assert urls.postgres(url).pooled is pooled


def test_limits_in_the_url() -> None:
    target = urls.postgres("postgres://u@h/d?connection_limit=3&connect_timeout=7")
    assert (target.size, target.timeout) == (3, 7)
    unlimited = urls.postgres("postgres://u@h/d?connect_timeout=0")
    assert (unlimited.size, unlimited.timeout) == (None, None)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"postgres://u:{PASSWORD}@h/d?sslmod=require&foo=1", r"does not know: 'sslmod', 'foo'"),
        (f"postgres://u:{PASSWORD}@h/d?sslmode=sometimes", "sslmode must be"),
        (f"postgres://u:{PASSWORD}@h/d?connection_limit=many", "connection_limit must be a whole number"),
        (f"postgres://u:{PASSWORD}@h/d?schema=wa", "'schema' is not supported"),
        (f"postgres://u:{PASSWORD}@h:port/d", "cannot be read"),
        (f"postgres://u:{PASSWORD}@::1/d", "cannot be read"),
        (f"u:{PASSWORD}@h/d", "no '://'"),
        (f"mysql://u:{PASSWORD}@h/d", "'mysql' is not supported"),
    ],
)
def test_mistakes_are_named_and_the_url_is_not_shown(url: str, said: str) -> None:
    with pytest.raises(InvalidSettings, match=said) as caught:
        open_store(url, MovedClock())
    assert "HOLDFAST_DATABASE_URL" in caught.value.sentence
    assert PASSWORD not in str(caught.value)


async def test_no_target_shows_its_url() -> None:
    assert PASSWORD not in repr(urls.postgres(f"postgres://u:{PASSWORD}@h/d"))


async def test_real_server_takes_a_password_with_every_odd_character() -> None:
    """Over TCP with a real login; a wrong password is said so, and neither is shown."""
    odd = "a@b:c/d?e#f%g&h=i+j k'\"ü"
    port = free_port()
    with Postgres(tcp=port) as server:
        admin = await asyncpg.connect(server.dsn("postgres"))
        literal = odd.replace("'", "''")
        await admin.execute(f"CREATE ROLE shop LOGIN PASSWORD '{literal}'")
        await admin.execute("CREATE DATABASE shop OWNER shop")
        await admin.close()
        server.require_password()
        for written in (quote(odd, safe=""), odd.replace("%", "%25")):
            store = open_store(f"postgres://shop:{written}@127.0.0.1:{port}/shop?sslmode=prefer", MovedClock())
            await store.open()
            await store.create_session("a", "baileys", {}, "running")
            await store._driver.write(lambda c: c.exec_driver_sql("DROP OWNED BY shop").close())
            await store.close()
        with pytest.raises(StoreUnavailable, match="refuses the login") as caught:
            await open_store(f"postgres://shop:{PASSWORD}@127.0.0.1:{port}/shop", MovedClock()).open()
        assert PASSWORD not in str(caught.value)
        with pytest.raises(StoreUnavailable, match="no such database"):
            await open_store(
                f"postgres://shop:{quote(odd)}@127.0.0.1:{port}/{os.urandom(4).hex()}", MovedClock()
            ).open()
