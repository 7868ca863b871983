"""What businesses send and what people answer them: templates, buttons, lists, products, orders, payments (pure).

Each reader returns (text, facts). The text is what a person reads first; the facts stand under `_data`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

Body = Mapping[str, Any]
Read = tuple[str, dict[str, Any]]


def _map(value: object) -> Body:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Body]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _first(*values: object) -> str:
    return next((str(value) for value in values if value and not isinstance(value, Mapping | list)), "")


def _lines(*values: object) -> str:
    return "\n".join(str(value) for value in values if value)


def _present(**facts: Any) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value not in (None, "", [], {})}


def _json(text: object) -> Body:
    """Parameters that a sender wrote as JSON; empty if they are none, or hold NaN or half a character."""
    try:
        found = json.loads(str(text or ""))
        json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return {}
    return _map(found)


# --- amounts ----------------------------------------------------------------------------------------------------


def _decimal(value: object, divisor: object) -> str:
    """A number of smallest units as a decimal text: 12500 of 1000 is `12.5`."""
    try:
        number, unit = int(str(value)), int(str(divisor))
    except (TypeError, ValueError):
        return ""
    return format((Decimal(number) / unit).normalize(), "f") if unit > 0 else ""


def _thousandths(value: object) -> str:
    return _decimal(value, 1000) if value is not None else ""


def _money(value: object) -> tuple[str, str]:
    """(amount, currency) of `Money`: `offset` is how many smallest units make one."""
    money = _map(value)
    if money.get("value") is None:
        return "", ""
    return _decimal(money["value"], money.get("offset") or 1), _first(money.get("currencyCode"))


def _priced(amount: str, currency: str) -> str:
    return f"{amount} {currency}".strip()


# --- templates and interactive messages -------------------------------------------------------------------------


def template(part: Body) -> Read:
    """`templateMessage`: one of three kinds of template."""
    if interactive_ := _map(part.get("interactiveMessageTemplate")):
        return interactive(interactive_)
    for name in ("hydratedTemplate", "hydratedFourRowTemplate"):
        if hydrated := _map(part.get(name)):
            return _hydrated(hydrated)
    return _four_rows(_map(part.get("fourRowTemplate")))


def _shown(text: str, *, title: str = "", footer: str = "", buttons: Sequence[Body] = (), **more: Any) -> Read:
    facts = _present(title=title, footer=footer, buttons=list(buttons), **more)
    return text or title, {"template": facts} if facts else {}


def _hydrated(part: Body) -> Read:
    return _shown(
        _first(part.get("hydratedContentText")),
        title=_first(part.get("hydratedTitleText")),
        footer=_first(part.get("hydratedFooterText")),
        buttons=[_template_button(button) for button in _list(part.get("hydratedButtons"))],
    )


def _template_button(button: Body) -> Body:
    for kind, target in (("quickReplyButton", "id"), ("urlButton", "url"), ("callButton", "phoneNumber")):
        if one := _map(button.get(kind)):
            return _present(text=_first(one.get("displayText")), **{target: _first(one.get(target))})
    return {}


def _four_rows(part: Body) -> Read:
    title = highly_structured(_map(part.get("highlyStructuredMessage")))[0]
    footer = highly_structured(_map(part.get("footer")))[0]
    return _shown(highly_structured(_map(part.get("content")))[0], title=title, footer=footer)


def highly_structured(part: Body) -> Read:
    """`highlyStructuredMessage`: what it became, or its parameters where only the business knows the words."""
    if hydrated := _map(part.get("hydratedHsm")):
        return template(hydrated)
    listed = part.get("params")
    spoken = [_first(one) for one in listed] if isinstance(listed, list) else []
    spoken += [_first(one.get("default")) for one in _list(part.get("localizableParams"))]
    return " ".join(filter(None, spoken)) or _first(part.get("elementName")), {}


def interactive(part: Body) -> Read:
    """`interactiveMessage`: body, header, footer, buttons of flows, cards of a carousel."""
    header, flow = _map(part.get("header")), _map(part.get("nativeFlowMessage"))
    cards = [interactive(card) for card in _list(_map(part.get("carouselMessage")).get("cards"))]
    buttons = [_flow_button(button) for button in _list(flow.get("buttons"))]
    text, facts = _shown(
        _first(_map(part.get("body")).get("text")),
        title=_lines(header.get("title"), header.get("subtitle")),
        footer=_first(_map(part.get("footer")).get("text")),
        buttons=buttons,
        cards=[{"text": text, **found.get("template", {})} for text, found in cards],
    )
    if product_ := _map(header.get("productMessage")):
        facts |= product(product_)[1]
    for button in _list(flow.get("buttons")):
        facts |= _ordered(_json(button.get("buttonParamsJson")))
    return text or _lines(*(text for text, _ in cards)), facts


def _flow_button(button: Body) -> Body:
    params = _json(button.get("buttonParamsJson"))
    return _present(
        text=_first(params.get("display_text"), params.get("title")),
        id=_first(params.get("id")),
        url=_first(params.get("url")),
        name=_first(button.get("name")),
    )


def _ordered(params: Body) -> dict[str, Any]:
    """An order in a flow's button (`review_and_pay`, `payment_info` ...)."""
    total = _map(params.get("total_amount"))
    if total.get("value") is None:
        return {}
    amount = _decimal(total["value"], total.get("offset") or 1)
    currency = _first(params.get("currency"))
    order_ = _map(params.get("order"))
    items = [
        _present(name=_first(item.get("name")), quantity=item.get("quantity"))
        for item in _list(order_.get("items"))
    ]  # fmt: skip
    return {
        "order": _present(
            id=_first(params.get("reference_id")),
            amount=amount,
            currency=currency,
            status=_first(order_.get("status")),
            items=items,
        )
    }


