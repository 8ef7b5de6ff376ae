#!/usr/bin/env python3
"""Writes the test vectors next to itself: records, canonical JSON and hash.

A second implementation of the canonical form, after the package documentation
of libs/model and by Python's own json module; run it when vectors are added.
"""

import datetime
import decimal
import hashlib
import json
import pathlib
import re

HERE = pathlib.Path(__file__).parent
SAMPLES = HERE.parent / "samples"

ORDER = """order_uid track_number entry delivery payment items locale internal_signature customer_id
    delivery_service shardkey sm_id date_created oof_shard""".split()
DELIVERY = "name phone zip city address region email".split()
PAYMENT = """transaction request_id currency provider amount payment_dt bank delivery_cost
    goods_total custom_fee""".split()
ITEM = "chrt_id track_number price rid name sale size total_price nm_id brand status".split()


def cut_time(text):
    seconds, fraction, zone = re.fullmatch(r"(.{19})(?:\.(\d+))?(Z|[+-]\d\d:\d\d)", text.upper()).groups()
    leap = seconds.endswith(":60")
    if leap:
        seconds = seconds[:-2] + "59"
    # Python has no year 0, so the years are moved by a whole cycle of the calendar.
    shift = 400 if seconds < "5000" else -400
    at = datetime.datetime.fromisoformat(f"{int(seconds[:4]) + shift:04}{seconds[4:]}")
    if zone != "Z":
        offset = datetime.timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
        at = at - offset if zone[0] == "+" else at + offset
    at += datetime.timedelta(seconds=leap)
    micros = (fraction or "")[:6].rstrip("0")
    return f"{at.year - shift:04}{at.isoformat()[4:19]}{'.' + micros if micros else ''}Z"


def pick(names, source):
    return {name: source.get(name, "") for name in names}


class Number:
    def __init__(self, text):
        plain = format(decimal.Decimal(text), "f")
        self.plain = plain if plain.strip("-0.") else plain.removeprefix("-")


def text(value):
    """The canonical form of an unknown value."""
    if isinstance(value, Number):
        return value.plain
    if isinstance(value, list):
        return "[" + ",".join(map(text, value)) + "]"
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(json.dumps(name, ensure_ascii=False) + ":" + text(value[name]) for name in names) + "}"
    return json.dumps(value, ensure_ascii=False)


def kept(form, record):
    """The canonical form with the unknown fields behind the known ones."""
    def behind(known, source, names):
        unknown = text({name: value for name, value in source.items() if name not in names})
        return known[:-1] + ("," + unknown[1:] if unknown != "{}" else "}")

    source = json.loads(record.removeprefix("\ufeff"), parse_int=Number, parse_float=Number)
    form = json.loads(form)
    members = []
    for name, value in form.items():
        if name == "delivery" or name == "payment":
            value = behind(compact_json(value), source[name], value)
        elif name == "items":
            value = "[" + ",".join(behind(compact_json(item), of, item) for item, of in zip(value, source[name])) + "]"
        else:
            value = compact_json(value)
        members.append(f'"{name}":{value}')
    return behind("{" + ",".join(members) + "}", source, form)


