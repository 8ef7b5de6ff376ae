package dlqview

import (
	"embed"
	"fmt"
	"io"
	"text/template"
	"time"
)

//go:embed templates
var templateFiles embed.FS

// templates are for terminals. The console has its own, of the same values.
var templates = template.Must(template.New("").Funcs(Style{}.funcs()).ParseFS(templateFiles, "templates/*.txt"))

func (s Style) funcs() template.FuncMap {
	return template.FuncMap{
		"bold": s.bold, "red": s.red, "green": s.green, "yellow": s.yellow, "dim": s.dim,
		"clean": Clean, "cut": cut, "pad": padded, "plural": Plural, "when": when,
	}
}

// Write writes a value for people by one of the templates.
func (s Style) Write(w io.Writer, template string, value any) error {
	styled, err := templates.Clone()
	if err != nil {
		return err
	}
	return styled.Funcs(s.funcs()).ExecuteTemplate(w, template, value)
}

// SizeText is how large the value is, and whether it was cut to fit the topic.
func (l Letter) SizeText() string {
	if l.Truncated {
		return fmt.Sprintf("%s, cut from %d", Plural(l.Stored, "byte"), l.Size)
	}
	return Plural(l.Stored, "byte")
}

func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05.999 MST")
}
