package model

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// A rule is one that this package adds to those of validator/v10. It depends on the
// value alone and allocates nothing. One of its functions is set.
type rule struct {
	name    string
	text    func(string) bool
	number  func(int64) bool
	time    func(time.Time) bool
	message string
	hint    func(string) string // what more there is to say of a text that fails; may be nil
	schema  keywords            // what JSON Schema can say of it; nil for rules that no tag has
}

// Names of rules that decoding reports too.
const (
	ruleRequired = "required"
	ruleMaxItems = "max_items"
	ruleSum      = "sum"
	ruleText     = "text"
)

const (
	messageMissing   = "is missing"
	messageYearRange = "must be in the years 1 to 9999 in UTC"
)

// rules are the registered rules. email and iso4217 replace validator's rules of these
// names, which are slower; iso4217 also accepts currencies that old orders were paid in.
var rules = []rule{
	{name: "order_uid", text: IsOrderUID, message: "must be 1 to 64 characters of A-Z, a-z, 0-9, -, _ and ., and not ., .. or stream, which mean something else in an address",
		schema: keywords{"pattern": patternUID, "not": keywords{"enum": []string{".", "..", "stream"}}}},
	{name: ruleText, text: isText, message: "must be UTF-8 without the character NUL", schema: keywords{"pattern": patternText}},
	{name: "email", text: IsEmail, message: "must be an e-mail address", schema: keywords{"pattern": patternEmail, "maxLength": 254}},
	{name: "phone", text: IsPhone, message: "must be an E.164 phone number: + and 7 to 15 digits", hint: phoneHint, schema: keywords{"pattern": patternPhone}},
	{name: "iso4217", text: IsCurrency, message: "must be an ISO 4217 currency code in capitals", hint: currencyHint, schema: keywords{"enum": slices.Sorted(maps.Keys(currencies))}},
	{name: "bcp47", text: IsLocale, message: "must be a BCP 47 language tag, like en or pt-BR", hint: localeHint, schema: keywords{"pattern": languageTag.String(), "maxLength": 35}},
	{name: "any_phone", text: isAnyPhone, message: "must be a phone number: 5 to 20 digits with spaces, hyphens, brackets, points, or + in front"},
	{name: "any_iso4217", text: IsAnyCurrency, message: "must be an ISO 4217 currency code in capitals, withdrawn or not"},
	{name: "any_locale", text: isAnyLocale, message: "must be a language tag, like en, pt-BR or pt_BR"},
	{name: "unix_seconds", number: isPaymentTime, message: "must be a time in seconds since 1970, up to the end of the year 9999 (not in milliseconds), or 0 if it is not paid yet",
		schema: keywords{"minimum": 0, "maximum": MaxPaymentDT}},
	{name: "year_range", time: isInYearRange, message: messageYearRange, schema: keywords{"format": "date-time", "pattern": patternTime}},
}

// ruleNamed returns a registered rule; the zero rule if there is none of that name.
func ruleNamed(name string) rule {
	for _, r := range rules {
		if r.name == name {
			return r
		}
	}
	return rule{}
}

