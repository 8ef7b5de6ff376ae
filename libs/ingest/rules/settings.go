// Package rules has the settings of what a valid order is, for all programs that decide
// it: the worker, and orderctl's validate, publish, dry runs and console.
package rules

import (
	"errors"
	"fmt"
	"os"

	"github.com/orderhub/orderhub/libs/ingest/normalize"
	"github.com/orderhub/orderhub/libs/ingest/orderwrite"
	"github.com/orderhub/orderhub/libs/model"
)

// Settings of what a valid order is. Validate reads the rules file, so Codec works after
// config.Load only.
type Settings struct {
	MaxRecordBytes int            `env:"INGEST_MAX_RECORD_BYTES" envDefault:"1048576" validate:"min=1_024,max=67_108_864" help:"largest record in bytes; a larger one is a dead letter"`
	MaxItems       int            `env:"INGEST_MAX_ITEMS" envDefault:"1000" validate:"min=1,max=100_000" help:"most items of an order"`
	UnknownFields  string         `env:"INGEST_UNKNOWN_FIELDS" envDefault:"drop" validate:"oneof=drop keep reject" help:"fields that an order does not have: drop, keep (stored and served), or reject (a dead letter)"`
	RejectUnknown  bool           `env:"INGEST_REJECT_UNKNOWN_FIELDS" envDefault:"false" help:"old name of INGEST_UNKNOWN_FIELDS=reject"`
	CheckSums      bool           `env:"INGEST_CHECK_SUMS" envDefault:"false" help:"true: sums that do not add up make a dead letter"`
	Envelope       model.Envelope `env:"INGEST_ENVELOPE" envDefault:"none" help:"what records hold orders in: none, cloudevents, connect (schema and payload), or registry (a schema registry's prefix); a record without it is an order"`
	VersionField   string         `env:"INGEST_VERSION_FIELD" help:"path of the field that is a record's own version, an integer or a time, such as version or meta.changed_at; a record without it is a dead letter"`
	OnConflict     string         `env:"INGEST_ON_CONFLICT" envDefault:"dead-letter" validate:"oneof=dead-letter newest" help:"what becomes of a record of a stored order with other content: dead-letter, or newest (the newer one replaces the older one)"`
	OnTombstone    string         `env:"INGEST_ON_TOMBSTONE" envDefault:"dead-letter" validate:"oneof=dead-letter delete" help:"what becomes of a record with a null value: dead-letter, or delete (it deletes the order of its key)"`
	VersionsKept   int            `env:"VERSIONS_COUNT" envDefault:"20" validate:"min=1,max=10_000" help:"most earlier versions of an order that are kept"`
	File           string         `env:"INGEST_RULES_FILE" help:"YAML file that replaces the rules of fields"`
	Normalize      bool           `env:"INGEST_NORMALIZE" envDefault:"false" help:"true: write phones, locales, currencies, e-mail addresses and times as the rules ask for, where they can mean one thing only"`
	PhoneRegion    string         `env:"INGEST_PHONE_REGION" help:"country of phone numbers without a country code, such as RU, besides that of the order's locale"`

	file *model.Rules
}

// Validate names the variables whose values cannot be used, and the lines of the rules
// file.
func (s *Settings) Validate() error {
	var errs []error
	if s.RejectUnknown && s.UnknownFields == keep {
		errs = append(errs, errors.New("INGEST_UNKNOWN_FIELDS=keep and INGEST_REJECT_UNKNOWN_FIELDS=true, the old name of reject: set one of them"))
	}
	if s.VersionField != "" && !model.IsFieldPath(s.VersionField) {
		errs = append(errs, fmt.Errorf("INGEST_VERSION_FIELD: %q is not a path of names such as version or meta.changed_at", s.VersionField))
	}
	if s.PhoneRegion != "" && !normalize.IsRegion(s.PhoneRegion) {
		errs = append(errs, fmt.Errorf("INGEST_PHONE_REGION: %q is not a country's code of two capitals, such as RU", s.PhoneRegion))
	}
	if s.File != "" {
		data, err := os.ReadFile(s.File)
		if err == nil {
			s.file, err = Parse(s.File, data)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("INGEST_RULES_FILE: %w", err))
		}
	}
	return errors.Join(errs...)
}

// The values of INGEST_UNKNOWN_FIELDS besides drop.
const (
	keep   = "keep"
	reject = "reject"
)

// Options are the settings as those of a model.Codec.
func (s *Settings) Options() model.Options {
	return model.Options{
		MaxRecordBytes: s.MaxRecordBytes, MaxItems: s.MaxItems, CheckSums: s.CheckSums, Envelope: s.Envelope, VersionField: s.VersionField, Deletions: s.OnTombstone == "delete",
		RejectUnknown: s.RejectUnknown || s.UnknownFields == reject, KeepUnknown: s.UnknownFields == keep,
		Rules: s.file, Normalizer: normalize.New(s.PhoneRegion), Normalize: s.Normalize,
	}
}

// Versions are the settings as those of a writer.
func (s *Settings) Versions() orderwrite.Versions {
	return orderwrite.Versions{Newest: s.OnConflict == "newest", Deletions: s.OnTombstone == "delete", Kept: s.VersionsKept}
}
