package config

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The parser of .env files is our own: joho/godotenv and compose-go's put variables
// into values, so that a password with a $ changes silently; hashicorp/go-envparse
// does not, but refuses quotes and backslashes inside of values, which passwords have.

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*$`)

// byteOrderMark begins files that Windows programs have saved.
const byteOrderMark = "\ufeff"

// parseDotenv reads lines of NAME=value; .env.example describes their form. Its errors
// name the line and the reason, and quote nothing of the line, which may hold a secret.
func parseDotenv(content []byte) (map[string]string, error) {
	if bytes.HasPrefix(content, []byte("\xff\xfe")) || bytes.HasPrefix(content, []byte("\xfe\xff")) || bytes.IndexByte(content, 0) >= 0 {
		return nil, errors.New("the file is UTF-16 or no text at all: save it as UTF-8")
	}
	text := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(strings.TrimPrefix(string(content), byteOrderMark))
	for i, line := range strings.Split(text, "\n") {
		if !utf8.ValidString(line) {
			return nil, fmt.Errorf("line %d: not UTF-8", i+1)
		}
	}
	values := map[string]string{}
	for number := 1; text != ""; {
		line, rest, _ := strings.Cut(text, "\n")
		name, value, err := assignment(line)
		lines := 1
		if err == nil && name != "" && value != "" && (value[0] == '"' || value[0] == '\'') {
			// Quoted values may go on in the next lines.
			_, all, _ := strings.Cut(text, "=")
			all = strings.TrimLeftFunc(all, unicode.IsSpace)
			var used int
			if value, used, err = quoted(all); err == nil {
				lines += strings.Count(all[:used], "\n")
				line, rest, _ = strings.Cut(all[used:], "\n")
				if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
					err = errors.New("there is text after the closing quote")
				}
			}
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		if name != "" {
			values[name] = value
		}
		text, number = rest, number+lines
	}
	return values, nil
}

// assignment splits a line; "" is the name of one without an assignment. A quoted value
// is returned as it stands.
func assignment(line string) (name, value string, err error) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return "", "", nil
	}
	name, value, assigned := strings.Cut(line, "=")
	name = strings.TrimSpace(name)
	if after, exported := strings.CutPrefix(name, "export"); exported && strings.TrimLeft(after, " \t") != after {
		name = strings.TrimSpace(after)
	}
	for _, r := range name {
		if r > 0x7e || r < ' ' {
			return "", "", fmt.Errorf("the name contains U+%04X, which may be invisible: type the name again", r)
		}
	}
	switch {
	case !assigned:
		return "", "", errors.New("there is no =; a line is NAME=value, or a comment that begins with #")
	case name == "":
		return "", "", errors.New("there is no name before the =")
	case !variableName.MatchString(name):
		return "", "", errors.New("what is before the = is no name; names have letters, digits and _")
	}
	value = strings.TrimSpace(value)
	if value != "" && (value[0] == '"' || value[0] == '\'') {
		return name, value, nil
	}
	for i := range len(value) {
		if value[i] == '#' && (i == 0 || value[i-1] == ' ' || value[i-1] == '\t') {
			value = strings.TrimSpace(value[:i])
			break
		}
	}
	return name, strings.ReplaceAll(value, `\$`, "$"), nil
}

// quoted reads a value up to its closing quote, and says how many bytes it took.
func quoted(text string) (value string, used int, err error) {
	var b strings.Builder
	quote := text[0]
	for i := 1; i < len(text); i++ {
		c := text[i]
		switch {
		case c == quote:
			return b.String(), i + 1, nil
		case c == '\\' && quote == '"' && i+1 < len(text):
			i++
			switch text[i] {
			case 'n':
				b.WriteByte('\n')
			case 'r':
				b.WriteByte('\r')
			case 't':
				b.WriteByte('\t')
			case '\\', '"', '$':
				b.WriteByte(text[i])
			default: // it is no escape
				b.WriteString(text[i-1 : i+1])
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", 0, fmt.Errorf("the quote %c is not closed", quote)
}