def buttons(part: Body) -> Read:
    """`buttonsMessage`."""
    listed = [
        _present(id=_first(one.get("buttonId")), text=_first(_map(one.get("buttonText")).get("displayText")))
        for one in _list(part.get("buttons"))
    ]
    title, footer = _first(part.get("text")), _first(part.get("footerText"))
    return _shown(_first(part.get("contentText")), title=title, footer=footer, buttons=listed)


def listing(part: Body) -> Read:
    """`listMessage`: rows by section, or products."""
    rows = [
        _present(id=_first(row.get("rowId")), text=_first(row.get("title")), description=_first(row.get("description")))
        for section in _list(part.get("sections"))
        for row in _list(section.get("rows"))
    ]
    return _shown(
        _first(part.get("description")),
        title=_first(part.get("title"), _map(part.get("productListInfo")).get("headerText")),
        footer=_first(part.get("footerText")),
        buttons=rows,
    )


# --- replies ----------------------------------------------------------------------------------------------------


def _reply(kind: str, id_: str, text: str, **more: Any) -> Read:
    return text or id_, {"reply": {"kind": kind, "id": id_, "text": text or id_, **_present(**more)}}


def button_reply(part: Body) -> Read:
    """`buttonsResponseMessage`."""
    return _reply("button", _first(part.get("selectedButtonId")), _first(part.get("selectedDisplayText")))


def template_reply(part: Body) -> Read:
    """`templateButtonReplyMessage`."""
    chosen = _first(part.get("selectedId")), _first(part.get("selectedDisplayText"))
    return _reply("template_button", *chosen, index=part.get("selectedIndex"))


def list_reply(part: Body) -> Read:
    """`listResponseMessage`."""
    row = _first(_map(part.get("singleSelectReply")).get("selectedRowId"))
    text = _first(part.get("title"), part.get("description"))
    return _reply("list", row, text, description=_first(part.get("description")))


def flow_reply(part: Body) -> Read:
    """`interactiveResponseMessage`: the choice stands in JSON; what a form was filled with is given whole."""
    flow, text = _map(part.get("nativeFlowResponseMessage")), _first(_map(part.get("body")).get("text"))
    params = _json(flow.get("paramsJson"))
    id_ = _first(*(params.get(name) for name in ("id", "selectedId", "selected_id", "button_id", "row_id")))
    said = _first(text, *(params.get(name) for name in ("display_text", "title", "text", "name", "description")))
    if not said and not id_:
        said = _first(flow.get("paramsJson"), flow.get("name"))
    return _reply("flow", id_, said, name=_first(flow.get("name")), params=dict(params))


# --- trade ------------------------------------------------------------------------------------------------------


def product(part: Body) -> Read:
    """`productMessage`: a product, or a whole catalogue."""
    one, catalog = _map(part.get("product")), _map(part.get("catalog"))
    currency = _first(one.get("currencyCode"))
    facts = _present(
        id=_first(one.get("productId")),
        retailer_id=_first(one.get("retailerId")),
        title=_first(one.get("title"), catalog.get("title")),
        description=_first(one.get("description"), catalog.get("description")),
        price=_thousandths(one.get("priceAmount1000")),
        sale_price=_thousandths(one.get("salePriceAmount1000")),
        currency=currency,
        url=_first(one.get("url")),
        seller=_first(part.get("businessOwnerJid")),
        footer=_first(part.get("footer")),
    )
    text = _first(part.get("body")) or _lines(facts.get("title"), facts.get("description"))
    return text or _priced(facts.get("price", ""), currency), {"product": facts}