def compact_json(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def canonical(record):
    order = pick(ORDER, json.loads(record.removeprefix("\ufeff")))
    order["delivery"] = pick(DELIVERY, order["delivery"])
    order["payment"] = pick(PAYMENT, order["payment"])
    order["items"] = [pick(ITEM, item) for item in order["items"]]
    order["date_created"] = cut_time(order["date_created"])
    return json.dumps(order, ensure_ascii=False, separators=(",", ":"))


def write(name, description, record):
    form = canonical(record)
    vector = {
        "description": description,
        "input": record,
        "canonical": form,
        "hash": hashlib.sha256(b"\x01" + form.encode()).hexdigest(),
    }
    whole = kept(form, record)
    if whole != form:
        vector["kept"] = whole
    vector["kept_hash"] = hashlib.sha256(b"\x02" + whole.encode()).hexdigest()
    (HERE / f"{name}.json").write_text(json.dumps(vector, indent=2) + "\n")


sample = (SAMPLES / "model.json").read_text()
compact = json.dumps(json.loads(sample), separators=(",", ":"))


def put(field, value, record=compact):
    """Replaces the value of the first member of that name by the text given."""
    changed, n = re.subn(rf'("{field}"):("[^"]*"|-?\d+)', lambda m: m[1] + ":" + value, record, count=1)
    assert n == 1, field
    return changed


write("sample_model", "The sample, pretty-printed.", sample)
write("sample_order1001test", "The other sample: request_id and internal_signature are absent.",
      (SAMPLES / "order1001test.json").read_text())
write("escapes", "Every escape that JSON has, and those that the canonical form keeps.",
      put("address", r'"\"\\\/\b\f\n\r\t\u0001\u000b\u001F\u007f\u002f\u0041\u00e9\u20AC\ud83d\ude00"'))
write("plain_characters", "Characters that must not be escaped, and nothing is normalized.",
      put("brand", '"</script>&amp; \u007f \u0085 \u2028\u2029 \ufeff \uffff e\u0301 \u00e9 \U0001f600 \U0010ffff"',
          put("name", '"Анна-Мария O\'Neill / 王"')))
write("escaped_names", "Names with escapes, members in another order, unknown fields, white space everywhere.",
      " \t\r\n" + json.dumps(dict(reversed(json.loads(sample).items())), indent=1).replace('"sm_id"', '"\\u0073m_id"')
      .replace('"delivery": {', '"delivery"\t: {"floor": [1.5e3, null, {"a": {}, "b": []}], ', 1) + "\n\n")
write("unknown_fields", "Unknown fields of the order and all its parts: sorted, numbers without exponent, texts as known ones.",
      compact.replace('{"name"', '{"floor": 3, "name"').replace('"request_id"', '"instalments":[ ],"request_id"')
      .replace('{"chrt_id"', '{"\\u0063olour":"r\\u00e9d\\/\\u0001","chrt_id"').replace('{"order_uid"', '{"z": {"\U0001f600":1,"\uffff":2,"b":null,"a":true,"":[{"y":1,"x":2}]},'
      '"numbers": [1.50e1, -0, -0.00, 0e-3, 100e-2, 1.5e3, 0.5e1, 12345678901234567890.10, 1E2], "order_uid"', 1))
write("integers", "The largest values, and a minus before 0.",
      put("chrt_id", "9007199254740991", put("nm_id", "-0", put("payment_dt", "253402300799",
          put("amount", "9007199254740991", put("custom_fee", "0"))))))
write("byte_order_mark", "A byte order mark in front is ignored.", "\ufeff" + compact)
write("unpaid", "payment_dt is 0: not paid yet.", put("payment_dt", "0"))
write("empty_texts", "All texts that may be empty are.",
      put("zip", '""', put("region", '""', put("bank", '""', put("size", '""', put("brand", '""',
          put("shardkey", '""', put("oof_shard", '""'))))))))
items = json.loads(sample)
items["items"] = [dict(items["items"][0], chrt_id=n, name=f"item {n}", size="") for n in (3, 1, 2, 1)]
write("items", "Items keep their order, also equal ones.", json.dumps(items))
for name, description, value in [
    ("time_nanoseconds", "Finer than a microsecond is cut, not rounded.", "2021-11-26T06:22:19.999999999Z"),
    ("time_cut_to_whole", "Nothing is left of the fraction.", "2021-11-26T06:22:19.0000009Z"),
    ("time_trailing_zeros", "Only the digits that are needed.", "2021-11-26T06:22:19.010500Z"),
    ("time_offset_east", "Given back in UTC, on the day before.", "2024-03-01T01:30:00.5+05:45"),
    ("time_offset_west", "Given back in UTC, in the next year.", "2023-12-31T23:59:59-00:01"),
    ("time_first_year", "Year 0 as written, year 1 in UTC.", "0000-12-31T23:59:59-00:01"),
    ("time_last_moment", "The last microsecond of the year 9999.", "9999-12-31T23:59:59.999999Z"),
    ("time_lower_case", "t and z may be lower case.", "2021-11-26t06:22:19.5z"),
    ("time_leap_second", "A leap second is the second after it.", "2016-12-31T23:59:60.5Z"),
    ("time_unknown_offset", "-00:00 is UTC too.", "2021-11-26T06:22:19-00:00"),
]:
    write(name, description, put("date_created", f'"{value}"'))
