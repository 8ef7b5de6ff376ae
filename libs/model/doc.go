/*
Package model defines the order of Orderhub: its types, strict decoding, validation,
canonical JSON, content hash and comparison. Everything that reads or writes orders uses
it, so all programs agree on what an order is.

	codec := model.New(model.Options{})
	decoded, err := codec.Decode(record) // err is a *model.RecordError
	canonical := model.AppendCanonical(nil, decoded.Order)
	hash := model.ContentHash(canonical)

# Decoding

A record is one JSON object as in testdata/samples. Decoding is strict:

  - The record is UTF-8, has at most Options.MaxRecordBytes, and only white space
    surrounds the object. A byte order mark in front of it is ignored.
  - Names are case-sensitive and compared after their escapes are resolved. No object
    has a name twice.
  - No string has the character NUL, as byte or as \u0000, or half of a surrogate
    pair as escape.
  - Integers are written as integers (not 100.0, not 1e2) and fit 64 bits. -0
    is an integer, and is 0.
  - null is not a value of any field: it fails as wrong_type.
  - Objects and arrays are nested at most MaxDepth levels deep.
  - request_id and internal_signature may be absent and are "" then. All other fields
    are required, though some may be empty (see the rules). An absent field differs
    from one that is 0 or "".
  - Fields that an order does not have are accepted and named in Decoded.Unknown. With
    Options.RejectUnknown they are failures. With Options.KeepUnknown they are in the
    UnknownFields of the order and its parts, within MaxKeptFields of an object and
    MaxKeptBytes of a record; beyond that they are a failure. All of the above applies to
    their values too.

A record that is refused gives a [RecordError] of one of two stages.

StageDecode: the record is no JSON object with an order's shape. If its text cannot be
trusted (syntax, UTF-8, NUL, surrogates, duplicate names, depth, something after the
object), reading ends, and that is the only failure. Its rule tells causes of one reason
apart, such as registry_prefix and utf_16 of not_json. The same holds for an order inside
of something else (an envelope, a string, an array): reason wrapped. If single fields have the wrong
type, do not fit 64 bits or are refused as unknown, reading continues, and these failures
are reported together with the absent fields and the rules that other fields break.
Reason and Offset are those of the first such place in the record.

StageValidate: the shape is correct, but required fields are absent or rules are broken.
The reason is always "invalid"; the failures name the rules.

Failures are in the order of the canonical JSON, at most one per field. None contains a
value of the record, so they can be logged.

# Rules

The rules are tags of validator/v10 on the types, and apply to [Codec.Validate] as well.
Lengths count characters (Unicode code points). A string may be empty unless a rule
says otherwise.

	field                  rules
	all fields             required: must be present, except request_id and internal_signature
	all strings            text: UTF-8, no NUL
	order_uid              order_uid: 1 to 64 of A-Z a-z 0-9 - _ . except the uids "." and "..", which
	                       clients remove from addresses, and "stream", the stream's address
	track_number, entry    required: not empty; max=128
	delivery.name, .city   required; max=256
	delivery.address       required; max=1024
	delivery.zip           max=32 (not every country has codes)
	delivery.region        max=256 (nor regions)
	delivery.phone         phone: E.164, + and 7 to 15 digits, the first not 0
	delivery.email         email: local@host, at most 254 bytes; the local part is a dot-atom of at
	                       most 64, the host has two labels or more; beyond ASCII is accepted;
	                       no quoted parts, comments, address literals, invisible characters
	payment.transaction    required; max=128
	payment.request_id     max=128
	payment.currency       iso4217: alphabetic code in capitals, those withdrawn since 2010 included
	payment.provider       required; max=128
	payment.amount, .delivery_cost, .goods_total, .custom_fee,
	items[].price, .total_price
	                       min=0; max=9007199254740991 (2^53-1), in minor units of the currency
	payment.payment_dt     unix_seconds: seconds since 1970, to 253402300799 (the year 9999);
	                       0 means not paid yet
	payment.bank           max=128
	items                  min=1; max_items: Options.MaxItems
	items[].chrt_id, .nm_id, .status
	                       min=0; max=9007199254740991
	items[].track_number, .rid
	                       required; max=128
	items[].name           required; max=1024
	items[].sale           min=0; max=100, in percent
	items[].size           max=128
	items[].brand          max=256
	locale                 bcp47: well-formed language tag with hyphens, at most 35 bytes
	internal_signature     max=1024
	customer_id, delivery_service
	                       required; max=128
	shardkey, oof_shard    max=128
	sm_id                  min=0; max=9007199254740991
	date_created           rfc3339: see below (decoding only); year_range: 1 to 9999 in UTC

Options.Rules replaces the rules of single fields (see [FieldRule]), and adds these:

	any_phone              5 to 20 digits with spaces, hyphens, brackets, points, + in front
	any_iso4217            iso4217, or a code that was withdrawn before 2010, such as RUR
	any_locale             bcp47, with hyphens or underscores
	pattern                a regular expression

Options.Normalize writes some values in the form that the rules ask for before they are
checked, where they can have only one meaning. A record then has two readings: raw, as it
is, and normalized, as it is stored. A value that satisfies its rule is the same in both.

With Options.CheckSums, if payment and items have no other failures, the rule sum
requires payment.amount = goods_total + delivery_cost + custom_fee, and
payment.goods_total = the sum of all total_price.

date_created is strictly RFC 3339: T and Z in either case, a point before the fraction,
hours to 23, offsets to 23:59; -00:00 is UTC. A leap second, which is second 60 of the last
minute of a month in UTC, is read as the second after it. The time is kept in UTC, and
digits beyond the microsecond are cut.

[Schema] says the same as a JSON Schema, as far as one can.

# Canonical JSON

The canonical JSON of an order is defined as follows. Two orders are equal if and only if
their canonical JSON is.

 1. Objects have all of these members, in this order, and behind them those of their
    unknown fields that were kept (see below):

    order:    order_uid track_number entry delivery payment items locale
    internal_signature customer_id delivery_service shardkey sm_id
    date_created oof_shard

    delivery: name phone zip city address region email

    payment:  transaction request_id currency provider amount payment_dt bank
    delivery_cost goods_total custom_fee

    item:     chrt_id track_number price rid name sale size total_price nm_id
    brand status

 2. There is no white space outside of strings, and no line end after it.

 3. items is an array of the items in the record's order. A part that is
    missing from the tables is null: delivery, payment, or items if there are
    none. Orders that validate have no null.

 4. Integers are decimal without leading zeros and plus; 0 has no sign.

 5. Strings are in quotation marks, encoded as UTF-8. Escaped are only the
    quotation mark as \", the backslash as \\, and the control characters
    U+0000 to U+001F: as \b \t \n \f \r where JSON has these, otherwise as
    \u00xx with lower-case hexadecimal digits. Every other character is
    written as it is, such as / < > & U+007F U+2028 and characters beyond U+FFFF. Nothing is
    normalized. (Should a text not be UTF-8, which no accepted order has, each
    byte in question becomes U+FFFD.)

 6. date_created is a string YYYY-MM-DDThh:mm:ssZ in UTC, the year with four
    digits. A fraction of a second follows the seconds as a point and as many
    digits as it needs, at most six, the last not being 0.

Unknown fields, and the objects within them, have their members sorted by name, as RFC 8785
sorts them: by UTF-16 code units. Strings are as above. A number is written without
exponent, which moves the point instead, past zeros where there are no digits. Zeros in
front are removed, but for one before the point; those behind the point stay. 0 has no
sign. So 1.50e1 is 15.0, 1e2 is 100, 100e-2 is 1.00 and -0.0 is 0.0, as in PostgreSQL's
jsonb. true, false and null are as in JSON.

The content hash is the SHA-256 over the byte 01 (HashVersion) followed by the
canonical JSON without unknown fields. Where these were kept, there is a second one, the
SHA-256 over the byte 02 (HashVersionKept) followed by the whole canonical JSON. Unknown
fields make a difference only between orders of which both were kept. Version 1 covers the raw reading, whether or not the order is stored
normalized, so a record that is read again has the same hash whatever the settings are. A
record is a duplicate if its hash is the stored one, or if it equals the stored rows in
their raw or their normalized reading. A field that is added to orders later and is absent from a
record stays out of the form that is hashed under version 1.

The files in testdata/vectors hold records with their canonical JSON and hash,
made by testdata/vectors/make.py, which shares nothing with this package.

# Personal data

Personal are delivery.name, .phone, .zip, .city, .address, .region and .email,
payment.transaction, and customer_id. [AppendMasked] replaces their values in canonical
JSON by masks that are the same for every value, and leaves unknown fields out.

# Concurrency

A Codec is safe for concurrent use, and so are all functions.
*/
package model
