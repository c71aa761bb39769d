#!/usr/bin/env python3
"""Verifies an exported ledger with nothing but Python's standard library.

    formledger export --tenant acme --out acme.ndjson
    python3 docs/verify-ledger.py acme.ndjson [--root HEX] [--position N]

Reads one recorded event a line, recomputes every payload hash, leaf hash and the RFC 6962 tree root, and prints
`tenant position root_hash`. Exits 1 with the first difference. With --root (and --position for a root taken earlier) the
recomputed root must equal the one given, for example the `root_hash` that `GET /v1/ledger` answered on some day.
docs/proof.md describes the format in words.
"""
import argparse
import hashlib
import json
import re
import sys
from decimal import Decimal

# The members of a line, in the order in which an export writes them; all but the last two are the envelope.
MEMBERS = ("tenant", "position", "aggregate_type", "aggregate_id", "sequence", "event_id", "event_type", "event_version",
           "recorded_at", "metadata", "payload", "leaf_hash")
ENVELOPE, NUMBERS = MEMBERS[:10], ("position", "sequence")
ORIGIN = {"actor", "causationid", "correlationid", "topic"}
# What a payload may hold: levels of arrays and objects, and the largest integer that every reader of JSON carries.
NESTING_MAX, INTEGER_MAX = 100, 2**53 - 1
TENANT, TIME = re.compile("[a-z0-9][a-z0-9-]{0,62}"), re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def once(pairs: list) -> dict:
    """Refuses a name that is given twice: readers differ in which of the two they believe."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member is given twice")
    return members


def read(line: bytes) -> tuple:
    """The members of a line and the payload's exact text. A line is nothing but what the leaf covers, and the leaf's hash: written
    again from what was read of it, it is the same to the byte."""
    text = line.decode()
    event = json.loads(text, object_pairs_hook=once)
    if type(event) is not dict or set(event) != set(MEMBERS):
        raise ValueError(f"it is not an object with the members {', '.join(MEMBERS)}")
    origin, texts = event["metadata"], set(MEMBERS) - {*NUMBERS, "metadata", "payload"}
    if type(origin) is not dict or not {"actor", "correlationid"} <= set(origin) <= ORIGIN or type(event["payload"]) is not dict:
        raise ValueError("`metadata` or `payload` is not what an export writes")
    if {type(event[name]) for name in NUMBERS} != {int} or {type(text) for text in (*origin.values(), *map(event.get, texts))} != {str}:
        raise ValueError("positions and sequences are whole numbers, everything else is text")
    if not TENANT.fullmatch(event["tenant"]) or not TIME.fullmatch(event["recorded_at"]):
        raise ValueError("`tenant` or `recorded_at` is not written as an export does")
    event["metadata"] = dict(sorted(origin.items()))
    before = canonical({name: event[name] for name in ENVELOPE})[:-1] + ',"payload":{'
    behind = "}," + canonical({"leaf_hash": event["leaf_hash"]})[1:]
    if not text.startswith(before) or not text.endswith(behind):
        raise ValueError("it is not written as an export does, so it may hold what no leaf covers")
    payload = text[len(before) - 1:1 - len(behind)]
    if stored(event["payload"]) != payload:
        raise ValueError("its payload is not in the canonical form of RFC 8785")
    return event, payload


def stored(value: object, depth: int = 1) -> str:
    """A payload as RFC 8785 has it written."""
    if type(value) in (dict, list) and depth > NESTING_MAX:
        raise ValueError(f"its payload is nested deeper than {NESTING_MAX} levels")
    if type(value) is dict:
        names = sorted(value, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join(f"{canonical(name)}:{stored(value[name], depth + 1)}" for name in names) + "}"
    if type(value) is list:
        return "[" + ",".join(stored(item, depth + 1) for item in value) + "]"
    return number(value) if type(value) in (int, float) else canonical(value)


def number(value: float) -> str:
    """A number as ECMAScript writes it, which is the shortest text that reads as the same double."""
    if type(value) is int and abs(value) <= INTEGER_MAX:
        return str(value)
    if type(value) is int or value - value != 0:
        raise ValueError("its payload holds a number that no double carries")
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    digits, point = "".join(map(str, digits)), len(digits) + exponent
    if value == 0:
        return "0"
    if 0 < point <= 21:
        digits = digits.ljust(point, "0")
        text = digits[:point] + ("." + digits[point:] if digits[point:] else "")
    elif -6 < point <= 0:
        text = "0." + "0" * -point + digits
    else:
        text = digits[0] + ("." + digits[1:] if digits[1:] else "") + f"e{point - 1:+d}"
    return "-" * sign + text


def canonical(value: object) -> str:
    # Of an envelope: strings and small integers only, ASCII member names: without blanks this is RFC 8785 where the members are sorted.
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def leaf_hash(event: dict, payload_text: str) -> bytes:
    """RFC 6962 section 2.1: SHA-256(0x00 || leaf), the leaf being the envelope in RFC 8785 canonical form."""
    envelope = {name: event[name] for name in ENVELOPE}
    envelope["payload_sha256"] = sha256(payload_text.encode()).hex()
    return sha256(b"\x00" + canonical(dict(sorted(envelope.items()))).encode())


def push(frontier: list, leaf: bytes) -> None:
    """Appends a leaf; the frontier holds (height, hash) of the complete subtrees, tallest first."""
    height, node = 0, leaf
    while frontier and frontier[-1][0] == height:
        node = sha256(b"\x01" + frontier.pop()[1] + node)
        height += 1
    frontier.append((height, node))


def root(frontier: list) -> bytes:
    if not frontier:
        return sha256(b"")
    node = frontier[-1][1]
    for _, left in reversed(frontier[:-1]):
        node = sha256(b"\x01" + left + node)
    return node


def fail(message: str) -> None:
    sys.exit(f"NOT VERIFIED: {message}")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("export")
    arguments.add_argument("--root", help="root hash to compare with, in hex")
    arguments.add_argument("--position", type=int, help="the position at which that root was taken; default: the last")
    given = arguments.parse_args()

    frontier, sequences, tenant, position, previous = [], {}, None, 0, ""
    roots = {0: root([]).hex()}
    try:
        lines = open(given.export, "rb")
    except OSError as error:
        fail(str(error))
    with lines:
        for line in lines:
            position += 1
            try:
                event, payload_text = read(line.removesuffix(b"\n"))
            except (ValueError, RecursionError) as error:
                fail(f"line {position} is not a whole event: {error}")
            tenant = event["tenant"] if tenant is None else tenant
            stream = (event["aggregate_type"], event["aggregate_id"])
            if event["tenant"] != tenant:
                fail(f"line {position} belongs to tenant {event['tenant']}, not {tenant}")
            if event["position"] != position:
                fail(f"line {position} holds position {event['position']}: positions must be 1, 2, 3, …")
            if event["sequence"] != sequences.get(stream, 0) + 1:
                fail(f"position {position} holds sequence {event['sequence']} of {stream}, expected {sequences.get(stream, 0) + 1}")
            if event["recorded_at"] < previous:
                fail(f"position {position} was recorded before the one in front of it")
            leaf = leaf_hash(event, payload_text)
            if leaf.hex() != event["leaf_hash"]:
                fail(f"position {position}: leaf hash is {leaf.hex()}, the export says {event['leaf_hash']!r}")
            sequences[stream], previous = event["sequence"], event["recorded_at"]
            push(frontier, leaf)
            if position == given.position:
                roots[position] = root(frontier).hex()
    if tenant is None:
        fail("the export holds no event")
    computed = roots[position] = root(frontier).hex()
    at = position if given.position is None else given.position
    if at not in roots:
        fail(f"the export ends at position {position}; there is no position {at} in it")
    if given.root is not None and given.root.lower() != roots[at]:
        fail(f"the root at position {at} is {roots[at]}, not {given.root}")
    print(tenant, position, computed)


if __name__ == "__main__":
    main()
