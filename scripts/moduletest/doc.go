// Package moduletest checks how the modules of the repository hang together:
// what a workspace would hide, and what no linter sees.
package moduletest
