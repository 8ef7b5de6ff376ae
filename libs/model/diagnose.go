package model

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Rules of records that are not JSON, or have something around the JSON. They tell causes
// apart that have one reason, so that all records of one cause can be repaired at once.
const (
	ruleInvisible      = "invisible_character"
	ruleNULPadding     = "nul_padding"
	ruleRegistry       = "registry_prefix"
	ruleRegistryBinary = "registry_binary"
	ruleUTF16          = "utf_16"
	ruleCompressed     = "compressed"
	ruleBinary         = "binary"
	ruleBase64         = "base64"
	ruleMarkup         = "markup"
	ruleComment        = "comment"
	ruleTrailingComma  = "trailing_comma"
	ruleQuotes         = "quotes"
	ruleNumber         = "number"
	ruleLiteral        = "literal"
	ruleIncomplete     = "incomplete"
	ruleSeveralValues  = "several_values"
)

// diagnose explains a fault of a record's text by what stands at its place. It returns
// the fault itself where it knows no better.
func diagnose(record []byte, start int, f *fault) *fault {
	switch {
	case f.reason != ReasonTrailingData && f.reason != ReasonNotJSON:
		return f
	case looksLikePrettyLine(record[start:]):
		return &fault{reason: ReasonPrettyPrinted, offset: f.offset, path: f.path,
			message: "the record looks like one line of a pretty-printed file; send the whole order as one line"}
	case f.reason == ReasonTrailingData:
		return diagnoseRest(record, f)
	}
	explained := *f
	if f.offset == start || bytes.HasPrefix(record, []byte("{\x00")) {
		explained.rule, explained.message = diagnoseStart(record[start:])
	}
	if explained.rule == "" {
		explained.rule, explained.message = diagnosePlace(record, f)
	}
	if explained.rule == "" {
		return f
	}
	return &explained
}

// diagnoseRest explains what follows the JSON value.
func diagnoseRest(record []byte, f *fault) *fault {
	rest := record[f.offset:]
	explained := *f
	switch visible := skipInvisible(rest); {
	case rest[0] == 0 && len(bytes.Trim(rest, "\x00 \t\r\n")) == 0:
		explained.rule, explained.message = ruleNULPadding, fmt.Sprintf("the order is followed by %d NUL bytes; send it without padding", bytes.Count(rest, []byte{0}))
	case invisibleAt(rest) != "" && len(visible) == 0:
		explained.rule, explained.message = ruleInvisible, "the order is followed by the invisible character "+invisibleAt(rest)
	case len(visible) > 0 && (visible[0] == '{' || visible[0] == ','):
		explained.rule, explained.message = ruleSeveralValues, "the record holds several JSON values, one after another; send each order as a record of its own"
	case isComment(visible):
		explained.rule, explained.message = ruleComment, messageComment
	default:
		return f
	}
	return &explained
}

const messageComment = "JSON has no comments"

func isComment(text []byte) bool {
	return bytes.HasPrefix(text, []byte("//")) || bytes.HasPrefix(text, []byte("/*")) || bytes.HasPrefix(text, []byte("#"))
}

// magics are the first bytes of forms that people send instead of JSON.
var magics = []struct{ bytes, rule, message string }{
	{"\x1f\x8b", ruleCompressed, "gzip"},
	{"\x28\xb5\x2f\xfd", ruleCompressed, "zstd"},
	{"\x04\x22\x4d\x18", ruleCompressed, "lz4"},
	{"\x82SNAPPY\x00", ruleCompressed, "snappy"},
	{"\xff\x06\x00\x00sNaPpY", ruleCompressed, "snappy"},
	{"\x78\x01", ruleCompressed, "zlib"},
	{"\x78\x5e", ruleCompressed, "zlib"},
	{"\x78\x9c", ruleCompressed, "zlib"},
	{"\x78\xda", ruleCompressed, "zlib"},
	{"BZh", ruleCompressed, "bzip2"},
	{"PK\x03\x04", ruleCompressed, "zip"},
	{"\xff\xfe", ruleUTF16, ""},
	{"\xfe\xff", ruleUTF16, ""},
	{"\x00\x00\xfe\xff", ruleUTF16, ""},
	{"{\x00", ruleUTF16, ""},
	{"\x00{\x00", ruleUTF16, ""},
	{"Obj\x01", ruleBinary, "the record is an Avro file, not JSON"},
	{"\xac\xed\x00\x05", ruleBinary, "the record is a serialized Java object, not JSON"},
	{"eyJ", ruleBase64, "the record is base64, probably of JSON; send the JSON itself"},
	{"<", ruleMarkup, "the record is XML or HTML, not JSON"},
}

// diagnoseStart explains a record that does not begin with JSON.
func diagnoseStart(text []byte) (rule, message string) {
	for _, m := range magics {
		if !bytes.HasPrefix(text, []byte(m.bytes)) {
			continue
		}
		switch m.rule {
		case ruleCompressed:
			return m.rule, "the value is compressed with " + m.message + "; let the producer compress (compression.type), which Kafka undoes, and not the value"
		case ruleUTF16:
			return m.rule, "the record is in UTF-16 or UTF-32; send it in UTF-8"
		}
		return m.rule, m.message
	}
	if rule, message := diagnosePrefix(text); rule != "" {
		return rule, message
	}
	if unpadded := bytes.TrimLeft(text, "\x00"); len(unpadded) < len(text) && isJSONStart(unpadded) {
		return ruleNULPadding, fmt.Sprintf("the order follows %d NUL bytes; send it without padding", len(text)-len(unpadded))
	}
	if name := invisibleAt(text); name != "" && (text[0] >= ' ' || isJSONStart(skipInvisible(text))) {
		return ruleInvisible, "the record begins with the invisible character " + name
	}
	if !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 {
		return ruleBinary, "the record is no text; a record is one order in JSON"
	}
	return "", ""
}

