// Package logging makes the services' logger. docs/logs.md has the names of the fields.
package logging

import (
	"fmt"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/orderhub/orderhub/libs/platform/buildinfo"
	"github.com/orderhub/orderhub/libs/platform/config"
)

// New returns a logger that writes to stderr, JSON lines with RFC 3339 times, or lines
// for people, and its level, which may be changed at any time. It samples nothing away
// and adds no stack traces.
func New(cfg config.Log, service string) (*zap.Logger, zap.AtomicLevel, error) {
	level, err := zap.ParseAtomicLevel(cfg.Level)
	if err != nil {
		return nil, level, fmt.Errorf("LOG_LEVEL: %w", err)
	}
	encoder := zap.NewProductionEncoderConfig()
	encoder.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	encoder.EncodeDuration = zapcore.SecondsDurationEncoder
	encoder.TimeKey = "time"
	z := zap.Config{
		Level:             level,
		Encoding:          cfg.Format,
		EncoderConfig:     encoder,
		OutputPaths:       []string{"stderr"},
		ErrorOutputPaths:  []string{"stderr"},
		DisableCaller:     true,
		DisableStacktrace: true,
		InitialFields:     map[string]any{"service": service, "version": buildinfo.Read().Version},
	}
	if cfg.Format == "console" {
		z.EncoderConfig.EncodeLevel = zapcore.CapitalLevelEncoder
		z.EncoderConfig.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		z.InitialFields = nil
	}
	log, err := z.Build()
	return log, level, err
}
