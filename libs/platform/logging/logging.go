// Package logging makes the services' logger.
package logging

import (
	"fmt"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/orderhub/orderhub/libs/platform/config"
)

// New returns a logger that writes to stderr: JSON lines with RFC 3339 times, or
// lines for people. It samples nothing away and adds no stack traces.
func New(cfg config.Log, service string) (*zap.Logger, error) {
	level, err := zap.ParseAtomicLevel(cfg.Level)
	if err != nil {
		return nil, fmt.Errorf("LOG_LEVEL: %w", err)
	}
	encoder := zap.NewProductionEncoderConfig()
	encoder.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	encoder.EncodeDuration = zapcore.StringDurationEncoder
	encoder.TimeKey = "time"
	z := zap.Config{
		Level:             level,
		Encoding:          cfg.Format,
		EncoderConfig:     encoder,
		OutputPaths:       []string{"stderr"},
		ErrorOutputPaths:  []string{"stderr"},
		DisableCaller:     true,
		DisableStacktrace: true,
	}
	if cfg.Format == "console" {
		z.EncoderConfig.EncodeLevel = zapcore.CapitalLevelEncoder
		z.EncoderConfig.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		return z.Build()
	}
	return z.Build(zap.Fields(zap.String("service", service)))
}
