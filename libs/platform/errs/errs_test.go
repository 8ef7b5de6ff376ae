package errs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCodesMapOnceToStatusAndExitCode(t *testing.T) {
	for code, want := range map[Code][2]int{
		Invalid: {400, 2}, Unauthorized: {401, 1}, Forbidden: {403, 1}, NotFound: {404, 3}, Conflict: {409, 1},
		TooLarge: {413, 1}, Unavailable: {503, 1}, Interrupted: {499, 130}, Internal: {500, 1},
	} {
		require.Equal(t, want, [2]int{code.HTTPStatus(), code.ExitCode()}, code)
	}
}

func TestCodeOfTheOutermostError(t *testing.T) {
	inner := New(NotFound, "no order %q", "a")
	for want, err := range map[Code]error{
		{}: nil, NotFound: fmt.Errorf("find: %w", inner), Conflict: Wrap(Conflict, inner, "changed meanwhile"),
		Interrupted: fmt.Errorf("read: %w", context.Canceled), Unavailable: context.DeadlineExceeded, Internal: io.EOF,
	} {
		require.Equal(t, want, CodeOf(err))
	}
}

func TestMessageIsForPeopleAndErrorForTheLog(t *testing.T) {
	err := fmt.Errorf("get: %w", Wrap(Unavailable, io.ErrUnexpectedEOF, "the database does not answer"))
	require.Equal(t, "the database does not answer", Message(err))
	require.EqualError(t, err, "get: the database does not answer: unexpected EOF")
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Empty(t, Message(errors.New("pq: password of user x")), "internals are not shown")
	require.NoError(t, Wrap(Conflict, nil, "nothing"))
	require.EqualError(t, &Error{Code: Conflict}, "conflict")
	require.EqualError(t, &Error{Code: Conflict, Err: io.EOF}, "EOF")
}