// IsOrderUID reports whether s is 1 to 64 characters of A-Z, a-z, 0-9, -, _ and . that
// can be the last segment of an order's address. Such an order_uid needs no escaping in a
// URL. Clients remove the segments . and .. from a path before they send it, and
// /api/v1/orders/stream is the stream.
func IsOrderUID(s string) bool {
	if len(s) == 0 || len(s) > MaxOrderUIDLength || s == "." || s == ".." || s == "stream" {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

func isLetter(c byte) bool       { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func isDigit(c byte) bool        { return c >= '0' && c <= '9' }
func isAlphanumeric(c byte) bool { return isLetter(c) || isDigit(c) }

// isText reports whether PostgreSQL can store s as text.
func isText(s string) bool {
	return isPlain(s) || utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}

// IsPhone reports whether s is a phone number as E.164 writes it.
func IsPhone(s string) bool {
	if len(s) < 8 || len(s) > 16 || s[0] != '+' || s[1] == '0' {
		return false
	}
	for i := 1; i < len(s); i++ {
		if !isDigit(s[i]) {
			return false
		}
	}
	return true
}

// The hints say how a value of a common form must be written.

func phoneHint(s string) string {
	switch {
	case !isAnyPhone(s):
		return ""
	case s[0] != '+':
		return "it must begin with + and the country's code, without a prefix for calls within the country"
	case strings.ContainsAny(s, " -()."):
		return "it must have no spaces, hyphens, brackets and points"
	}
	return ""
}

func currencyHint(s string) string {
	switch upper := strings.ToUpper(s); {
	case s != upper && IsAnyCurrency(upper):
		return "it is in lower case"
	case IsAnyCurrency(s):
		return "this one was withdrawn before 2010 (the rule any_iso4217 of a rules file accepts it)"
	}
	return ""
}

func localeHint(s string) string {
	if isAnyLocale(s) {
		return "it must have a hyphen, not an underscore"
	}
	return ""
}

// isAnyPhone reports whether s is a phone number in any usual format.
func isAnyPhone(s string) bool {
	digits := 0
	for i := range len(s) {
		switch c := s[i]; {
		case isDigit(c):
			digits++
		case c == '+' && i > 0, strings.IndexByte("+ -().", c) < 0:
			return false
		}
	}
	return digits >= 5 && digits <= 20 && len(s) <= 40
}

// isAnyLocale reports whether s is a language tag with hyphens or underscores.
func isAnyLocale(s string) bool { return IsLocale(strings.ReplaceAll(s, "_", "-")) }

func isPaymentTime(seconds int64) bool { return seconds >= 0 && seconds <= MaxPaymentDT }

func isInYearRange(t time.Time) bool {
	year := t.UTC().Year()
	return year >= 1 && year <= 9999
}

// IsEmail reports whether s is an address as mail servers use them: a dot-atom, @, and a
// host name of two labels or more. Characters beyond ASCII are accepted on both sides.
// Quoted local parts, comments and address literals are refused.
func IsEmail(s string) bool {
	at := strings.LastIndexByte(s, '@')
	return at >= 1 && at <= 64 && len(s) <= 254 && isDotAtom(s[:at]) && isHost(s[at+1:])
}

func isDotAtom(s string) bool {
	previous := byte('.')
	for i := 0; i < len(s); {
		c := s[i]
		size := 1
		switch {
		case c >= utf8.RuneSelf:
			if size = mailCharacter(s[i:]); size == 0 {
				return false
			}
		case c == '.' && previous == '.', c != '.' && !isAlphanumeric(c) && strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) < 0:
			return false
		}
		previous = c
		i += size
	}
	return previous != '.'
}

func isHost(s string) bool {
	labels, length := 1, 0
	previous := byte('.')
	for i := 0; i < len(s); {
		c := s[i]
		size := 1
		switch {
		case c == '.':
			if previous == '.' || previous == '-' {
				return false
			}
			labels++
			length = -1
		case c == '-':
			if previous == '.' {
				return false
			}
		case c >= utf8.RuneSelf:
			if size = mailCharacter(s[i:]); size == 0 {
				return false
			}
		case !isAlphanumeric(c):
			return false
		}
		if length++; length > 63 {
			return false
		}
		previous = c
		i += size
	}
	return labels >= 2 && previous != '.' && previous != '-'
}

// mailCharacter returns the size of the character beyond ASCII that s begins with, or 0
// if an address cannot have it.
func mailCharacter(s string) int {
	r, size := utf8.DecodeRuneInString(s)
	joins := r == '\u200c' || r == '\u200d' // parts of words in some scripts
	if r == utf8.RuneError && size == 1 || IsInvisible(r) && !joins {
		return 0
	}
	return size
}

// languageTag is RFC 5646's form: language, extended language, script, region, variants,
// extensions, private use.
var languageTag = regexp.MustCompile(`^[A-Za-z]{2,3}(-[A-Za-z]{3}){0,3}(-[A-Za-z]{4})?(-([A-Za-z]{2}|[0-9]{3}))?` +
	`(-([A-Za-z0-9]{5,8}|[0-9][A-Za-z0-9]{3}))*(-[0-9A-WYZa-wyz](-[A-Za-z0-9]{2,8})+)*(-[Xx](-[A-Za-z0-9]{1,8})+)?$`)

// IsLocale reports whether s is a well-formed language tag (RFC 5646). It does not check
// whether the subtags are registered, and refuses the old irregular tags. x/text's
// language.Parse refuses unregistered subtags, and accepts underscores.
func IsLocale(s string) bool {
	isCommon := len(s) == 2 || len(s) == 5 && s[2] == '-' && isLetter(s[3]) && isLetter(s[4])
	if isCommon && isLetter(s[0]) && isLetter(s[1]) { // en and en-US need no pattern, which takes longer
		return true
	}
	return len(s) <= 35 && languageTag.MatchString(s)
}

// currencies are the codes of ISO 4217 as of 2026, including funds and metals, followed
// by those withdrawn since 2010, because an old order may be sent again. bojanz/currency
// would refuse records that are accepted so far: it has no metals and special drawing
// rights, and few withdrawn codes. It also brings a library of decimals.
var currencies = codes(`
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BOV BRL BSD BTN BWP BYN BZD
CAD CDF CHE CHF CHW CLF CLP CNY COP COU CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP
GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR
KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN
MXV MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD
SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX
USD USN UYI UYU UYW UZS VED VES VND VUV WST XAD XAF XAG XAU XBA XBB XBC XBD XCD XCG XDR XOF XPD
XPF XPT XSU XTS XUA XXX YER ZAR ZMW ZWG
ANG BGN BYR CUC EEK HRK LTL LVL MRO SLL STD TMM USS VEF ZMK ZWL`)

// withdrawn are the codes of ISO 4217 that were withdrawn before 2010. Shops still send
// some of them, such as RUR.
var withdrawn = codes(`
ADP AFA ALK AOK AON AOR ARA ARP ARY ATS AYM AZM BAD BEC BEF BEL BGJ BGK BGL BOP BRB BRC BRE BRN BRR BUK
BYB CHC CSD CSJ CSK CYP DDM DEM ECS ECV ESA ESB ESP FIM FRF GEK GHC GHP GNE GNS GQE GRD GWE GWP HRD IEP
ILP ILR ISJ ITL LAJ LSM LTT LUC LUF LUL LVR MGF MLF MTL MTP MVQ MXP MZE MZM NIC NLG PEH PEI PES PLZ PTE
RHD ROK ROL RUR SDD SDP SIT SKK SRG SUR TJR TPE TRL UAK UGS UGW UYN UYP VEB VNC XEU XFO XFU XRE YDD YUD
YUM YUN ZAL ZMK ZRN ZRZ ZWC ZWD ZWN ZWR`)

func codes(list string) map[string]bool {
	set := map[string]bool{}
	for code := range strings.FieldsSeq(list) {
		set[code] = true
	}
	return set
}

// IsAnyCurrency reports whether s is a currency of today, or one that was withdrawn at
// any time.
func IsAnyCurrency(s string) bool { return withdrawn[s] || IsCurrency(s) }

// IsCurrency reports whether s is a currency of today, or one withdrawn since 2010.
func IsCurrency(s string) bool { return currencies[s] }
