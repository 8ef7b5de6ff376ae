package edit

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	utf "golang.org/x/text/encoding/unicode"

	"github.com/orderhub/orderhub/libs/model"
)

const byteOrderMark = "\ufeff"

// strip takes off what stands in front of a value. Without an option that is a
// registry's prefix, if there is one, and all that is invisible.
func strip(options []string) (compute, error) {
	option := optional(options)
	size, err := strconv.Atoi(option)
	if slices.Contains([]string{"", "registry", "invisible"}, option) {
		err = nil
	} else if err != nil || size < 0 {
		err = fmt.Errorf("%q is no number", option)
	}
	return func(v term) (term, error) {
		prefix := model.RegistryPrefix([]byte(v.text))
		rest := v.text[prefix:]
		switch {
		case v.kind == jsonTerm:
			return v, errNoText
		case option == "registry" && prefix == 0:
			return v, errors.New("it does not begin with a schema registry's prefix")
		case size > len(v.text):
			return v, fmt.Errorf("it has %d bytes only", len(v.text))
		case option == "invisible":
			rest = visible(v.text, v.kind)
		case option == "":
			rest = visible(rest, v.kind)
		case option != "registry":
			rest = v.text[size:]
		}
		return term{v.kind, rest}, nil
	}, err
}

// visible drops the characters that nobody sees: around and between the parts of JSON
// but not within its strings; in a text everywhere, where unusual spaces become spaces.
func visible(text string, kind termKind) string {
	var b strings.Builder
	inString, escaped := false, false
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		unseen := model.IsInvisible(r) && (r != utf8.RuneError || size > 1)
		switch {
		case unseen && kind == textTerm && unicode.Is(unicode.Z, r):
			b.WriteByte(' ')
		case unseen && !inString:
		default:
			b.WriteString(text[i : i+size])
		}
		if kind == rawTerm {
			quote := r == '"' && !escaped
			escaped = inString && r == '\\' && !escaped
			inString = inString != quote
		}
		i += size
	}
	if kind == textTerm {
		return strings.TrimSpace(b.String())
	}
	return b.String()
}

// maxDecoded bounds what a small compressed value becomes.
const maxDecoded = 64 << 20

var errTooLarge = fmt.Errorf("it would have more than %d MiB", maxDecoded>>20)

// decode undoes a compression or an encoding; without an option, the one by whose first
// bytes the value begins.
func decode(options []string) (compute, error) {
	chosen := plainName(optional(options))
	if _, known := encodings[chosen]; !known && !slices.Contains([]string{"", "base64", "gzip", "zlib", "zstd"}, chosen) {
		return nil, fmt.Errorf("%q is no form that is known, such as base64, gzip, utf-16, windows-1251, iso-8859-1", options[0])
	}
	return func(v term) (term, error) {
		name := cmp.Or(chosen, magicOf(v.text))
		switch {
		case v.kind == jsonTerm:
			return v, errNoText
		case name == "":
			return v, errors.New("its first bytes say nothing about its form: name it, as in decode(., windows-1251)")
		}
		decoded, err := decodeAs(name, v.text)
		if err != nil && !errors.Is(err, errTooLarge) {
			err = fmt.Errorf("it is not in %s", name)
		}
		return term{v.kind, string(decoded)}, err
	}, nil
}

func magicOf(text string) string {
	for magic, name := range map[string]string{
		"\x1f\x8b": "gzip", "\x28\xb5\x2f\xfd": "zstd", "\x78\x01": "zlib", "\x78\x5e": "zlib", "\x78\x9c": "zlib", "\x78\xda": "zlib",
		"\xff\xfe": "utf16", "\xfe\xff": "utf16", "{\x00": "utf16le", "\x00{": "utf16be",
	} {
		if strings.HasPrefix(text, magic) {
			return name
		}
	}
	return ""
}

func decodeAs(name, text string) ([]byte, error) {
	var r io.Reader = strings.NewReader(text)
	var err error
	switch name {
	case "base64":
		return base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	case "gzip":
		r, err = gzip.NewReader(r)
	case "zlib":
		r, err = zlib.NewReader(r)
	case "zstd":
		var z *zstd.Decoder
		if z, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxDecoded)); err == nil {
			defer z.Close()
			r = z
		}
	default:
		r = encodings[name].NewDecoder().Reader(r)
	}
	if err != nil {
		return nil, err
	}
	decoded, err := io.ReadAll(io.LimitReader(r, maxDecoded+1))
	if len(decoded) > maxDecoded {
		return nil, errTooLarge
	}
	return bytes.TrimPrefix(decoded, []byte(byteOrderMark)), err
}

// encodings of texts by their plain names.
var encodings = func() map[string]encoding.Encoding {
	all := map[string]encoding.Encoding{
		"utf16":   utf.UTF16(utf.LittleEndian, utf.UseBOM),
		"utf16le": utf.UTF16(utf.LittleEndian, utf.IgnoreBOM),
		"utf16be": utf.UTF16(utf.BigEndian, utf.IgnoreBOM),
	}
	for _, e := range charmap.All {
		if named, is := e.(fmt.Stringer); is {
			all[plainName(named.String())] = e
		}
	}
	return all
}()

// plainName makes windows-1251, Windows 1251 and WINDOWS_1251 the same.
func plainName(name string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(" -_", r) {
			return -1
		}
		return unicode.ToLower(r)
	}, name)
}

// deepestWrapping is how many strings of JSON within one another are taken off.
const deepestWrapping = 5

var (
	errNoOrder = errors.New("no order is inside of it: name the path of what is, as in unwrap(., payload.after)")
	errOrders  = errors.New("several orders are inside of it, and a letter is one record")
)

// unwrap gives the order that is inside of a value, byte for byte; or what is at a path,
// and if that is a string that holds JSON, its text.
func unwrap(options []string) (compute, error) {
	if len(options) == 0 {
		return unwrapOrder, nil
	}
	path, err := parsePath(options[0])
	return func(v term) (term, error) {
		doc, err := parse([]byte(strings.TrimPrefix(v.text, byteOrderMark)))
		if err != nil {
			return v, ErrNotJSON
		}
		at, err := find(&doc, path)
		if err != nil {
			return v, err
		}
		inner := termOf(at.Value)
		for i := 0; i < deepestWrapping && inner.kind == textTerm; i++ {
			parsed, err := parse([]byte(inner.text))
			if err != nil { // a text
				break
			}
			inner = termOf(parsed.Value)
		}
		if inner.kind == jsonTerm {
			inner.kind = min(v.kind, jsonTerm) // the whole value stays the whole
		}
		return inner, nil
	}, err
}

func unwrapOrder(v term) (term, error) {
	value := []byte(v.text)
	if v.kind == textTerm {
		var err error
		if value, err = json.Marshal(v.text); err != nil {
			return v, err
		}
	}
	switch found := model.FindOrders(bytes.TrimPrefix(value, []byte(byteOrderMark))); len(found) {
	case 0:
		return v, errNoOrder
	case 1:
		return term{min(v.kind, jsonTerm), string(found[0].JSON)}, nil
	}
	return v, errOrders
}