def order(part: Body) -> Read:
    """`orderMessage`: a cart that was sent."""
    amount, currency = _thousandths(part.get("totalAmount1000")), _first(part.get("totalCurrencyCode"))
    facts = _present(
        id=_first(part.get("orderId")),
        title=_first(part.get("orderTitle")),
        count=part.get("itemCount"),
        status=_first(part.get("status")),
        amount=amount,
        currency=currency,
        seller=_first(part.get("sellerJid")),
        token=_first(part.get("token")),
    )
    text = _first(part.get("message"), part.get("orderTitle"), _priced(amount, currency), part.get("orderId"))
    return text, {"order": facts}


def payment(kind: str) -> Callable[[Body], Read]:
    """`requestPaymentMessage`, `sendPaymentMessage`."""

    def read(part: Body) -> Read:
        amount, currency = _money(part.get("amount"))
        amount = amount or _thousandths(part.get("amount1000"))
        currency = currency or _first(part.get("currencyCodeIso4217"))
        note = _note(_map(part.get("noteMessage")))
        facts = _present(
            kind=kind, amount=amount, currency=currency, note=note, to=_first(part.get("requestFrom")),
            request=_first(_map(part.get("requestMessageKey")).get("id")),
        )  # fmt: skip
        return note or _priced(amount, currency) or f"payment {kind}", {"payment": facts}

    return read


def _note(message: Body) -> str:
    return _first(message.get("conversation"), _map(message.get("extendedTextMessage")).get("text"))


def invoice(part: Body) -> Read:
    """`invoiceMessage`: a note and a picture or PDF."""
    note = _first(part.get("note"))
    return note, {"payment": _present(kind="invoice", note=note, token=_first(part.get("token")))}


# --- invitations and the rest -----------------------------------------------------------------------------------


def invitation(part: Body) -> Read:
    """`groupInviteMessage`, `newsletterAdminInviteMessage`, `newsletterFollowerInviteMessageV2`."""
    name = _first(part.get("groupName"), part.get("newsletterName"))
    facts = _present(
        chat=_first(part.get("groupJid"), part.get("newsletterJid")),
        name=name,
        code=_first(part.get("inviteCode")),
        expires=part.get("inviteExpiration"),
    )
    return _first(part.get("caption"), name), {"invite": facts}


def event(part: Body) -> Read:
    """`eventMessage`: a party, a meeting."""
    place = _map(part.get("location"))
    facts = _present(
        name=_first(part.get("name")),
        description=_first(part.get("description")),
        location=_first(place.get("name"), place.get("address")),
        starts=part.get("startTime"),
        ends=part.get("endTime"),
        link=_first(part.get("joinLink")),
        cancelled=part.get("isCanceled") or None,
    )
    return _lines(part.get("name"), part.get("description")), {"event": facts}


def planned_call(part: Body) -> Read:
    """`scheduledCallCreationMessage`."""
    stamp = part.get("scheduledTimestampMs")
    starts = stamp / 1000 if isinstance(stamp, int | float) else None
    title = _first(part.get("title"))
    return title, {"event": _present(name=title, starts=starts, call=_first(part.get("callType")).lower())}


def sticker_pack(part: Body) -> Read:
    """`stickerPackMessage`."""
    return _first(part.get("caption"), part.get("name"), part.get("packDescription")), {}


def rich_response(part: Body) -> Read:
    """`richResponseMessage` of a bot: its texts in order."""
    return _lines(*_spoken(part)), {}


def _spoken(part: Body) -> Iterator[str]:
    for piece in _list(part.get("submessages")):
        code = _list(_map(piece.get("codeMetadata")).get("codeBlocks"))
        table = [_list_text(row.get("items")) for row in _list(_map(piece.get("tableMetadata")).get("rows"))]
        yield _lines(piece.get("messageText"), "".join(_first(one.get("codeContent")) for one in code), *table)


def _list_text(value: object) -> str:
    return " | ".join(_first(one) for one in value) if isinstance(value, list) else ""


def poll_result(part: Body) -> Read:
    """`pollResultSnapshotMessage`: how a poll ended."""
    votes = [
        {"name": _first(one.get("optionName")), "votes": one.get("optionVoteCount") or 0}
        for one in _list(part.get("pollVotes"))
    ]
    return _first(part.get("name")), {"poll_result": {"options": votes}}


def answer(part: Body) -> Read:
    """`questionResponseMessage`, `statusQuestionAnswerMessage`, `statusQuotedMessage`: a text about a status."""
    key = _map(part.get("key") or part.get("originalStatusId"))
    quoted = {"id": _first(key.get("id")), "participant": _first(key.get("participant"))}
    return _first(part.get("text")), {"quoted": quoted}
