package synth

import (
	_ "embed"
	"encoding/json"
)

// words are what orders are made of, from vocabulary.json.
var words = readWords()

//go:embed vocabulary.json
var vocabulary []byte

type vocabularyFile struct {
	Markets []market `json:"markets"`
	Shelves []shelf  `json:"shelves"`
	// Services and providers that every market has besides its own.
	Services    []string `json:"everywhere_services"`
	Providers   []string `json:"everywhere_providers"`
	Entries     []string `json:"entries"`
	Statuses    []int64  `json:"statuses"` // of an item; most have been accepted
	MailDomains []string `json:"mail_domains"`
}

// A market is a country that orders come from. In patterns each # becomes a
// digit; phone numbers keep a run of zeros, so that they are almost certainly unused.
type market struct {
	Locales    []string `json:"locales"`
	Currency   string   `json:"currency"`
	Scale      int64    `json:"scale"` // what a price is multiplied by, as minor units differ in worth
	Phone      string   `json:"phone"`
	FirstNames []string `json:"first_names"`
	LastNames  []string `json:"last_names"`
	Streets    []string `json:"streets"`
	Cities     []city   `json:"cities"`
	Services   []string `json:"services"`
	Banks      []string `json:"banks"`
	Providers  []string `json:"providers"`
}

type city struct {
	Name   string `json:"name"`
	Region string `json:"region"`
	Zip    string `json:"zip"`
}

// A shelf is a kind of goods. Prices are in cents, from Low on.
type shelf struct {
	Products []string `json:"products"`
	Brands   []string `json:"brands"`
	Sizes    []string `json:"sizes"`
	Low      int64    `json:"low"`
	Spans    int64    `json:"spans"`
}

func readWords() (words vocabularyFile) {
	if err := json.Unmarshal(vocabulary, &words); err != nil {
		panic(err) // a mistake in the file
	}
	return words
}
