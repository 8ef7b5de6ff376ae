package dlqview

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/orderhub/orderhub/libs/deadletter/letter"
)

const timeFormat = "2006-01-02 15:04:05.999 MST"

// Show writes a letter for people.
func Show(w io.Writer, style Style, l Letter) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", style.bold(Clean(l.ID)))
	field := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-9s %s\n", name, fmt.Sprintf(format, args...))
	}
	status := style.yellow("open")
	if l.Resolution != nil {
		status = style.green("resolved") + ": " + l.Resolution.said()
	}
	field("status", "%s", status)
	stage := ""
	if l.Stage != "" {
		stage = " (" + Clean(l.Stage) + ")"
	}
	field("reason", "%s%s", Clean(l.Reason), stage)
	field("failed", "%s%s", l.FailedAt.Format(timeFormat), after(", by ", Clean(l.Group)))
	if s := l.Source; s != nil {
		written := ""
		if s.Timestamp != nil {
			written = ", written " + when(*s.Timestamp)
		}
		if s.Partition < 0 {
			field("source", "%s, partition unknown%s", Clean(s.Topic), written)
		} else {
			field("source", "%s, partition %d, offset %d%s", Clean(s.Topic), s.Partition, s.Offset, written)
		}
	} else {
		field("source", "unknown: the headers don't say")
	}
	if l.HasKey {
		field("key", "%s", Clean(l.Key))
	}
	field("redriven", "%s", Plural(l.RedriveCount, "time"))
	if l.EditedFrom != "" {
		field("edited", "by %s, from %s", Clean(l.EditedBy), Clean(l.EditedFrom))
	}
	if l.Format != letter.Orderhub {
		field("format", "%s, in %s", l.Format, Clean(l.Place.String()))
	}

	if len(l.Errors) > 0 {
		fmt.Fprintf(&b, "\n%s\n", style.bold("Why"))
		for _, f := range l.Errors {
			fmt.Fprintf(&b, "  %s [%s]\n", Clean(f.String()), Clean(f.Rule))
		}
	}
	if l.Exception != "" {
		fmt.Fprintf(&b, "  %s\n", Clean(l.Exception))
	}
	fmt.Fprintf(&b, "\n%s %s\n", style.bold("Value"), style.dim("("+l.SizeText()+")"))
	style.value(&b, l.Shown)

	if len(l.Headers) > 0 {
		fmt.Fprintf(&b, "\n%s\n", style.bold("Headers of the source"))
		for _, h := range l.Headers {
			fmt.Fprintf(&b, "  %s: %s\n", Clean(h.Key), Clean(h.Value))
		}
	}
	if l.Differences != nil || l.StoredNote != "" {
		fmt.Fprintf(&b, "\n%s\n", style.bold("Against the stored order"))
		if l.StoredNote != "" {
			fmt.Fprintf(&b, "  %s\n", l.StoredNote)
		}
		for _, difference := range l.Differences {
			fmt.Fprintf(&b, "  %s\n    %s\n    %s\n", Clean(difference.Path),
				style.red("- stored  "+Clean(difference.Stored)), style.green("+ letter  "+Clean(difference.Letter)))
		}
	}
	if len(l.History) > 1 {
		fmt.Fprintf(&b, "\n%s\n", style.bold("History"))
		for _, line := range l.History {
			mark := " "
			if line.ID == l.ID {
				mark = "*"
			}
			fate := "open"
			if line.Resolution != nil {
				fate = line.Resolution.said()
			}
			fmt.Fprintf(&b, "%s %s  %s  %s: %s\n", mark, when(line.FailedAt), Clean(line.ID), Clean(line.Reason), fate)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// SizeText is how large the value is, and whether it was cut to fit the topic.
func (l Letter) SizeText() string {
	if l.Truncated {
		return fmt.Sprintf("%s, cut from %d", Plural(l.Stored, "byte"), l.Size)
	}
	return Plural(l.Stored, "byte")
}

// said is what was done about a letter.
func (r *Resolution) said() string {
	edited := ""
	if r.Edited {
		edited = ", edited"
	}
	return Clean(r.Kind+after(" by ", r.By)+edited+after(" on ", when(r.When))+after(" as ", r.Became)) + after(": ", Clean(r.Why))
}

func after(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}

func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(timeFormat)
}
