// Package model is the order: its types, strict decoding, validation,
// canonical JSON and content hash.
package model
