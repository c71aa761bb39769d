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
import sys

ENVELOPE = ("aggregate_id", "aggregate_type", "event_id", "event_type", "event_version", "metadata", "position",
            "recorded_at", "sequence", "tenant")


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def raw_members(line: str) -> dict:
    """The members of a one-line JSON object as the exact texts that stand in the line (numbers keep their spelling)."""
    decoder, members, at = json.JSONDecoder(), {}, 1
    while line[at] != "}":
        at += line[at] == ","
        name, at = decoder.raw_decode(line, at)
        start = at + 1
        _, at = decoder.raw_decode(line, start)
        members[name] = line[start:at]
    return members


def leaf_hash(members: dict) -> bytes:
    """RFC 6962 section 2.1: SHA-256(0x00 || leaf), the leaf being the envelope in RFC 8785 canonical form."""
    envelope = {name: json.loads(members[name]) for name in ENVELOPE}
    envelope["payload_sha256"] = sha256(members["payload"].encode()).hex()
    # Strings and small integers only, ASCII member names: sorted and without blanks this is RFC 8785.
    leaf = json.dumps(envelope, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return sha256(b"\x00" + leaf.encode())


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
    arguments.add_argument("--root", help="root hash to compare with, lower-case hex")
    arguments.add_argument("--position", type=int, help="the position at which that root was taken; default: the last")
    given = arguments.parse_args()

    frontier, sequences, tenant, position, previous, at_position = [], {}, None, 0, "", None
    with open(given.export, encoding="utf-8") as lines:
        for line in lines:
            position += 1
            try:
                members = raw_members(line.rstrip("\n"))
                event = {name: json.loads(members[name]) for name in (*ENVELOPE, "leaf_hash")}
            except (ValueError, IndexError, KeyError) as error:
                fail(f"line {position} is not a whole event: {error!r}")
            tenant = tenant or event["tenant"]
            stream = (event["aggregate_type"], event["aggregate_id"])
            if event["tenant"] != tenant:
                fail(f"line {position} belongs to tenant {event['tenant']}, not {tenant}")
            if event["position"] != position:
                fail(f"line {position} holds position {event['position']}: positions must be 1, 2, 3, …")
            if event["sequence"] != sequences.get(stream, 0) + 1:
                fail(f"position {position} holds sequence {event['sequence']} of {stream}, expected {sequences.get(stream, 0) + 1}")
            if event["recorded_at"] < previous:
                fail(f"position {position} was recorded before the one in front of it")
            leaf = leaf_hash(members)
            if leaf.hex() != event["leaf_hash"]:
                fail(f"position {position}: leaf hash is {leaf.hex()}, the export says {event['leaf_hash']}")
            sequences[stream], previous = event["sequence"], event["recorded_at"]
            push(frontier, leaf)
            if position == given.position:
                at_position = root(frontier).hex()
    if tenant is None:
        fail("the export holds no event")
    computed = root(frontier).hex()
    compared = at_position if given.position else computed
    if given.position and compared is None:
        fail(f"the export ends at position {position}, before {given.position}")
    if given.root and given.root != compared:
        fail(f"the root at position {given.position or position} is {compared}, not {given.root}")
    print(tenant, position, computed)


if __name__ == "__main__":
    main()
