package dlqview

import (
	"fmt"
	"io"
	"strings"

	"github.com/orderhub/orderhub/services/orderctl/internal/edit"
)

// shownBytes is how much of a changed text is shown.
const shownBytes = 200

// ShowChanges writes what an edit changes, for people.
func ShowChanges(w io.Writer, style Style, changes []edit.Change) error {
	var b strings.Builder
	for _, c := range changes {
		path := c.Path
		if path == "" {
			path = "the value"
		}
		fmt.Fprintf(&b, "    %s\n", Clean(path))
		if c.Before != "" {
			fmt.Fprintf(&b, "      %s\n", style.red("- "+cut(Clean(c.Before), shownBytes)))
		}
		if c.After != "" {
			fmt.Fprintf(&b, "      %s\n", style.green("+ "+cut(Clean(c.After), shownBytes)))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
