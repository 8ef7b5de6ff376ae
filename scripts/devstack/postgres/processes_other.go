//go:build !linux

package postgres

import "errors"

// processes needs /proc.
func (p *place) processes() ([]int, error) {
	return nil, errors.ErrUnsupported
}
