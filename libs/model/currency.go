package model

import "strings"

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
