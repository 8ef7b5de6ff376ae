package problem

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/platform/errs"
)

func TestAProblemKeepsItsCauseToItself(t *testing.T) {
	cause := errors.New("connect to 10.0.0.1: refused")
	kind := &Kind{"unavailable", errs.Unavailable, "Not now", "Try again."}
	err := fmt.Errorf("read: %w", kind.Wrap(cause, `The "orders" can't be read now.`))
	require.ErrorIs(t, err, cause)
	require.Equal(t, errs.Unavailable, errs.CodeOf(err))
	p := Of(err)
	require.Equal(t, 503, p.Status())
	require.JSONEq(t, `{"type":"/problems/unavailable","title":"Not now","status":503,"detail":"The \"orders\" can't be read now."}`, string(p.JSON("", "")))
	require.Contains(t, string(p.JSON("", "a-1")), `"request_id":"a-1"}`)
	require.Contains(t, p.Error(), "10.0.0.1", "for the log")
}

func TestAnErrorWithoutAKindIsADefect(t *testing.T) {
	p := Of(errors.New("secret"))
	require.Equal(t, 500, p.Status())
	require.NotContains(t, string(p.JSON("", "")), "secret")
}
