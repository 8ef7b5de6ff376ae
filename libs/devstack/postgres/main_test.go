package postgres_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/orderhub/orderhub/libs/devstack/postgres"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(postgres.Shared(m)) }
