package stream

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds waits that only what fails waits out.
const (
	patience = 20 * time.Second
	tick     = time.Millisecond
)