// RegistryPrefix is the size in bytes of what a serializer with a schema registry puts in
// front of JSON: Confluent's and Apicurio's a zero byte and an id of four or eight bytes, AWS
// Glue's 18 bytes with a UUID. It is 0 if there is none, or no JSON behind it.
func RegistryPrefix(value []byte) int {
	for _, prefix := range []struct {
		magic byte
		size  int
	}{{0, shortPrefix}, {0, 9}, {3, gluePrefix}} { // the shorter first: `{"id"` has a quotation mark at its fifth place
		if len(value) > prefix.size && value[0] == prefix.magic && hasID(value[1:prefix.size]) && isJSONStart(value[prefix.size:]) {
			return prefix.size
		}
	}
	return 0
}

const (
	shortPrefix = 5
	gluePrefix  = 18
)

// diagnosePrefix explains a schema registry's prefix.
func diagnosePrefix(text []byte) (rule, message string) {
	id := func(size int) (id uint64) {
		for _, b := range text[1:size] {
			id = id<<8 | uint64(b)
		}
		return id
	}
	switch size := RegistryPrefix(text); {
	case size == gluePrefix:
		return ruleRegistry, "the value begins with the AWS Glue schema registry's prefix of 18 bytes (schema id " +
			hex.EncodeToString(text[2:size]) + "); the JSON follows it" + EnvelopeRegistry.hint()
	case size > 0:
		return ruleRegistry, fmt.Sprintf("the value begins with a schema registry's prefix of %d bytes (schema id %d); the JSON follows it%s", size, id(size), EnvelopeRegistry.hint())
	case len(text) > shortPrefix && text[0] == 0 && hasID(text[1:shortPrefix]):
		return ruleRegistryBinary, fmt.Sprintf("the value begins like a schema registry's prefix (schema id %d), but no JSON follows: "+
			"it is probably Avro or Protobuf", id(shortPrefix))
	}
	return "", ""
}

// hasID reports whether the bytes of an id are not all zero, which would be padding.
func hasID(id []byte) bool { return len(bytes.Trim(id, "\x00")) > 0 }

func isJSONStart(text []byte) bool {
	text = bytes.TrimLeft(bytes.TrimPrefix(text, []byte(ByteOrderMark)), " \t\r\n")
	return len(text) > 0 && (text[0] == '{' || text[0] == '[' || text[0] == '"' && len(text) > 1)
}

// wrongLiterals are words of other languages for what JSON writes otherwise or not at all.
var wrongLiterals = []struct{ word, rule, message string }{
	{"NaN", ruleNumber, "JSON has no NaN"},
	{"nan", ruleNumber, "JSON has no NaN"},
	{"Infinity", ruleNumber, "JSON has no infinite numbers"},
	{"inf", ruleNumber, "JSON has no infinite numbers"},
	{"undefined", ruleLiteral, "JSON has no undefined; leave the member out"},
	{"None", ruleLiteral, "null is written in lower case; this is Python's None"},
	{"nil", ruleLiteral, "null is written as null"},
	{"NULL", ruleLiteral, "null is written in lower case"},
	{"True", ruleLiteral, "true is written in lower case"},
	{"TRUE", ruleLiteral, "true is written in lower case"},
	{"False", ruleLiteral, "false is written in lower case"},
	{"FALSE", ruleLiteral, "false is written in lower case"},
}

// diagnosePlace explains an error of syntax within a record.
func diagnosePlace(record []byte, f *fault) (rule, message string) {
	here := record[min(f.offset, len(record)):]
	before := bytes.TrimRight(record[:min(f.offset, len(record))], " \t\r\n")
	if len(here) == 0 {
		if len(before) == 0 {
			return "", ""
		}
		return ruleIncomplete, f.message
	}
	inText := strings.HasPrefix(f.message, "control characters") || here[0] == '\\'
	switch name := invisibleAt(here); {
	case inText:
		return "", ""
	case name != "":
		return ruleInvisible, "the invisible character " + name + " stands here"
	case isComment(here):
		return ruleComment, messageComment
	case (here[0] == '}' || here[0] == ']') && bytes.HasSuffix(before, []byte(",")):
		return ruleTrailingComma, "JSON has no comma after the last member"
	case here[0] == '\'' || bytes.HasPrefix(here, []byte("“")) || bytes.HasPrefix(here, []byte("”")) || bytes.HasPrefix(here, []byte("«")):
		return ruleQuotes, `names and strings must be in straight double quotation marks (")`
	case isDigit(here[0]) && bytes.HasSuffix(before, []byte("0")):
		return ruleNumber, "numbers have no leading zeros"
	case here[0] == '+' || here[0] == '.':
		return ruleNumber, "numbers begin with a digit or a minus"
	}
	for _, l := range wrongLiterals {
		if bytes.HasPrefix(here, []byte(l.word)) {
			return l.rule, l.message
		}
	}
	if isLetter(here[0]) && strings.HasPrefix(f.message, wantedName) {
		return ruleQuotes, "names must be in quotation marks"
	}
	return "", ""
}
