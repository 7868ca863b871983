"""`/api/whatsapp` over the real HTTP server: accounts, their ids, their QRs, and what is refused."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx

from holdfast.domain.accounts import AccountRow
from holdfast.domain.identity import account_name
from holdfast.domain.rows import Lease
from holdfast.domain.state import Phase, State
from tests.support.leases import take_lease
from tests.support.served import Served, check

PHONE = "+40 712 345 678"
DIGITS = "40712345678"
ID = account_name(DIGITS)
NEVER = 'Not connected. Click "Connect WhatsApp" to start.'
PICTURE = "data:image/png;base64,iVBOR"


def refused(answer: httpx.Response, status: int, code: str, part: str = "") -> dict[str, Any]:
    """The error body, after checking its shape."""
    assert answer.status_code == status, answer.text
    said: dict[str, Any] = answer.json()
    assert said["success"] is False
    assert said["code"] == code, said
    assert part in said["error"], said
    assert said["error"]
    assert "statusCode" not in said
    return said


async def add(it: Served, **more: Any) -> httpx.Response:
    return await it.http.post("/api/whatsapp/add-account", json={"phone": PHONE, "company_id": "c1", **more})


async def regenerate(it: Served, **which: str) -> httpx.Response:
    return await it.http.post("/api/whatsapp/regenerate-qr", json=which)


async def status(it: Served, company: str = "c1") -> dict[str, Any]:
    answer = await it.http.get("/api/whatsapp/status", params={"company_id": company})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def working(it: Served) -> None:
    """Company c1's account is added, scanned and connected."""
    assert (await add(it)).status_code == 201
    assert (await regenerate(it, company_id="c1")).status_code == 200
    it.engine.scan(ID, DIGITS)
    await it.until(ID, "WORKING")


