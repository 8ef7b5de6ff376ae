package mask

import (
	_ "embed"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/orderhub/orderhub/libs/model"
)

// codes says for each text field of an order that may be shown which contents may
// be. All other texts are masked.
var codes = map[string]func(string) bool{
	"order_uid":        isID,
	"rid":              isID,
	"track_number":     matcher(`[A-Z0-9]{0,24}[A-Z][A-Z0-9]{3,24}`),
	"entry":            matcher(`[A-Z]{2,8}`),
	"locale":           func(s string) bool { return locale(s) || languages[s] },
	"currency":         matcher(`[A-Z]{3}`),
	"provider":         has(companies),
	"bank":             has(companies),
	"delivery_service": has(companies),
	"shardkey":         matcher(`[0-9]{1,4}`),
	"oof_shard":        matcher(`[0-9]{1,4}`),
	"size":             matcher(`[0-9]{1,3}([/x][0-9]{1,3})?|X{0,3}[SML]`),
	"date_created":     func(s string) bool { _, err := time.Parse(time.RFC3339Nano, s); return err == nil },
}

// numbers says the same for the number fields. A number of ten digits or more may
// be a telephone number, so only a time of the years 2001 to 2033 may be that long.
var numbers = map[string]func(string) bool{
	"amount": amount, "delivery_cost": amount, "goods_total": amount, "custom_fee": amount, "price": amount, "total_price": amount,
	"sm_id": amount, "chrt_id": amount, "nm_id": amount, "sale": amount, "status": amount,
	"payment_dt": matcher(`1[0-9]{9}`),
}

// personal are the fields of which everything is masked, with what is in them.
var personal = has(words(`name phone email e-mail mail address zip city region delivery customer customer_id transaction contact
	recipient person user client buyer`))

var (
	amount = matcher(`-?[0-9]{1,9}(\.[0-9]{1,4})?`)
	locale = matcher(`[a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2})?`)
)

//go:embed words.txt
var wordFile string

var (
	// vocabulary are the words that names of fields and headers, and messages of other
	// services, may be shown with. None of them says anything about a person.
	vocabulary = section("vocabulary")
	companies  = section("companies")
	languages  = section("languages")
)

// section is a list of the embedded file.
func section(name string) map[string]bool {
	_, rest, _ := strings.Cut(wordFile, "["+name+"]")
	list, _, _ := strings.Cut(rest, "[")
	return words(list)
}

func words(list string) map[string]bool {
	set := map[string]bool{}
	for word := range strings.FieldsSeq(list) {
		set[word] = true
	}
	return set
}

func has(set map[string]bool) func(string) bool {
	return func(s string) bool { return set[strings.ToLower(s)] }
}

func matcher(pattern string) func(string) bool {
	return regexp.MustCompile(`^(?:` + pattern + `)$`).MatchString
}

var (
	idDigits = regexp.MustCompile(`[0-9]`)
	idNumber = matcher(`[-_.0-9]{7,}`)
)

// isID says whether an order_uid looks like an identifier: it has a digit, is not a
// long number, which may be a telephone number, and has no part that may be a name.
func isID(s string) bool {
	if !model.IsOrderUID(s) || !idDigits.MatchString(s) || idNumber(s) {
		return false
	}
	for part := range strings.FieldsFuncSeq(s, func(r rune) bool { return strings.ContainsRune("-_.", r) }) {
		if len(part) >= 3 && !idDigits.MatchString(part) && !vocabulary[strings.ToLower(part)] {
			return false
		}
	}
	return true
}

// isName says whether a name of a field or header is made of known words alone, as
// customer_name, customerName or X-Request-Id are.
func isName(name string) bool {
	known := false
	for part := range strings.FieldsFuncSeq(name, func(r rune) bool { return strings.ContainsRune("-_.", r) }) {
		for _, word := range camelWords(part) {
			if word = strings.TrimRight(strings.ToLower(word), "0123456789"); !vocabulary[word] {
				return false
			}
			known = true
		}
	}
	const longest = 80
	return known && len(name) <= longest
}

// camelWords splits orderUid and OrderUID.
func camelWords(name string) (parts []string) {
	runes := []rune(name)
	start := 0
	for i := 1; i < len(runes); i++ {
		if unicode.IsUpper(runes[i]) && !unicode.IsUpper(runes[i-1]) {
			parts = append(parts, string(runes[start:i]))
			start = i
		}
	}
	return append(parts, string(runes[start:]))
}
