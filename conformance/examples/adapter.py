#!/usr/bin/env python3
"""One virtio port on the null backend, as an adapter; docs/guide/adapter.md tells the protocol.

statusquo replay chardev --scope null -- conformance/examples/adapter.py
"""
import json
import sys

NEW = dict.fromkeys("running launched driver control open known posted told".split(), False) | {"plugged": True}
SHOWN = {"running": "running", "driver": "driver", "port0 plugged": "plugged", "port0 guest was told": "known"}


class Blocked(Exception):
    """The world cannot do this now."""


def need(guard, why):
    if not guard:
        raise Blocked(why)


def act(s, verb, run=None, **_):
    guest, seen = s["running"] and s["driver"], {}
    if verb in ("stop", "cont", "migrate"):
        s["running"] = run if verb == "migrate" else verb == "cont"
        s["launched"] |= s["running"]
    elif verb in ("driver-init", "driver-reset", "system-reset"):
        need(verb == "system-reset" or s["running"] and s["driver"] == (verb == "driver-reset"), "of the driver")
        s.update(driver=verb == "driver-init", control=verb == "driver-init", open=False, known=False, posted=False)
    elif verb in ("post-control", "withhold-control"):
        need(guest and s["control"] == (verb == "withhold-control"), "the driver does so already, or is not there")
        s["control"] = not s["control"]
    elif verb in ("guest-open", "guest-close", "guest-write", "guest-post"):
        need(guest and s["known"] and not (verb == "guest-post" and s["posted"]), "the guest has no use for that")
        s.update({"guest-post": {"posted": True}, "guest-write": {}}.get(verb, {"open": verb == "guest-open"}))
        seen.update({"completed": 1, "stored": 1} if verb == "guest-write" else {})
    elif verb == "query":
        return {"reply": {"chardev": {"connected": s["launched"], "frontend_open": s["open"]}}}
    elif verb in ("plug", "unplug"):
        if s["plugged"] == (verb == "plug"):
            return {"reply": "duplicate-device" if s["plugged"] else "device-not-found"}
        s.update(plugged=verb == "plug", open=False, known=False, posted=False)
    elif verb != "save-load":
        raise ValueError(f"no action is named {verb}")
    if s["running"] and s["driver"] and s["control"] and s["plugged"] and not s["known"]:
        s["known"] = True
        seen.update({"announced": True, "guest-told": ["connected"]})
    if s["told"] != s["open"]:
        s["told"] = s["open"]
        seen["management-told"] = ["opened" if s["open"] else "closed"]
    return {"reply": "ok", "port0": seen}


def answer(state, request):
    match request:
        case {"reset": {"protocol": 1, "study": "chardev", "scope": "null"}}:
            state.update(NEW)
            return {"ready": {"protocol": 1, "name": "null port in Python"}}
        case {"apply": action}:
            verb, of = next(iter(action.items())) if isinstance(action, dict) else (action, {})
            try:
                return {"outcome": act(state, verb, **of)}
            except Blocked as why:
                return {"blocked": str(why)}
        case {"view": _}:
            return {"view": {fact: "yes" if state[key] else "no" for fact, key in SHOWN.items()}}
        case {"bye": _}:
            return {"bye": {}}
    raise ValueError("no such request, study or scope")


state = {}
for line in sys.stdin:
    number = None
    try:
        request = json.loads(line)
        number = request["id"]
        said = answer(state, request)
    except Exception as error:  # Whatever it is, it is said.
        said = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps({"id": number, **said}), flush=True)
    if "bye" in said:
        break