def test_from_nothing_to_connected_and_back_after_a_logout(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        assert await status(it) == {
            "is_connected": False,
            "status": "disconnected",
            "message": NEVER,
            "needs_qr": False,
            "requiresQR": False,
            "session": None,
            "phone": None,
        }
        made = await add(it, name="Shop")
        assert (made.status_code, made.json()["accountId"]) == (201, ID)
        shown = await regenerate(it, accountId=ID)
        assert shown.json().keys() == {"success", "accountId", "status", "qr"}
        assert (shown.json()["status"], shown.json()["qr"][:27]) == ("qr_ready", PICTURE)
        now = await status(it)
        assert (now["status"], now["requiresQR"], now["qr"]) == ("qr_ready", True, shown.json()["qr"])
        it.engine.scan(ID, DIGITS)
        await it.until(ID, "WORKING")
        now = await status(it)
        assert (now["is_connected"], now["status"], now["session"], now["phone"]) == (
            True,
            "connected",
            ID,
            f"+{DIGITS}",
        )
        text = {"company_id": "c1", "to": "+40 722 000 111", "message": "hello"}
        sent = await it.http.post("/api/whatsapp/send-message", json=text)
        assert (sent.status_code, sent.json()["status"]) == (200, "sent")
        assert it.engine.sent == [(ID, sent.json()["messageId"], "hello")]

        it.engine.account(ID).linked = False
        it.engine.close_with(ID, 401, "device_removed")
        await it.until(ID, "FAILED")
        now = await status(it)
        assert (now["is_connected"], now["status"], now["requiresQR"], now["phone"]) == (
            False,
            "needs_qr",
            True,
            f"+{DIGITS}",
        )
        refused(await it.http.post("/api/whatsapp/send-message", json=text), 422, "wrong_status", "QR")
        assert (await regenerate(it, company_id="c1")).status_code == 200
        it.engine.scan(ID, DIGITS)
        await it.until(ID, "WORKING")
        chats = (await it.http.get(f"/api/{ID}/chats/{'40722000111@c.us'}/messages")).json()
        assert [message["body"] for message in chats] == ["hello"]
        listed = (await it.http.get("/api/whatsapp/accounts")).json()["accounts"]
        assert [(a["accountId"], a["company_id"], a["name"], a["status"]) for a in listed] == [
            (ID, "c1", "Shop", "connected")
        ]

    check(tmp_path, body)


def test_the_same_phone_has_one_account_however_it_is_written_and_asked(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        answers = await asyncio.gather(*(add(it, phone=p) for p in (PHONE, DIGITS, f"00{DIGITS}", f"+{DIGITS}")))
        assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]
        assert {answer.json()["accountId"] for answer in answers} == {ID}
        shown = await asyncio.gather(*(regenerate(it, company_id="c1") for _ in range(3)))
        assert len({answer.json()["qr"] for answer in shown}) == 1, "one pairing, one QR"
        assert [what for _, what, _ in it.engine.log].count("pair") == 1

    check(tmp_path, body)


def test_two_connects_at_once_have_one_outcome(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        asked = [it.http.post("/api/whatsapp/connect", json={"company_id": "acme"}) for _ in range(4)]
        answers = [answer.json() for answer in await asyncio.gather(*asked)]
        assert {(a["accountId"], a["status"], a["qr"][:27]) for a in answers} == {("acme", "qr_ready", PICTURE)}
        assert len({a["qr"] for a in answers}) == 1
        it.engine.scan("acme", DIGITS)
        await it.until("acme", "WORKING")
        again = (await it.http.post("/api/whatsapp/connect", json={"company_id": "acme"})).json()
        assert (again["is_connected"], again["qr"], again["phone"]) == (True, None, f"+{DIGITS}")
        assert [what for _, what, _ in it.engine.log].count("pair") == 1

    check(tmp_path, body)


def test_a_user_has_the_short_name_and_another_user_never_the_same_session(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        async def connect(user: str) -> str:
            answer = await it.http.post("/api/whatsapp/connect", json={"user_id": user})
            return str(answer.json()["accountId"])

        assert await connect("6828510b49ea27a15a2226c0") == "u_6828510b49ea"
        other = await connect("6828510b49ea27a15a2226c1")
        assert other == "u_6828510b49ea27a15a2226c1"
        assert await connect("6828510b49ea27a15a2226c1") == other
        assert await connect("6828510b49ea27a15a2226c0") == "u_6828510b49ea"

    check(tmp_path, body)


def test_ids_of_older_schemes_find_their_account(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        hashed = ID.rpartition("_")[2]
        await add(it, aliases=["account_dev_0af3"])
        for older in ("account_dev_0af3", f"account_production_{hashed}", f"account_development_{hashed}"):
            found = await it.http.get("/api/whatsapp/status", params={"accountId": older})
            assert found.json()["session"] == ID
            assert (await it.http.get(f"/api/sessions/{older}")).json()["name"] == ID
        unknown = {"accountId": "account_dev_ffffffffffff"}
        refused(await it.http.get("/api/whatsapp/status", params=unknown), 404, "account_not_found")

    check(tmp_path, body)


def test_an_account_with_an_older_id_stays_the_phones_session(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await it.linked("account_dev_77aa")  # with the engine's usual phone
        made = await add(it)
        assert (made.status_code, made.json()) == (
            200,
            {"success": True, "accountId": "account_dev_77aa", "status": "connected"},
        )
        assert (await it.http.get(f"/api/sessions/{ID}")).json()["name"] == "account_dev_77aa"

    check(tmp_path, body)


def test_what_is_preserved(tmp_path: Path) -> None:
    """S4.j: through logout and re-pairing the account, its company and its ids stay; with the session they go."""

    async def body(it: Served) -> None:
        await working(it)
        await it.http.post("/api/whatsapp/add-account", json={"phone": PHONE, "aliases": ["account_dev_1"]})
        assert (await it.http.post(f"/api/sessions/{ID}/logout")).status_code == 201
        await it.until(ID, "SCAN_QR_CODE")
        now = await status(it)
        assert (now["status"], now["session"]) == ("qr_ready", ID)
        assert (await regenerate(it, accountId="account_dev_1")).json()["accountId"] == ID
        await it.http.delete(f"/api/sessions/{ID}")
        assert (await status(it))["message"] == NEVER
        refused(await regenerate(it, accountId="account_dev_1"), 404, "account_not_found")
        assert (await it.http.get("/api/whatsapp/accounts")).json() == {"success": True, "accounts": []}

    check(tmp_path, body)


def test_another_phone_than_the_accounts_is_refused(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await add(it)
        await regenerate(it, company_id="c1")
        it.engine.scan(ID, "40798765432")
        await it.until(ID, "FAILED")
        now = await status(it)
        assert now["status"] == "needs_qr"
        assert "+407****78" in now["message"]
        assert "+407****32" in now["message"]
        confirmed = await it.http.post(f"/api/holdfast/sessions/{ID}/pair", json={"new_number": True})
        assert confirmed.status_code in (200, 201), confirmed.text
        await it.until(ID, "SCAN_QR_CODE")
        it.engine.scan(ID, "40798765432")
        await it.until(ID, "WORKING")
        assert (await status(it))["phone"] == "+40798765432"
        again = await add(it, phone="+40798765432")
        assert (again.status_code, again.json()["accountId"]) == (200, ID)
        refused(await add(it), 409, "account_taken", "+407****32")
        other = (await add(it, company_id="c2")).json()["accountId"]
        assert other.startswith(ID), "somebody else has the old number now"
        assert other != ID
        assert (await add(it, company_id="c2")).json()["accountId"] == other
        assert (await status(it))["phone"] == "+40798765432"

    check(tmp_path, body)


def test_what_cannot_be(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        post = it.http.post
        refused(await add(it, phone="0712 345 678"), 422, "invalid_phone", "local format")
        refused(await add(it, phone="no phone"), 422, "invalid_phone")
        refused(await post("/api/whatsapp/add-account", json={"company_id": "c1"}), 400, "bad_request", "phone")
        refused(await post("/api/whatsapp/add-account", content=b"{"), 400, "bad_request", "JSON")
        assert (await it.http.get("/api/sessions?all=true")).json() == []
        await add(it)
        refused(await add(it, company_id="c2"), 409, "account_taken", "c1")
        refused(await add(it, phone="+40798765432"), 409, "account_taken", "+407****78")
        assert len((await it.http.get("/api/sessions?all=true")).json()) == 1, "nothing half made"
        for path in ("regenerate-qr", "send-message"):
            more = {"to": "+40722000111", "message": "x"}
            nobody = await post(f"/api/whatsapp/{path}", json={"company_id": "nobody", **more})
            refused(nobody, 404, "account_not_found", "nobody")
            refused(await post(f"/api/whatsapp/{path}", json=more), 400, "bad_request", "accountId")
        refused(await it.http.get("/api/whatsapp/status"), 400, "bad_request", "company_id")
        local = {"company_id": "c1", "to": "0722 000 111", "message": "x"}
        refused(await post("/api/whatsapp/send-message", json=local), 422, "invalid_phone", "local format")
        pairing = {"company_id": "c1", "to": "+40722000111", "message": "x"}
        await it.until(ID, "SCAN_QR_CODE")
        refused(await post("/api/whatsapp/send-message", json=pairing), 422, "wrong_status")

    check(tmp_path, body)


def test_a_connected_account_is_not_unlinked_by_asking_for_a_qr(tmp_path: Path) -> None:
    async def body(it: Served) -> None:
        await working(it)
        refused(await regenerate(it, company_id="c1"), 422, "wrong_status", "log it out first")
        assert (await status(it))["is_connected"] is True

    check(tmp_path, body)


def test_good_credentials_are_not_thrown_away_by_asking_for_a_qr(tmp_path: Path) -> None:
    """Neither those of a session that heals, nor those of a stopped one; who means it logs out first."""

    async def body(it: Served) -> None:
        await working(it)
        it.engine.close_with(ID, 402, "temp_banned", {"expire": "600"})
        await it.until(ID, "FAILED")
        refused(await regenerate(it, company_id="c1"), 422, "wrong_status", f"/api/sessions/{ID}/logout")
        now = await status(it)
        assert (now["status"], now["requiresQR"]) == ("failed", False)
        await it.http.post(f"/api/sessions/{ID}/stop")
        refused(await regenerate(it, company_id="c1"), 422, "wrong_status", "log it out first")
        await it.http.post(f"/api/sessions/{ID}/start")
        await it.until(ID, "WORKING")
        it.engine.close_with(ID, 402, "temp_banned", {"expire": "600"})
        await it.until(ID, "FAILED")
        await it.http.post(f"/api/sessions/{ID}/logout")
        assert (await regenerate(it, company_id="c1")).status_code == 200

    check(tmp_path, body)


def test_where_another_instance_holds_it_and_cannot_be_asked(tmp_path: Path) -> None:
    """S4.c, in the report's own words; what the store knows is told all the same."""

    async def body(it: Served) -> None:
        row, _ = await it.store.save_account(AccountRow(ID, "c1", phone=DIGITS), "baileys")
        await it.store.order(ID, "running", None)
        lease = await take_lease(it.store, row.session, "another-instance", 300.0)
        assert isinstance(lease, Lease)
        state = State(phase=Phase.PAIRING, code="pairing", message="Scan it.", live=True, connection=1)
        facts = {**state.to_json(), "epoch": lease.epoch}
        await it.store.save_state(ID, lease.epoch, facts, me=None, timeline=None)
        answer = await regenerate(it, company_id="c1")
        said = refused(answer, 503, "passive")
        assert said["error"] == "PASSIVE mode: another instance holds lock; retry shortly"
        assert int(answer.headers["retry-after"]) > 0
        now = await status(it)
        assert (now["status"], now["requiresQR"], "qr" in now) == ("qr_ready", True, False)

    check(tmp_path, body)
