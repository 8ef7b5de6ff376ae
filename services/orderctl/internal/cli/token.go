package cli

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/platform/auth"
)

func (a *app) tokenCommand() *cobra.Command {
	var name, expires, file string
	var scopes []string
	cmd := a.command("token new", nil, nil, func(*cobra.Command, []string) error {
		granted, unknown := auth.ParseScopes(scopes)
		if len(unknown) > 0 || granted == 0 {
			return usagef("--scopes: %q: name some of %s, comma-separated", strings.Join(scopes, ","), strings.Join(auth.AllScopes.Names(), ", "))
		}
		var end time.Time
		if expires != "" {
			age, err := letter.ParseAge(expires)
			if err != nil || age == 0 {
				return usagef("--expires: a span of time such as 90d or 12h, not %q", expires)
			}
			end = time.Now().Add(age)
		}
		token, entry, err := auth.NewToken(name, granted, end)
		if err != nil {
			return usagef("--name: %w", err)
		}
		return a.printToken(token, entry, file)
	})
	cmd.Flags().StringVar(&name, "name", "", "who has the token, for the audit log")
	cmd.Flags().StringSliceVar(&scopes, "scopes", nil, "what it allows, comma-separated")
	cmd.Flags().StringVar(&expires, "expires", "", "for how long it is valid: 90d, 12h (default: until it is revoked)")
	cmd.Flags().StringVar(&file, "file", "", "file to add the entry to, which you alone can read (default: print it)")
	complete(cmd, "scopes", auth.AllScopes.Names()...)
	return a.parent("token", cmd)
}

// printToken prints a token, after its entry is in the file.
func (a *app) printToken(token string, entry []byte, file string) error {
	shown := struct {
		Token string `json:"token"`
		Entry string `json:"entry,omitempty"`
		File  string `json:"file,omitempty"`
	}{token, string(entry), file}
	if file == "" {
		return a.print(shown, fmt.Sprintf("%s\n\nIts entry for HTTP_TOKENS_FILE:\n\n%s", token, entry))
	}
	shown.Entry = ""
	out, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("--file: %w", err)
	}
	_, err = out.Write(entry)
	if closed := out.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("--file: %w", err)
	}
	a.say("the entry is in %s; the token is not shown again", file)
	return a.print(shown, token+"\n")
}
