package deploytest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const logsPage = "docs/logs.md"

// table returns what the first cells of a page's table have between backquotes. The table
// follows a heading.
func table(t *testing.T, page, heading string) (cells []string) {
	t.Helper()
	_, rest, found := strings.Cut(string(read(t, page)), "\n## "+heading+"\n")
	require.True(t, found, "%s has no heading %s", page, heading)
	rest, _, _ = strings.Cut(rest, "\n## ")
	for _, row := range regexp.MustCompile("(?m)^\\| `(.*?)` \\|").FindAllStringSubmatch(rest, -1) {
		for cell := range strings.SplitSeq(row[1], "`, `") {
			cells = append(cells, cell)
		}
	}
	require.NotEmpty(t, cells)
	return cells
}

// Each line's message is a constant, so that it identifies the event, and its fields have
// the names that the page explains. The page explains no others.
func TestLogLinesHaveStableMessagesAndFields(t *testing.T) {
	events, fields := map[string]bool{}, map[string]bool{}
	for _, folder := range []string{"services", "libs"} {
		require.NoError(t, filepath.WalkDir(inRepository(folder), func(name string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
				return err
			}
			files := token.NewFileSet()
			file, err := parser.ParseFile(files, name, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				method, ok := call.Fun.(*ast.SelectorExpr)
				if !ok || len(call.Args) == 0 {
					return true
				}
				texts, message := literals(call.Args), call.Args[0]
				switch name := method.Sel.Name; {
				case isNamed(method.X, "zap") && name == "Error":
					fields["error"] = true
				case isNamed(method.X, "zap") && len(texts) > 0 && len(call.Args) > 1:
					fields[texts[0]] = true
				case name == "debug" && len(texts) > 0: // which passes it on
					events[texts[0]] = true
				case !isLogger(method.X):
				case (name == "Log" || name == "Check") && len(call.Args) > 1:
					message = call.Args[1]
					fallthrough
				case slices.Contains([]string{"Debug", "Info", "Warn", "Error"}, name):
					if lastName(message) != "message" { // of a function that gets it as a constant
						require.NotEmpty(t, literals([]ast.Expr{message}), "%s: the message of a line is a constant", files.Position(call.Pos()))
						events[texts[0]] = true
					}
				}
				return true
			})
			return nil
		}))
	}
	used := []string{"level", "time", "msg", "service", "version"}
	for name := range fields {
		used = append(used, name)
	}
	require.ElementsMatch(t, used, table(t, logsPage, "Fields"))
	for _, event := range table(t, logsPage, "Events") {
		require.True(t, events[event], "no program logs %q", event)
	}
}

// lastName is the last identifier of an expression.
func lastName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.CallExpr:
		return lastName(e.Fun)
	}
	return "an expression"
}

func isNamed(e ast.Expr, name string) bool { return lastName(e) == name }

// isLogger tells whether an expression is a *zap.Logger, by its name.
func isLogger(e ast.Expr) bool {
	return slices.Contains([]string{"log", "Log", "Logger"}, lastName(e))
}
